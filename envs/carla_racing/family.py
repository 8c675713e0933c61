"""The racing family, as the registry names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pompc.environment import EnvironmentFamily
from pompc.errors import UserError

from . import circuit
from .batched import INFO_KEYS
from .config import CarlaRacingConfig
from .model import RacingModel
from .plant import Variation
from .simulators import SIMULATORS

if TYPE_CHECKING:
    import gymnasium
    from torchrl.envs import EnvBase


class CarlaRacing(EnvironmentFamily):
    """Racing with danger zones and opponents.

    Raises:
        UserError: no such backend, or one that cannot work here; a track on which nothing can be driven.
    """

    Config = CarlaRacingConfig
    info_keys = INFO_KEYS
    terminates = True

    def __init__(self, config: CarlaRacingConfig) -> None:
        if config.backend not in SIMULATORS:
            raise UserError(f"unknown env.backend {config.backend!r}; there are: {', '.join(SIMULATORS)}")
        super().__init__(config)
        self.info_keys = (*INFO_KEYS, *Variation(config).drawn)
        self._track = circuit.load(config)  # read once: the content of the file at the start holds for the whole run
        self._simulator = SIMULATORS[config.backend](config, self._track)

    @property
    def episode_length(self) -> int:
        """Control steps until an episode is truncated."""
        return self.config.max_steps

    def make(self, *, render_mode: str | None = None) -> gymnasium.Env:
        """Make one environment of the backend; see ``EnvironmentFamily.make``."""
        return self._simulator.make(render_mode)

    def vectorise(self, num_envs: int, *, seed: int, device: torch.device | str = "cpu", first_env: int = 0) -> EnvBase:
        """Make ``num_envs`` environments in a batch; see ``EnvironmentFamily.vectorise``."""
        return self._simulator.vectorise(num_envs, seed, device, first_env)

    def task_model(self, device: torch.device | str = "cpu") -> RacingModel:
        """Make the planner's model of car, track and task."""
        return RacingModel(self.config, device, self._track)
