"""An explicit model with the methods of a learned one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pompc.models.protocols import Constrained, TaskModel


def observation_dim(task: TaskModel) -> int:
    """Find the size of an observation of an explicit model."""
    return task.observe(torch.zeros(task.state_dim, device=task.nominal.device)).shape[-1]


class KnownModel(nn.Module):
    """Offer a task's explicit model to an agent as a :class:`~pompc.models.protocols.Model`; nothing is learned.

    Args:
        task: the explicit model of an environment.

    Attributes:
        input_dim: size of an observation, the networks' input.
        terminates: True; :meth:`outcome` asks the task.
        tasks: None; an explicit model is of one task.
        margins: the task's, if it is :class:`~pompc.models.protocols.Constrained`; then this model is. Otherwise None.
    """

    terminates = True
    tasks = None

    def __init__(self, task: TaskModel) -> None:
        super().__init__()
        self.task = task
        self.margins = task.margins if isinstance(task, Constrained) else None
        self.input_dim = observation_dim(task)

    def encode(self, observation: Tensor) -> Tensor:
        """Convert ``observation [..., observation]`` to the model state ``[..., state]``."""
        return self.task.state(observation)

    def inputs(self, state: Tensor) -> Tensor:
        """Convert ``state [..., state]`` to the observation that networks see ``[..., observation]``."""
        return self.task.observe(state)

    def next(self, state: Tensor, action: Tensor) -> Tensor:
        """Step the equations of motion: ``[..., state]``, ``[..., action]`` -> ``[..., state]``."""
        return self.task.step(state, action)

    def outcome(self, state: Tensor, action: Tensor, next_state: Tensor) -> tuple[Tensor, Tensor]:
        """Judge a step: reward model ``[...]`` and whether the episode ended, bool ``[...]``."""
        return self.task.reward(state, action, next_state), self.task.terminated(state, action, next_state)

    def transition(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take a step and judge it: next state ``[..., state]``, reward ``[...]``, ended, bool ``[...]``."""
        next_state = self.next(state, action)
        return next_state, *self.outcome(state, action, next_state)
