"""Racing against scripted traffic on a closed track: on the embedded simulator, or on CARLA servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pompc.environment import EnvironmentFamily

from . import circuit
from .batched import INFO_KEYS, BatchedRacing
from .bench import measure
from .config import Address, CarlaRacingConfig
from .env import RacingEnv
from .model import RacingModel
from .simulators import SIMULATORS

if TYPE_CHECKING:
    import gymnasium
    from torchrl.envs import EnvBase

__all__ = ["BatchedRacing", "CarlaRacing", "CarlaRacingConfig", "RacingEnv", "RacingModel"]


class CarlaRacing(EnvironmentFamily):
    """Racing with danger zones and opponents.

    Raises:
        UserError: a backend that cannot work here; a track on which nothing can be driven.
    """

    Config = CarlaRacingConfig
    info_keys = INFO_KEYS
    terminates = True

    def __init__(self, config: CarlaRacingConfig) -> None:
        super().__init__(config)
        self._track = circuit.load(config)  # once: what a file says when the run starts holds for all of it
        self._simulator = SIMULATORS[config.backend](config, self._track)

    @property
    def episode_length(self) -> int:
        """Control steps until an episode is truncated."""
        return self.config.max_steps

    def make(self, *, render_mode: str | None = None) -> gymnasium.Env:
        """One environment of the backend; see ``EnvironmentFamily.make``."""
        return self._simulator.make(render_mode)

    def vectorise(self, num_envs: int, *, seed: int, device: torch.device | str = "cpu", first_env: int = 0) -> EnvBase:
        """``num_envs`` environments in a batch; see ``EnvironmentFamily.vectorise``."""
        return self._simulator.vectorise(num_envs, seed, device, first_env)

    def task_model(self, device: torch.device | str = "cpu") -> RacingModel:
        """The planner's model of car, track and task."""
        return RacingModel(self.config, device, self._track)

    @classmethod
    def bench(cls, seconds: float, device: torch.device | str = "cpu") -> dict[str, float]:
        """Car-steps per second by name; see :func:`measure`."""
        return measure(seconds, device)

    @staticmethod
    def check_server(address: str) -> int:
        """Print what is at ``host:port`` and whether ``env.backend=carla`` can use it: 0 if so, else 2."""
        from .carla_check import check

        return check(Address.parse(address))
