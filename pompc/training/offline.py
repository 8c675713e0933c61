"""Learn from a dataset without stepping the environment: ``data=FOLDER``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.envs import EnvBase

from pompc.config.spec import RunSpec
from pompc.data.actions import from_box
from pompc.data.collector import make_collector
from pompc.data.dataset import Dataset, Episode, open_dataset
from pompc.data.frozen_replay import FrozenReplay
from pompc.errors import UserError
from pompc.offpolicy.agent import OffPolicyAgent
from pompc.offpolicy.priors import StoredPlan
from pompc.problem import Problem
from pompc.registry import ALGORITHMS
from pompc.schedules import highest_value
from pompc.training.assemble import Assembly

PLAN = ("plan_mean", "plan_std")
"""What :meth:`OffPolicyAgent.random_plan` can stand in for."""


class TransitionSource(Protocol):
    """Where a run's transitions come from, resumable between any two batches."""

    @property
    def carried(self) -> TensorDictBase:
        """The start of the next step, for the evidence of a bad number."""
        ...

    def rollout(self) -> TensorDictBase:
        """Give the next batch ``[num_envs, time]``."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """Copy the state: tensors and python primitives only."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`snapshot`."""
        ...

    def shutdown(self) -> None:
        """Close the environments."""
        ...


class StoredTransitions:
    """Give the transitions of a dataset in their order, over and over: they are the clock of a run without collection.

    Row ``e`` of a batch goes through the episodes ``e``, ``e + num_envs``, ... and begins again after the last.

    Args:
        replay: holds the dataset.
        scalars: ``done``, ``truncated``, ``episode_reward``, ``step_count`` and the info keys of every slot ``[slot, 1]``.
        env: the environment of the run, closed at the end.
        time: transitions per batch and row.
    """

    def __init__(self, replay: FrozenReplay, scalars: Mapping[str, Tensor], env: EnvBase, time: int) -> None:
        self._replay, self._scalars, self._env, self._time = replay, dict(scalars), env, time
        starts = replay.lengths.cumsum(0) - replay.lengths
        episodes = [
            start + torch.arange(length - 1)
            for start, length in zip(starts.tolist(), replay.lengths.tolist(), strict=True)
        ]
        rows = env.batch_size.numel()
        self._rows = [torch.cat(episodes[row % len(episodes) :: rows]) for row in range(rows)]
        self._position = 0

    @property
    def carried(self) -> TensorDictBase:
        """The next transitions ``[num_envs, 1]``."""
        return self._at(1)

    def rollout(self) -> TensorDictBase:
        """Give the next batch ``[num_envs, time]``."""
        batch = self._at(self._time)
        self._position += self._time
        return batch

    def snapshot(self) -> dict[str, Any]:
        """Copy the position."""
        return {"position": self._position}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue at a position.

        Raises:
            UserError: the state is that of an environment.
        """
        if "position" not in state:
            raise UserError(
                "this run has collected its transitions: start with another run_dir= to learn from a dataset"
            )
        self._position = state["position"]

    def shutdown(self) -> None:
        """Close the environment."""
        self._env.close()

    def _at(self, time: int) -> TensorDictBase:
        steps = self._position + torch.arange(time)
        slots = torch.stack([row[steps % len(row)] for row in self._rows])
        batch = self._replay.transitions(slots)
        for name, column in self._scalars.items():
            batch["next", name] = column[slots].to(batch.device)
        return batch


def make_source(parts: Assembly, spec: RunSpec) -> tuple[TransitionSource, list[str]]:
    """Make a run's source of transitions: a collector, or a dataset in the agent's replay.

    Returns:
        The source, and lines about the dataset; none for a collector.

    Raises:
        UserError: the memory does not suffice, or the agent cannot learn from the dataset.
    """
    agent, folder = parts.agent, spec.options.data
    if folder is None:
        agent.require_memory()
        return make_collector(parts.env, agent, agent.frames_per_batch), []
    if not isinstance(agent, OffPolicyAgent):
        raise UserError(f"data={folder}: {spec.algorithm} learns from its own actions only; take one of {_learners()}")
    dataset = open_dataset(Path(folder))
    _require_fitting(dataset, agent.problem, folder)
    episodes, scalars, returns = [], [], []
    for episode in dataset:
        if len(episode):
            episodes.append(_stored(episode, dataset, agent, folder))
            scalars.append(_scalars(episode, parts.family.info_keys))
            returns.append(episode.total_reward)
    agent.replay = replay = FrozenReplay(episodes, agent.replay.slice_steps, agent.replay.device, agent.replay.extras)
    agent.budget.begin()
    columns = {name: torch.cat([one[name] for one in scalars]) for name in scalars[0]}
    source = StoredTransitions(replay, columns, parts.env, agent.frames_per_batch // agent.problem.num_envs)
    steps = sum(len(episode) - 1 for episode in episodes)
    lines = [f"learns from {folder}: {len(episodes):,} episodes, {steps:,} steps, mean return {np.mean(returns):.6g}"]
    return source, [*lines, "no step is made in the environment but for evaluations"]


def _learners() -> str:
    return ", ".join(name for name in ALGORITHMS.classes if issubclass(ALGORITHMS.resolve(name), OffPolicyAgent))


def _require_fitting(dataset: Dataset, problem: Problem, folder: str) -> None:
    """Refuse spaces that are not those of the environment."""
    seen, acted = dataset.observation_space, dataset.action_space
    for what, space in (("observation", seen), ("action", acted)):
        if not isinstance(space, spaces.Box):
            raise UserError(f"data={folder}: its {what}s are a {type(space).__name__}, only a Box is supported")
    shape = problem.image_shape or (problem.observation_dim,)
    for what, found, wanted in (("observation", seen.shape, shape), ("action", acted.shape, (problem.action_dim,))):
        if tuple(found or ()) != tuple(wanted):
            raise UserError(
                f"data={folder}: an {what} has the shape {list(found or ())}, in the environment {list(wanted)}: give the "
                "environment and its options with which the dataset was made"
            )
    repeat = dict(dataset.metadata.get("pompc", {})).get("action_repeat", problem.action_repeat)
    if repeat != problem.action_repeat:
        raise UserError(
            f"data={folder}: its actions are repeated {repeat} times, in the environment {problem.action_repeat}: set "
            f"env.action_repeat={repeat}"
        )


def _stored(episode: Episode, dataset: Dataset, agent: OffPolicyAgent, folder: str) -> TensorDictBase:
    """Make the slots of an episode ``[T + 1]``; actions are scaled to [-1, 1]."""
    space = dataset.action_space
    assert isinstance(space, spaces.Box)
    kind = torch.float32 if agent.problem.image_shape is None else torch.uint8
    actions = torch.from_numpy(from_box(episode.actions, space.low, space.high))
    slots = {"action": actions, "reward": torch.from_numpy(episode.rewards).float().unsqueeze(-1)}
    slots["terminated"] = torch.from_numpy(episode.terminations).bool().unsqueeze(-1)
    slots |= _extras(episode, actions, agent, folder)
    padded = {name: torch.cat([value, torch.zeros_like(value[:1])]) for name, value in slots.items()}
    padded["observation"] = torch.from_numpy(episode.observations).to(kind)
    if not all(bool(torch.isfinite(value).all()) for value in padded.values()):
        raise UserError(f"data={folder}: an episode has a number that is not finite")
    return TensorDict(padded, batch_size=[len(episode) + 1])


def _extras(episode: Episode, actions: Tensor, agent: OffPolicyAgent, folder: str) -> dict[str, Tensor]:
    """Find what the replay keeps beside the transitions ``[T, ...]``."""
    names = agent.replay.extras
    found = {name: torch.from_numpy(episode.infos[name][:-1]) for name in names if name in episode.infos}
    missing = [name for name in names if name not in found]
    if not missing:
        return found
    unused = type(agent.prior) is StoredPlan and highest_value(agent.config.kl_weight) == 0
    if unused and set(missing) <= set(PLAN):
        stand_in = dict(zip(PLAN, agent.random_plan(actions), strict=True))
        return found | {name: stand_in[name] for name in missing}
    raise UserError(
        f"data={folder} lacks {', '.join(missing)}, which {type(agent).__name__} learns from: collect it with a run of the "
        "same algorithm and options, by `pompc collect --explore`"
    )


def _scalars(episode: Episode, info_keys: Sequence[str]) -> dict[str, Tensor]:
    """Make what the rows of metrics.csv are summed from, per slot ``[T + 1, 1]``."""
    steps = len(episode)
    last = np.arange(steps + 1) == steps - 1
    columns: dict[str, np.ndarray] = {
        "done": last,
        "truncated": last & ~np.append(episode.terminations, False),
        "episode_reward": np.append(episode.rewards.cumsum(dtype=np.float64), 0.0).astype(np.float32),
        "step_count": np.minimum(np.arange(1, steps + 2), steps),
    }
    for name in info_keys:
        known = episode.infos.get(name)
        columns[name] = np.full(steps + 1, np.nan, np.float32)
        if known is not None:
            columns[name][:-1] = known[1:]
    return {name: torch.from_numpy(column).unsqueeze(-1) for name, column in columns.items()}
