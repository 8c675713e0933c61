"""The racing task for many cars at once: a native TorchRL environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Bounded, Categorical, Composite, Unbounded
from torchrl.envs import EnvBase

from pompc.system.compiling import compiled
from pompc.system.process import require_compiler

from . import circuit, observation
from .config import CarlaRacingConfig
from .physics.opponents import Opponents
from .physics.ops import TorchOps
from .physics.road import Road, tabulate
from .physics.vehicle import Car, SingleTrack
from .plant import plants
from .task import FRESH, Episode, RacingTask
from .track.track import Track

INFO_KEYS = ("success", "cost", "lap_time", "speed")


def set_specs(env: EnvBase, shape: Sequence[int], dtype: torch.dtype, info_keys: Sequence[str]) -> None:
    """Give a batch of racing environments its specs.

    Args:
        env: of batch size ``[num_envs]``.
        shape: of one observation.
        dtype: of the observations.
        info_keys: scalars of every step.
    """
    batch, device = tuple(env.batch_size), env.device
    one = (*batch, 1)
    info = {key: Unbounded(one, device=device) for key in info_keys}
    seen = Unbounded((*batch, *shape), device=device, dtype=dtype)
    flags = ("done", "terminated", "truncated")
    env.observation_spec = Composite(observation=seen, **info, shape=batch, device=device)
    env.action_spec = Bounded(-1.0, 1.0, (*batch, 2), device=device)
    env.reward_spec = Unbounded(one, device=device)
    env.done_spec = Composite(
        {key: Categorical(2, one, dtype=torch.bool, device=device) for key in flags}, shape=batch, device=device
    )


class BatchedRacing(EnvBase):
    """``num_envs`` cars, each alone with its traffic; no autoreset. Physics and task are those of ``RacingEnv``.

    The whole state is one matrix ``[entry, num_envs]``: the car, the traffic (per entry all opponents), the episode.

    Args:
        config: the family's options.
        num_envs: batch size.
        seed: of the generator that draws the starts.
        device: of states and tables.
        track: the track of ``config``, if it is already read.

    Raises:
        UserError: ``config.compile`` is set and there is no C++ compiler.
    """

    def __init__(
        self,
        config: CarlaRacingConfig,
        num_envs: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        track: Track | None = None,
    ) -> None:
        super().__init__(device=device, batch_size=[num_envs])
        self.config, self.num_envs = config, num_envs
        ops = TorchOps(device)
        road = Road(tabulate(track or circuit.load(config), config.danger_zones), ops)
        self.task, self.road, self.plants = RacingTask(config, road), road, plants(config, road, num_envs)
        self._generator = torch.Generator()  # on the CPU, so that a checkpoint can move between devices
        self._slots = torch.arange(config.num_opponents, device=device, dtype=torch.float32).unsqueeze(-1)
        self._state = torch.zeros(len(Car._fields) + 5 * config.num_opponents + len(Episode._fields), num_envs)
        self._state = self._state.to(device)
        if config.compile and torch.device(device).type == "cpu":
            require_compiler("env.compile")
        self._advance = compiled(self._advanced) if config.compile else self._advanced
        set_specs(self, (observation.size(config.num_opponents),), torch.float32, (*INFO_KEYS, *self.plants.info()))
        self.set_seed(seed)

    def unpack(self) -> tuple[Car, Opponents, Episode]:
        """Return the entries of the state ``[num_envs]``; those of the opponents are ``[opponent, num_envs]``."""
        return self._entries(self._state)

    def _entries(self, state: Tensor) -> tuple[Car, Opponents, Episode]:
        """Split a state into entries ``[num_envs]``; those of the opponents are ``[opponent, num_envs]``."""
        car, count = len(Car._fields), self.config.num_opponents
        traffic = state[car : car + 5 * count].view(5, count, self.num_envs)
        return Car(*state[:car]), Opponents(*traffic), Episode(*state[car + 5 * count :])

    @staticmethod
    def pack(car: Car, opponents: Opponents, episode: Episode) -> Tensor:
        """Invert ``unpack``: ``[entry, num_envs]``."""
        return torch.cat((torch.stack(car), *opponents, torch.stack(episode)))

    def place(self, car: Car, opponents: Opponents) -> None:
        """Begin an episode in every environment with these cars and this traffic."""
        self._state = self.pack(car, opponents, Episode(*(torch.full_like(car.s, value) for value in FRESH)))

    def _set_seed(self, seed: int | None) -> None:
        if seed is not None:
            self._generator.manual_seed(seed)
            self.plants.seed(seed)

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDictBase:
        old, begun = self._state, torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        draws = torch.rand(self.task.num_draws, self.num_envs, generator=self._generator).to(self.device)
        self.place(*self.task.start(draws, self._slots))
        if tensordict is not None and "_reset" in tensordict:
            begun = tensordict["_reset"].view(-1)
            self._state = torch.where(begun, self._state, old)
        self.plants.begin(begun)
        car, opponents, episode = self.unpack()
        seen = observation.observe(self.road, car, opponents)
        result = TensorDict({"observation": seen}, batch_size=self.batch_size, device=self.device)
        zero = torch.zeros(self.num_envs, 1, device=self.device)
        info = {"success": zero, "cost": zero.clone(), "lap_time": episode.lap_time.unsqueeze(-1)}
        return result.update({**info, "speed": car.vx.unsqueeze(-1), **self.plants.info()})

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        self._state, seen, scalars = self._advance(self._state, tensordict["action"], self.plants.car)
        scalars["done"] = scalars["terminated"] | scalars["truncated"]
        result = TensorDict({"observation": seen}, batch_size=self.batch_size, device=self.device)
        return result.update({**scalars, **self.plants.info()})

    def _advanced(self, state: Tensor, action: Tensor, plant: SingleTrack) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Move cars and traffic by one step and judge it.

        Args:
            state: ``[entry, num_envs]``.
            action: ``[num_envs, 2]``.
            plant: the cars' equations of motion.

        Returns:
            The next state, the observation of it ``[num_envs, size]``, and the scalars of the step ``[num_envs, 1]``.
        """
        steer, drive = action.clamp(-1.0, 1.0).unbind(-1)
        car, opponents, episode = self._entries(state)
        moved = plant.step(car, steer, drive)
        moved = moved._replace(s=self.road.wrap(moved.s))
        opponents = self.task.advance(opponents)
        episode, judgement = self.task.judge(car.s, moved, opponents, episode)
        scalars = {key: getattr(judgement, key).unsqueeze(-1) for key in ("reward", "terminated", *INFO_KEYS)}
        scalars["truncated"] = (episode.steps >= self.config.max_steps).unsqueeze(-1)
        return self.pack(moved, opponents, episode), observation.observe(self.road, moved, opponents), scalars

    def snapshot(self) -> dict[str, Tensor]:
        """Return everything that the next step and the next reset depend on."""
        own = {"state": self._state.clone(), "generator": self._generator.get_state()}
        return own | self.plants.snapshot()

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """Continue from ``snapshot``, bit for bit."""
        self._state = snapshot["state"].to(self.device, copy=True)
        self._generator.set_state(snapshot["generator"].cpu())
        self.plants.restore(snapshot)
