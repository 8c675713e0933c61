"""A user's batched ``EnvBase`` with the keys, the actions and the snapshots that pompc works with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Bounded, Categorical, Composite, TensorSpec, Unbounded
from torchrl.envs import EnvBase

from pompc.data.actions import UNLIMITED
from pompc.data.broken import BROKEN
from pompc.errors import UserError

if TYPE_CHECKING:
    from .envbase import EnvBaseConfig

FLAGS = ("done", "terminated", "truncated")


@runtime_checkable
class Resumable(Protocol):
    """An environment whose whole state can be saved, random numbers included."""

    def snapshot(self) -> dict[str, Any]:
        """Copy the state: tensors and python primitives only."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`snapshot`."""
        ...


class UserBatch(EnvBase):
    """A user's batch: ``observation [num_envs, observation]`` float32, ``action [num_envs, action]`` in [-1, 1].

    Entries that the environment carries in its TensorDict, such as the state of a stateless one, are carried here. A run
    with an environment that is not :class:`Resumable` goes on with new episodes: its first step after ``restore`` is broken
    (:mod:`pompc.data.broken`).

    Args:
        env: the user's environment.
        config: the family's options.
        num_envs: its batch size.
        seed: of its random numbers.

    Raises:
        UserError: batch size, observations, actions or info keys do not fit.
    """

    def __init__(self, env: EnvBase, config: EnvBaseConfig, num_envs: int, seed: int) -> None:
        if tuple(env.batch_size) != (num_envs,):
            raise UserError(
                f"{config.factory} makes a batch of size {list(env.batch_size)} for num_envs={num_envs}: it has to be "
                f"[{num_envs}]"
            )
        super().__init__(device=env.device or torch.device("cpu"), batch_size=[num_envs])
        self.is_closed = False  # a collector closes no other; TorchRL's default is True
        self._env, self._config = env, config
        self._seen = [_require_entry(env, name, config) for name in config.observations]
        self._informed = {name: _require_entry(env, name, config, single=True) for name in config.info_keys}
        self._low, self._high = _bounds(env.action_spec, config)
        self._resumable = env if isinstance(env, Resumable) else None
        self._root: TensorDictBase | None = None
        self._has_begun = False  # whether the environment itself has begun all episodes that are to begin
        self._lost: Tensor | None = None  # the last observation, if the state behind it is lost
        self._steps = torch.zeros(num_envs, 1, dtype=torch.long, device=self.device)
        self._set_specs(num_envs)
        self.set_seed(seed)

    def _set_specs(self, num_envs: int) -> None:
        one, device = (num_envs, 1), self.device
        names = (*self._informed, *(() if self._resumable else (BROKEN,)))
        size = sum(_size(self._env.observation_spec[key]) for key in self._seen)
        info = {name: Unbounded(one, device=device) for name in names}
        seen = Unbounded((num_envs, size), device=device)
        self.observation_spec = Composite(observation=seen, **info, shape=(num_envs,), device=device)
        self.action_spec = Bounded(-1.0, 1.0, (num_envs, len(self._low)), device=device)
        self.reward_spec = Unbounded(one, device=device)
        flags = {key: Categorical(2, one, dtype=torch.bool, device=device) for key in FLAGS}
        self.done_spec = Composite(flags, shape=(num_envs,), device=device)

    def _set_seed(self, seed: int | None) -> None:
        if seed is not None:
            self._env.set_seed(seed)

    # -- stepping ----------------------------------------------------------------------------------------------------

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDictBase:
        begun = torch.ones_like(self._steps, dtype=torch.bool)
        if tensordict is not None and "_reset" in tensordict:
            begun = tensordict["_reset"].view(-1, 1)
        self._steps.masked_fill_(begun, 0)
        if self._root is None or bool(begun.all()):
            self._root = self._env.reset()
        elif not self._has_begun:
            given = self._root.clone(recurse=False).set("_reset", begun)
            self._root = _where(begun, self._env.reset(given).exclude("_reset"), self._root)
        self._has_begun = False
        return self._observed(self._root)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        if self._lost is not None:
            return self._broken_step()
        assert self._root is not None, "reset comes before a step"
        before = self._observation(self._root)
        action = self._low + 0.5 * (tensordict["action"].clamp(-1.0, 1.0) + 1.0) * (self._high - self._low)
        given = self._root.clone(recurse=False).set(self._env.action_key, action.to(self._env.action_spec.dtype))
        stepped = self._env.step(given)
        self._root, after = self._env.step_mdp(stepped), stepped["next"]
        self._steps += 1
        terminated, truncated, own_end = self._ends(after)
        result = self._observed(after)
        if self._config.autoreset:
            result["observation"] = torch.where(own_end, before, result["observation"])
            self._has_begun = bool((own_end == (terminated | truncated)).all())
        reward = after[self._env.reward_key].view(-1, 1).float()
        ends = {"terminated": terminated, "truncated": truncated, "done": terminated | truncated}
        return result.update({"reward": reward, **ends})

    def _ends(self, after: TensorDictBase) -> tuple[Tensor, Tensor, Tensor]:
        """Find terminated and truncated episodes, and those that the environment itself has ended, ``[num_envs, 1]``."""
        flags = {name: after[name].view(-1, 1) for name in FLAGS if name in after.keys()}  # noqa: SIM118 - a TensorDict
        own_end = flags["done"]
        terminated = flags.get("terminated", own_end & ~flags.get("truncated", torch.zeros_like(own_end)))
        truncated = own_end & ~terminated
        if self._config.episode_steps is not None:
            truncated = truncated | ((self._steps >= self._config.episode_steps) & ~terminated)
        return terminated, truncated, own_end

    def _broken_step(self) -> TensorDictBase:
        """End all episodes, whose state is lost, with a step of which nothing is learned."""
        assert self._lost is not None
        ones = torch.ones_like(self._steps, dtype=torch.bool)
        columns = {name: torch.full(ones.shape, torch.nan, device=self.device) for name in self._informed}
        columns |= {"observation": self._lost, "reward": torch.zeros_like(ones, dtype=torch.float32)}
        columns |= {BROKEN: ones.float(), "terminated": ~ones, "truncated": ones, "done": ones.clone()}
        self._lost = None
        return TensorDict(columns, batch_size=self.batch_size, device=self.device)

    def _observed(self, entries: TensorDictBase) -> TensorDict:
        found: dict[str, Tensor] = {"observation": self._observation(entries)}
        found |= {name: entries[key].view(-1, 1).float() for name, key in self._informed.items()}
        if self._resumable is None:
            found[BROKEN] = torch.zeros(len(self._steps), 1, device=self.device)
        return TensorDict(found, batch_size=self.batch_size, device=self.device)

    def _observation(self, entries: TensorDictBase) -> Tensor:
        values: list[Any] = [entries[key] for key in self._seen]
        return torch.cat([value.flatten(1).float() for value in values], dim=-1)

    # -- saving ------------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Copy the state of a :class:`Resumable` environment; of another one the last observation."""
        assert self._root is not None
        seen = self._observation(self._root) if self._lost is None else self._lost
        kept: dict[str, Any] = {"steps": self._steps.clone(), "observation": seen}
        if self._resumable is not None:
            kept |= {"root": self._root.clone().to_dict(), "env": self._resumable.snapshot()}
        return kept

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`snapshot`.

        Raises:
            UserError: the snapshot has another number of environments.
        """
        count = len(state["steps"])
        if count != len(self._steps):
            raise UserError(f"the checkpoint holds {count} environments: set num_envs={count} to resume it")
        self._steps = state["steps"].to(self.device, copy=True)
        if self._resumable is None:
            self._lost = state["observation"].to(self.device)
            return
        self._root = TensorDict(state["root"], batch_size=self.batch_size, device=self.device)
        self._resumable.restore(state["env"])

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Close the user's environment."""
        if not self._env.is_closed:
            self._env.close()
        super().close(raise_if_closed=raise_if_closed)


def _require_entry(env: EnvBase, name: str, config: EnvBaseConfig, *, single: bool = False) -> tuple[str, ...]:
    """Find an entry of the observations by its name with dots; return its key."""
    key, spec = tuple(name.split(".")), env.observation_spec
    names = [".".join(one) if isinstance(one, tuple) else one for one in spec.keys(True, True)]
    if name not in names:
        raise UserError(
            f"{config.factory} has no entry {name!r} in its observation_spec; there are: {', '.join(names)}"
        )
    leaf = spec[key]
    if single and _size(leaf) != 1:
        raise UserError(f"{config.factory}: env.info_keys names {name!r} of shape {list(leaf.shape)}, not one number")
    return key


def _size(spec: TensorSpec) -> int:
    """Count the numbers of an entry per environment."""
    return spec.shape[1:].numel()


def _bounds(spec: TensorSpec, config: EnvBaseConfig) -> tuple[Tensor, Tensor]:
    """Find the bounds of one action ``[action]``."""
    if len(spec.shape) != 2 or not spec.dtype.is_floating_point:
        raise UserError(
            f"{config.factory} has actions {list(spec.shape[1:])} of {spec.dtype}: only flat floats are supported"
        )
    space: Any = spec.space
    limits = (space.low[0], space.high[0]) if isinstance(spec, Bounded) else None
    if limits is None or not all(bool((limit.abs() < UNLIMITED).all()) for limit in limits):
        if config.action_limit is None:
            raise UserError(f"{config.factory} has unbounded actions: set env.action_limit, such as 1.0")
        limit = torch.full(spec.shape[1:], config.action_limit, device=spec.device)
        return -limit, limit
    return limits


def _where(mask: Tensor, new: TensorDictBase, old: TensorDictBase) -> TensorDictBase:
    """Take rows ``[num_envs, 1]`` of ``new``, the others of ``old``."""
    merged = new.clone()
    for key in old.keys(True, True):
        if key in new.keys(True, True):
            value = new[key]
            merged[key] = torch.where(mask.view(-1, *[1] * (value.ndim - 1)), value, old[key])
    return merged
