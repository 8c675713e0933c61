"""An explicit model around another one, the base of models with learned parts."""

from __future__ import annotations

import torch
from torch import Tensor

from pompc.models.protocols import Aiming, Constrained, Judge, Periodic, Safe, TaskModel


class TaskWrapper:
    """A :class:`~pompc.models.protocols.TaskModel` that passes everything on to another one.

    A subclass replaces some of it. It has the optional methods that ``task`` has, so a planner treats both alike.

    Args:
        task: the explicit model to pass on to.

    Attributes:
        margins: of :class:`~pompc.models.protocols.Constrained`; ``None`` if the task has none.
        judge: of :class:`~pompc.models.protocols.Judge`, if the task has it.
        brake: of :class:`~pompc.models.protocols.Safe`, likewise; also ``at_rest``.
        aim: of :class:`~pompc.models.protocols.Aiming`, likewise.
        difference: of :class:`~pompc.models.protocols.Periodic`; plain subtraction if the task has none.
    """

    def __init__(self, task: TaskModel) -> None:
        self.task = task
        self.state_dim, self.action_dim, self.parameter_dim = task.state_dim, task.action_dim, task.parameter_dim
        self.nominal = task.nominal
        self.difference = task.difference if isinstance(task, Periodic) else torch.sub
        self.margins = task.margins if isinstance(task, Constrained) else None
        if isinstance(task, Judge):
            self.judge = task.judge
        if isinstance(task, Safe):
            self.brake, self.at_rest = task.brake, task.at_rest
        if isinstance(task, Aiming):
            self.aim = task.aim

    def state(self, observation: Tensor) -> Tensor:
        """See :class:`~pompc.models.protocols.TaskModel`."""
        return self.task.state(observation)

    def observe(self, state: Tensor) -> Tensor:
        """See :class:`~pompc.models.protocols.TaskModel`."""
        return self.task.observe(state)

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """See :class:`~pompc.models.protocols.Dynamics`."""
        return self.task.step(state, action)

    def terminated(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """See :class:`~pompc.models.protocols.Terminating`."""
        return self.task.terminated(state, action, next_state)

    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """See :class:`~pompc.models.protocols.TaskModel`."""
        return self.task.reward(state, action, next_state)

    def parameters(self, high_action: Tensor) -> Tensor:
        """See :class:`~pompc.models.protocols.TaskModel`."""
        return self.task.parameters(high_action)

    def running(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None) -> Tensor:
        """See :class:`~pompc.models.protocols.Cost`."""
        return self.task.running(state, action, next_state, parameters)

    def terminal(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        """See :class:`~pompc.models.protocols.Cost`."""
        return self.task.terminal(state, parameters)
