"""The racing task on CARLA servers, alone or in a batch; an episode may be interrupted."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import nan
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.envs import EnvBase

from pompc.data.broken import BROKEN
from pompc.data.vector import episode_seed
from pompc.errors import UserError

from ..batched import INFO_KEYS, set_specs
from ..config import CarlaRacingConfig
from ..env import RacingEnv
from ..track.track import Track
from .backend import CarlaBackend, Connection
from .cameras import VIEWS
from .library import Interrupted

FAULTS = (*INFO_KEYS, BROKEN)


class CarlaEnv(RacingEnv):
    """The racing task on one server.

    A step is broken if the server has failed or another environment has taken it. A broken step repeats the last
    observation, earns nothing, truncates the episode and has 1 in ``info["broken"]``: nothing is to be learned from it.
    Observations are states ``[observation]``, float32, or pictures ``[3 * frame_stack, height, width]``, uint8.

    Args:
        config: the family's options.
        render_mode: ``rgb_array`` or ``None``.
        connection: the way to the server; nothing is sent before the first reset.
        track: the circuit.
    """

    def __init__(
        self, config: CarlaRacingConfig, render_mode: str | None, connection: Connection, track: Track
    ) -> None:
        filmed = render_mode is not None and config.chase_camera
        views = (*(("front",) if config.observe_camera else ()), *(("chase",) if filmed else ()))
        self._carla = CarlaBackend(connection, config, track, views)
        super().__init__(config, render_mode, self._carla, track)
        self._filmed = filmed
        self._frames: deque[np.ndarray] = deque(maxlen=config.frame_stack)
        if config.observe_camera:
            view = VIEWS["front"]
            self.observation_space = Box(0, 255, (3 * config.frame_stack, view.height, view.width), np.uint8)
        self.seen = np.zeros(self.observation_space.shape or (), self.observation_space.dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin an episode on the server; connect to it first if there is no connection."""
        state, info = super().reset(seed=seed, options=options)
        self._frames.clear()
        self.seen = self._look(state)
        return self.seen, info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, float]]:
        """Make one control step, or return a broken one."""
        try:
            self._carla.require()
            state, reward, terminated, truncated, info = super().step(action)
            self.seen = self._look(state)
        except Interrupted:
            return self.seen, 0.0, False, True, {**dict.fromkeys(INFO_KEYS, nan), BROKEN: 1.0}
        return self.seen, reward, terminated, truncated, {**info, BROKEN: 0.0}

    def _look(self, state: np.ndarray) -> np.ndarray:
        """Observe the state, or the last pictures; the first picture of an episode fills the whole stack."""
        if not self.config.observe_camera:
            return state
        picture = self._carla.picture("front").transpose(2, 0, 1)
        self._frames.extend([picture] * (1 if self._frames else self.config.frame_stack))
        return np.concatenate(self._frames)

    def render(self) -> np.ndarray | None:
        """Render the chase camera's picture, uint8 ``[height, width, 3]``; without that camera the scene from above."""
        with suppress(Interrupted):
            if self._filmed:
                return self._carla.picture("chase")
        return super().render()

    def leave(self) -> None:
        """Stop waiting for the server; call it from another thread before :meth:`close`."""
        self._carla.leave()

    def interrupt(self, seen: np.ndarray) -> None:
        """Break the episode; the next step repeats the observation ``seen``, shaped as the space."""
        self._carla.let_go()
        self.seen = seen


class CarlaBatch(EnvBase):
    """A batch of environments, each on a separate server; they step at the same time. No autoreset.

    A snapshot cannot hold the state of a server. After ``restore`` the first step of every environment is broken and ends
    its episode.

    Args:
        envs: the environments.
        seed: base seed; environment ``i`` begins its episode ``e`` with a seed derived from (seed, i, e).
        device: of the tensors.
        first_env: number of the first environment, if these are a part of a larger batch.
    """

    def __init__(
        self, envs: Sequence[CarlaEnv], *, seed: int = 0, device: torch.device | str = "cpu", first_env: int = 0
    ) -> None:
        super().__init__(device=device, batch_size=[len(envs)])
        self.is_closed = False  # a collector closes no other; TorchRL's default is True
        self._envs, self._first = list(envs), first_env
        self._seed, self._episodes = seed, [-1] * len(envs)
        self._threads = ThreadPoolExecutor(len(envs), "carla") if len(envs) > 1 else None
        space = envs[0].observation_space
        kind = torch.uint8 if space.dtype == np.uint8 else torch.float32
        set_specs(self, space.shape or (), kind, FAULTS)

    def _set_seed(self, seed: int | None) -> None:
        if seed is not None:
            self._seed, self._episodes = seed, [-1] * len(self._envs)

    def _begin(self, index: int) -> None:
        self._episodes[index] += 1
        self._envs[index].reset(seed=episode_seed(self._seed, self._first + index, self._episodes[index]))

    def _each(self, function: Any, *arguments: Sequence[Any]) -> list[Any]:
        """Call ``function`` for every environment at once.

        The client waits for a tick without holding the interpreter's lock. It does hold the lock for the other calls of a
        step, which take a round trip each.
        """
        return list((map if self._threads is None else self._threads.map)(function, *arguments))

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDictBase:
        chosen = range(len(self._envs))
        if tensordict is not None and "_reset" in tensordict:
            chosen = tensordict["_reset"].view(-1).nonzero().flatten().tolist()
        self._each(self._begin, chosen)
        zeros = torch.zeros(len(self._envs), 1, device=self.device)
        return self._observed().update({key: zeros.clone() for key in FAULTS})

    def _observed(self) -> TensorDict:
        seen = torch.from_numpy(np.stack([env.seen for env in self._envs]))
        return TensorDict({"observation": seen.to(self.device)}, batch_size=self.batch_size, device=self.device)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        actions = tensordict["action"].detach().cpu().numpy()
        results = self._each(lambda env, action: env.step(action), self._envs, list(actions))
        _, reward, terminated, truncated, info = zip(*results, strict=True)
        columns: dict[str, Tensor] = {"reward": torch.tensor(reward, dtype=torch.float32)}
        columns |= {"terminated": torch.tensor(terminated), "truncated": torch.tensor(truncated)}
        columns["done"] = columns["terminated"] | columns["truncated"]
        columns |= {key: torch.tensor([each[key] for each in info], dtype=torch.float32) for key in FAULTS}
        return self._observed().update({key: column.unsqueeze(-1).to(self.device) for key, column in columns.items()})

    def snapshot(self) -> dict[str, Any]:
        """Return the numbers of the episodes and the last observations."""
        seen = torch.from_numpy(np.stack([env.seen for env in self._envs]))
        return {"seed": self._seed, "episodes": list(self._episodes), "observation": seen}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Continue after :meth:`snapshot`, with a broken step and then new episodes.

        Raises:
            UserError: the snapshot has another number of environments, or comes from the embedded simulator.
        """
        if len(snapshot.get("episodes", ())) != len(self._envs):
            raise UserError(f"the checkpoint is not of {len(self._envs)} CARLA servers: resume it as it was begun")
        self._seed, self._episodes = snapshot["seed"], list(snapshot["episodes"])
        for env, seen in zip(self._envs, snapshot["observation"].cpu().numpy(), strict=True):
            env.interrupt(seen)

    def close(self, *, raise_if_closed: bool = True) -> None:
        """End the threads, even those that wait for a server to come back; then leave the servers."""
        for env in self._envs:
            env.leave()
        try:
            if self._threads is not None:
                self._threads.shutdown()
        finally:
            for env in self._envs:
                env.close()
        super().close(raise_if_closed=raise_if_closed)
