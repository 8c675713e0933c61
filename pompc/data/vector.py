"""Batch single gymnasium environments into one TorchRL environment with a state that can be saved exactly.

A simulator rarely offers its whole state, but the seed and the actions of an episode determine it. So every copy takes a
new seed at each reset and records the actions since. A snapshot holds the seed and these actions; restoring it repeats the
episode.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.data import Composite, Unbounded
from torchrl.envs import GymWrapper
from torchrl.envs.gym_like import BaseInfoDictReader

from pompc.data.contract import Contract
from pompc.environment import close
from pompc.errors import UserError


def episode_seed(base: int, index: int, episode: int) -> int:
    """Derive the seed of an episode of copy ``index`` of a vectorised environment."""
    return int(np.random.SeedSequence([base, index, episode]).generate_state(1)[0])


class RepeatableEpisodes(gymnasium.Wrapper):
    """Seed every episode from ``(seed, index, episode)`` and record its actions, so that it can be repeated.

    The record has one action per step and is dropped at each reset. Only ``info_keys`` remain of ``info``, because
    environments put objects there that the columns of a vectorised environment cannot hold.

    Args:
        env: the environment; its episodes must depend on the reset seed and the actions alone.
        seed: base seed, not negative; ``reset(seed=...)`` replaces it and starts again at episode 0.
        index: index of this copy in the vectorised environment.
        info_keys: scalars of ``info`` to keep, as floats.
    """

    def __init__(self, env: gymnasium.Env, *, seed: int, index: int, info_keys: Sequence[str] = ()) -> None:
        super().__init__(env)
        self._info_keys = tuple(info_keys)
        self._seed = seed
        self._index = index
        self._episode = -1
        self._actions: list[np.ndarray] = []
        self._observation = np.empty(0, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start the next episode; ``seed`` replaces the base seed and starts again at episode 0."""
        if seed is not None:
            self._seed, self._episode = seed, -1
        self._episode += 1
        self._actions = []
        self._observation, info = self.env.reset(seed=self._episode_seed(), options=options)
        return self._observation, self._kept(info)

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Make one step and record its action; the copy is needed because the caller owns the action's memory."""
        self._actions.append(np.array(action))
        self._observation, reward, terminated, truncated, info = self.env.step(action)
        return self._observation, reward, terminated, truncated, self._kept(info)

    def close(self) -> None:
        """Close the environment; its errors become warnings."""
        close(self.env)

    def snapshot(self) -> dict[str, Any]:
        """Copy the episode so far: base ``seed``, ``episode`` (-1 before the first reset), ``actions [time, action]``."""
        return {
            "seed": self._seed,
            "episode": self._episode,
            "actions": torch.from_numpy(np.array(self._actions)),
            "observation": torch.from_numpy(np.array(self._observation)),
        }

    def restore(self, state: dict[str, Any]) -> tuple[np.ndarray | None, bool, bool]:
        """Repeat the episode of a :meth:`snapshot`.

        Returns:
            The last observation (``None`` before a reset), terminated, truncated.
        """
        self._seed, self._episode, self._actions = state["seed"], state["episode"], []
        terminated = truncated = False
        if self._episode < 0:
            return None, terminated, truncated
        self._episode -= 1
        observation, _ = self.reset()
        for action in state["actions"].numpy():
            observation, _, terminated, truncated, _ = self.step(action)
        if not np.array_equal(observation, state["observation"].numpy(), equal_nan=True):
            warnings.warn(
                f"resuming is not exact for {self.env.unwrapped}: the same seed and actions led to another observation"
            )
        return observation, terminated, truncated

    def _kept(self, info: dict[str, Any]) -> dict[str, float]:
        return {key: float(info[key]) for key in self._info_keys if info.get(key) is not None}

    def _episode_seed(self) -> int:
        return episode_seed(self._seed, self._index, self._episode)


class RepeatableVectorEnv(SyncVectorEnv):
    """Vectorise copies with :class:`RepeatableEpisodes` in one process, with snapshot and restore.

    Args:
        makers: functions that build one environment each; copy ``i`` takes the one at ``i`` modulo their number.
        num_envs: number of copies.
        seed: base seed.
        info_keys: scalars of ``info`` to keep.
        first_env: index of the first copy in a larger batch.
    """

    envs: list[RepeatableEpisodes]

    def __init__(
        self,
        makers: Sequence[Callable[[], gymnasium.Env]],
        num_envs: int,
        *,
        seed: int,
        info_keys: Sequence[str] = (),
        first_env: int = 0,
    ) -> None:
        def copy(index: int) -> RepeatableEpisodes:
            env = Contract(makers[index % len(makers)]())
            return RepeatableEpisodes(env, seed=seed, index=index, info_keys=info_keys)

        indices = range(first_env, first_env + num_envs)
        super().__init__([partial(copy, i) for i in indices], autoreset_mode=AutoresetMode.DISABLED)

    def snapshot(self) -> dict[str, Any]:
        """Copy the state: one :meth:`RepeatableEpisodes.snapshot` per copy."""
        return {"copies": [env.snapshot() for env in self.envs]}

    def restore(self, state: dict[str, Any]) -> None:
        """Bring every copy back to its state in a :meth:`snapshot`.

        Raises:
            UserError: the snapshot holds another number of environments.
        """
        copies = state["copies"]
        if len(copies) != self.num_envs:
            raise UserError(f"the checkpoint holds {len(copies)} environments: set num_envs={len(copies)} to resume it")
        for i, (env, copy) in enumerate(zip(self.envs, copies, strict=True)):
            self._env_obs[i], self._terminations[i], self._truncations[i] = env.restore(copy)  # pyright: ignore[reportCallIssue, reportArgumentType]
        self._autoreset_envs = np.logical_or(self._terminations, self._truncations)


class InfoColumns(BaseInfoDictReader):
    """Write scalars of gymnasium's ``info`` as columns ``[num_envs, 1]``; nan means that a copy did not report one.

    Args:
        keys: the scalars.
        num_envs: number of copies.
        device: device of the columns.
    """

    def __init__(self, keys: Sequence[str], num_envs: int, device: torch.device) -> None:
        self.keys = tuple(keys)
        self._num_envs = num_envs
        column = Unbounded(shape=torch.Size([num_envs, 1]), dtype=torch.float32, device=device)
        self._spec = Composite({key: column.clone() for key in self.keys}, shape=(num_envs,), device=device)

    @property
    def info_spec(self) -> Composite:
        """Specs of the columns; TorchRL adds them to the observation spec."""
        return self._spec

    def __call__(self, info_dict: dict[str, Any], tensordict: TensorDictBase) -> TensorDictBase:
        """Read gymnasium's vector info: ``key [num_envs]``, and ``_key [num_envs]`` for the copies that reported it."""
        for key in self.keys:
            column = torch.full((self._num_envs, 1), torch.nan)
            if key in info_dict:
                reported = torch.from_numpy(info_dict[f"_{key}"])
                column[reported, 0] = torch.from_numpy(np.asarray(info_dict[key], np.float32))[reported]
            tensordict.set(key, column)
        return tensordict


class VectorEnv(GymWrapper):
    """Wrap a :class:`RepeatableVectorEnv` as a TorchRL environment of batch size ``[num_envs]``; see :func:`vectorise`."""

    def snapshot(self) -> dict[str, Any]:
        """Copy the exact state of all copies: tensors and primitives only."""
        return self._env.snapshot()

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`snapshot`: the next ``step`` takes the caller's saved TensorDict, without a reset."""
        self._env.restore(state)

    def _replace_reset(self, reset: Tensor | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        # TorchRL's own version fails on a full reset without a mask and on masks that live on an accelerator.
        if reset is None:
            return kwargs
        return {**kwargs, "options": {"reset_mask": reset.view(self.batch_size).cpu().numpy()}}


def vectorise(
    make: Callable[[], gymnasium.Env] | Sequence[Callable[[], gymnasium.Env]],
    num_envs: int,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    info_keys: Sequence[str] = (),
    first_env: int = 0,
) -> VectorEnv:
    """Build one TorchRL environment of ``num_envs`` copies of ``make()`` in one process.

    Keys: ``observation [num_envs, *observation]`` in the environment's type, ``action [num_envs, action]``,
    ``("next", "reward")`` float32 and ``done``/``terminated``/``truncated`` bool ``[num_envs, 1]``, and every info key as
    float32 ``[num_envs, 1]`` (nan means that a copy did not report it). There is no automatic reset; ``reset`` obeys the
    ``"_reset"`` mask.

    Args:
        make: builds one environment with flat float32 or image observations. Several makers must have the same spaces;
            copy ``i`` takes the one at ``i`` modulo their number.
        num_envs: number of copies, at least 1.
        seed: base seed, not negative; copy ``i`` in episode ``e`` is reset with a seed derived from (seed, i, e).
        device: device of the tensors; the simulators run on the CPU.
        info_keys: scalars of ``info`` to keep.
        first_env: index of the first copy in a larger batch.

    Raises:
        UserError: ``num_envs`` or ``seed`` is out of range, or an environment breaks gymnasium's interface (also at a
            reset or a step, see :class:`~pompc.data.contract.Contract`).
    """
    if num_envs < 1:
        raise UserError(f"num_envs={num_envs}: take 1 or more")
    if seed < 0:
        raise UserError(f"seed={seed}: take 0 or more")
    device = torch.device(device)
    makers = [make] if callable(make) else make
    copies = RepeatableVectorEnv(makers, num_envs, seed=seed, info_keys=info_keys, first_env=first_env)
    env = VectorEnv(copies, device=device)
    if info_keys:
        env.set_info_dict_reader(InfoColumns(info_keys, num_envs, device))
    return env
