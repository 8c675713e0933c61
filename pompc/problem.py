"""The description of an environment that an agent gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from pompc.environment import Tasks
from pompc.models.protocols import TaskModel


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The description of an environment that an agent gets.

    Attributes:
        observation_dim: size of a flat observation.
        action_dim: size of an action; every entry is in [-1, 1].
        num_envs: environments stepped together.
        task_model: makes the explicit model of the environment; raises ``UserError`` if there is none.
        device: the device of the agent.
        image_shape: ``(channel, height, width)`` of an observation that is an image; ``None`` for a flat one.
        episode_length: agent steps until an episode is truncated; ``None`` without a limit.
        tasks: the tasks of a multi-task environment; ``None`` for one task.
        action_repeat: environment steps per action.
        terminates: whether an episode can end before its time limit; ``None`` if that is not known.
        info_keys: scalars that every step reports (:attr:`~pompc.environment.EnvironmentFamily.info_keys`).
        seed: of the run, for draws that are made once and kept, such as common random numbers.
    """

    observation_dim: int
    action_dim: int
    num_envs: int
    task_model: Callable[[], TaskModel]
    device: torch.device
    image_shape: tuple[int, ...] | None = None
    episode_length: int | None = None
    tasks: Tasks | None = None
    action_repeat: int = 1
    terminates: bool | None = None
    info_keys: tuple[str, ...] = ()
    seed: int = 0
