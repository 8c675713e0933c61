"""Racing against scripted traffic on a closed track: the embedded simulator of the CARLA racing task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pompc.environment import EnvironmentFamily
from pompc.errors import UserError

from .batched import INFO_KEYS, BatchedRacing
from .bench import measure
from .config import CarlaRacingConfig
from .env import RacingEnv
from .model import RacingModel

if TYPE_CHECKING:
    import gymnasium

BACKENDS = ("embedded",)

__all__ = ["BatchedRacing", "CarlaRacing", "CarlaRacingConfig", "RacingEnv", "RacingModel"]


class CarlaRacing(EnvironmentFamily):
    """Racing with danger zones and opponents."""

    Config = CarlaRacingConfig
    info_keys = INFO_KEYS

    def __init__(self, config: CarlaRacingConfig) -> None:
        if config.backend not in BACKENDS:
            raise UserError(
                f"env.backend {config.backend!r} is not available: take env.backend=embedded "
                "(a CARLA server will need the extra pompc[carla], and its backend is not there yet)"
            )
        super().__init__(config)

    @property
    def episode_length(self) -> int:
        return self.config.max_steps

    def make(self, *, render_mode: str | None = None) -> gymnasium.Env:
        return RacingEnv(self.config, render_mode)

    def vectorise(self, num_envs: int, *, seed: int, device: torch.device | str = "cpu") -> BatchedRacing:
        return BatchedRacing(self.config, num_envs, seed=seed, device=device)

    def task_model(self, device: torch.device | str = "cpu") -> RacingModel:
        return RacingModel(self.config, device)

    @classmethod
    def bench(cls, seconds: float, device: torch.device | str = "cpu") -> dict[str, float]:
        return measure(seconds, device)
