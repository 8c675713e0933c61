"""Several tasks of the DeepMind Control Suite in one vectorised environment, for one agent that learns them all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import gymnasium
import numpy as np
import torch

from pompc.config.options import Options, PositiveInt
from pompc.data.vector import VectorEnv, vectorise
from pompc.environment import EnvironmentFamily, Tasks, close
from pompc.errors import UserError

from .dm_control import DMControl, DMControlConfig, domain_and_task, require_action_repeat


@dataclass(frozen=True, kw_only=True)
class MultiTaskConfig(Options):
    """Options of a set of Control Suite tasks, observed from state.

    Attributes:
        tasks: ``<domain>-<task>`` each, as in ``dmc``. Environment ``i`` plays task ``i`` modulo their number: a
            ``num_envs`` and an ``eval.episodes`` that are multiples of it give every task the same share.
        action_repeat: control steps (frames) per action, in every task.
        episode_frames: control steps until an episode is truncated, in every task.
    """

    section = "env"

    tasks: tuple[str, ...] = ("cartpole-swingup", "cup-catch")
    action_repeat: PositiveInt = 2
    episode_frames: PositiveInt = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        require_action_repeat(self.action_repeat, self.episode_frames)
        if not self.tasks:
            raise UserError("env.tasks is empty: name at least one, such as env.tasks=[walker-walk,cheetah-run]")
        counts = Counter(map(domain_and_task, self.tasks))
        if twice := [task for task in self.tasks if counts[domain_and_task(task)] > 1]:
            raise UserError(f"env.tasks names a task twice: leave out one of {', '.join(twice)}")


class Padded(gymnasium.Wrapper):
    """One task with the spaces that all tasks share; ``info["task"]`` is its index.

    Observation: the task's own, then zeros, then its index. Action: the task obeys the first entries.

    Args:
        env: the task, with flat observation and action.
        index: of the task.
        observation_dim: size of the largest observation of a task, without the index.
        action_dim: size of the largest action of a task.
    """

    def __init__(self, env: gymnasium.Env, index: int, observation_dim: int, action_dim: int) -> None:
        super().__init__(env)
        self._index = index
        self._observation_dim, self._action_dim = _sizes(env)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (observation_dim + 1,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (action_dim,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Start a new episode of the same task."""
        own, info = self.env.reset(seed=seed, options=options)
        return self._pad(own), {**info, "task": self._index}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, Any, bool, bool, dict]:
        """Step with the entries of ``action`` that the task has."""
        own, reward, terminated, truncated, info = self.env.step(action[: self._action_dim])
        return self._pad(own), reward, terminated, truncated, {**info, "task": self._index}

    def _pad(self, own: np.ndarray) -> np.ndarray:
        padded = np.zeros(self.observation_space.shape or (), np.float32)
        padded[: self._observation_dim] = own
        padded[-1] = self._index
        return padded


class MultiTask(EnvironmentFamily):
    """Control Suite tasks side by side, one per environment; :attr:`tasks` describes them to an agent.

    Raises:
        UserError: no task, a task twice, or an option that ``dmc`` would refuse.
    """

    Config = MultiTaskConfig
    info_keys = ("task",)

    def __init__(self, config: MultiTaskConfig) -> None:
        super().__init__(config)
        repeat, frames = config.action_repeat, config.episode_frames
        self._families = [
            DMControl(DMControlConfig(task=task, action_repeat=repeat, episode_frames=frames)) for task in config.tasks
        ]
        self.terminates = any(family.terminates for family in self._families)

    @property
    def action_repeat(self) -> int:
        """Frames per action."""
        return self.config.action_repeat

    @property
    def episode_length(self) -> int:
        """Actions per episode, of any task."""
        return max(self.tasks.episode_lengths)

    @property
    def tasks(self) -> Tasks:
        """The tasks in the order of their indices."""
        return Tasks(
            names=self.config.tasks,
            action_dims=tuple(action for _, action in self._dims),
            episode_lengths=tuple(family.episode_length for family in self._families),
        )

    def make(self, *, render_mode: str | None = None) -> gymnasium.Env:
        """Make the first task."""
        return self._make(0, render_mode=render_mode)

    def vectorise(self, num_envs: int, *, seed: int, device: torch.device | str = "cpu") -> VectorEnv:
        """Make a batch in which environment ``i`` plays task ``i % len(tasks)``; a small batch leaves tasks out."""
        makers = [partial(self._make, index) for index in range(len(self._families))]
        return vectorise(makers, num_envs, seed=seed, device=device, info_keys=self.info_keys)

    def _make(self, index: int, *, render_mode: str | None = None) -> gymnasium.Env:
        observation_dim, action_dim = (max(sizes) for sizes in zip(*self._dims, strict=True))
        env = self._families[index].make(render_mode=render_mode)
        return Padded(env, index, observation_dim, action_dim)

    @cached_property
    def _dims(self) -> list[tuple[int, int]]:
        """Sizes of the observation and the action of every task."""
        dims = []
        for family in self._families:
            env = family.make()
            dims.append(_sizes(env))
            close(env)
        return dims


def _sizes(env: gymnasium.Env) -> tuple[int, int]:
    """Sizes of a flat observation and a flat action."""
    return gymnasium.spaces.flatdim(env.observation_space), gymnasium.spaces.flatdim(env.action_space)
