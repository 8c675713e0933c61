"""The simulators behind ``env.backend``: each builds one environment, or a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from pompc.errors import UserError

from .batched import BatchedRacing
from .config import CarlaRacingConfig
from .env import RacingEnv
from .plant import Variation
from .server.backend import Connection
from .server.env import CarlaBatch, CarlaEnv
from .server.library import client_library
from .track.track import Track

if TYPE_CHECKING:
    from torchrl.envs import EnvBase

MAX_SUBSTEPS = 16  # per tick of a CARLA server


class Simulator(Protocol):
    """What a backend offers the family."""

    def make(self, render_mode: str | None) -> RacingEnv:
        """Make one environment."""
        ...

    def vectorise(self, num_envs: int, seed: int, device: torch.device | str, first_env: int) -> EnvBase:
        """Make a batch whose first environment has the number ``first_env`` in a larger batch."""
        ...


class EmbeddedSimulator:
    """The simulator of this package.

    Args:
        config: the family's options.
        track: the circuit.
    """

    def __init__(self, config: CarlaRacingConfig, track: Track) -> None:
        if config.observe_camera:
            raise UserError("env.observe_camera=true needs env.backend=carla: the embedded simulator has no cameras")
        self._config, self._track = config, track

    def make(self, render_mode: str | None) -> RacingEnv:
        """See ``Simulator.make``."""
        return RacingEnv(self._config, render_mode, track=self._track)

    def vectorise(self, num_envs: int, seed: int, device: torch.device | str, first_env: int) -> BatchedRacing:
        """Make one tensor program; it is always a whole batch."""
        if first_env:
            raise ValueError("a batch without a limit has no second part")
        return BatchedRacing(self._config, num_envs, seed=seed, device=device, track=self._track)


class CarlaServers:
    """A pool of CARLA servers, one per environment of a batch.

    Several batches may share a server. Evaluation and video use the servers of the training and so interrupt its episodes;
    see ``server.backend``.

    Args:
        config: the family's options.
        track: the circuit.

    Raises:
        UserError: the client is not installed, or a server cannot do what an option asks for.
    """

    def __init__(self, config: CarlaRacingConfig, track: Track) -> None:
        _require_nominal_car(config)
        if config.compile:
            raise UserError("env.compile needs env.backend=embedded: a CARLA server computes its steps itself")
        client_library()
        if config.substeps > MAX_SUBSTEPS:
            raise UserError(
                f"env.substep={config.substep} makes {config.substeps} physics steps per action, a CARLA server at most "
                f"{MAX_SUBSTEPS}: take a longer one"
            )
        self._config, self._track = config, track
        self._connections = [Connection(address, config, track) for address in config.addresses]

    def make(self, render_mode: str | None) -> RacingEnv:
        """Make one environment on a server without users, or else on the first server."""
        idle = [connection for connection in self._connections if not connection.users]
        return CarlaEnv(self._config, render_mode, (idle or self._connections)[0], self._track)

    def vectorise(self, num_envs: int, seed: int, device: torch.device | str, first_env: int) -> EnvBase:
        """Make a batch with environment ``i`` on server ``i``."""
        servers = len(self._connections)
        if num_envs > servers:
            raise UserError(
                f"num_envs={num_envs}: every environment needs a CARLA server and env.servers names {servers}: set "
                f"num_envs={servers}, or name more"
            )
        envs = [CarlaEnv(self._config, None, connection, self._track) for connection in self._connections[:num_envs]]
        return CarlaBatch(envs, seed=seed, device=device, first_env=first_env)


def _require_nominal_car(config: CarlaRacingConfig) -> None:
    """Refuse options that only the embedded simulator's car obeys.

    CARLA sets a mass and a grip per wheel, but no yaw inertia, and leaves open what a grip does to the tyre's peak force.
    """
    variation = Variation(config)
    changed = [name for name, factor in variation.middle._asdict().items() if factor != 1.0]
    changed += [f"{name}_variation" for name in variation.drawn]
    if changed:
        raise UserError(
            f"env.{changed[0]} needs env.backend=embedded: the car of a CARLA server is as it is. Change what the planner "
            "believes in: env.planner_mass, env.planner_friction, env.planner_drive"
        )


SIMULATORS = {"embedded": EmbeddedSimulator, "carla": CarlaServers}
"""Simulators by the name that ``env.backend`` takes."""
