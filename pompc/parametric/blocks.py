"""Blocks of phi: the cost parameters of a task, a convex network in the cost, a correction of the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pompc.models.known import observation_dim
from pompc.models.protocols import TaskModel
from pompc.parametric.convex import ConvexNetwork


class Block(ABC):
    """A part of phi, of which the planner's cost or its model depends.

    Attributes:
        size: number of its entries.
        in_model: whether the model depends on it; otherwise the cost does.
    """

    size: int
    in_model = False

    @abstractmethod
    def initial(self) -> Tensor:
        """Return the entries at which the planner is the task's own ``[size]``."""

    def project(self, values: Tensor) -> Tensor:
        """Find the nearest allowed entries to ``values [size]``."""
        return values


class Weights(Block):
    """The task's own cost parameters, as a high-level action in its box.

    Args:
        task: an explicit model.
    """

    def __init__(self, task: TaskModel, hidden_sizes: Sequence[int]) -> None:
        self.task, self.size = task, task.parameter_dim

    def initial(self) -> Tensor:
        """Return the nominal high-level action."""
        return self.task.nominal.clone()

    def project(self, values: Tensor) -> Tensor:
        """Clip to the box."""
        return values.clamp(-1.0, 1.0)


class Convex(Block):
    """A network in the running and one in the terminal cost, convex in what is seen of a state, and in the action.

    Both networks are zero at the start, so that the planner is the task's own.

    Args:
        task: an explicit model.
        hidden_sizes: widths of the hidden layers.
    """

    def __init__(self, task: TaskModel, hidden_sizes: Sequence[int]) -> None:
        self.task = task
        seen = observation_dim(task)
        self.running_network = ConvexNetwork(seen + task.action_dim, hidden_sizes)
        self.terminal_network = ConvexNetwork(seen, hidden_sizes)
        self.size = self.running_network.size + self.terminal_network.size

    def initial(self) -> Tensor:
        """Draw the hidden layers from a fixed seed; the last layers are zero."""
        device = self.task.nominal.device
        return torch.cat([self.running_network.initial(seed=0), self.terminal_network.initial(seed=1)]).to(device)

    def project(self, values: Tensor) -> Tensor:
        """Clip the weights that must not be negative."""
        running, terminal = self._split(values)
        return torch.cat([self.running_network.project(running), self.terminal_network.project(terminal)])

    def running(self, state: Tensor, action: Tensor, values: Tensor) -> Tensor:
        """Charge steps ``[..., sample]``, given ``values [..., 1, size]``."""
        inputs = torch.cat([self.task.observe(state), action], -1)
        return self.running_network(inputs, self._split(values)[0])

    def terminal(self, state: Tensor, values: Tensor) -> Tensor:
        """Charge last states ``[..., sample]``, given ``values [..., 1, size]``."""
        return self.terminal_network(self.task.observe(state), self._split(values)[1])

    def _split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        running, terminal = values.split([self.running_network.size, self.terminal_network.size], -1)
        return running, terminal


class Correction(Block):
    """A correction of the model, linear in what is seen of a state and in the action; zero at the start.

    For a linear model it is the error of A, B and of a constant.

    Args:
        task: an explicit model.
    """

    in_model = True

    def __init__(self, task: TaskModel, hidden_sizes: Sequence[int]) -> None:
        self.task = task
        self.features = observation_dim(task) + task.action_dim + 1
        self.size = task.state_dim * self.features

    def initial(self) -> Tensor:
        """Return zeros."""
        return torch.zeros(self.size, device=self.task.nominal.device)

    def correct(self, state: Tensor, action: Tensor, values: Tensor) -> Tensor:
        """Compute what is added to the next state ``[..., state]``, given ``values [..., size]``."""
        seen = torch.cat([self.task.observe(state), action, torch.ones_like(action[..., :1])], -1)
        return (values.unflatten(-1, (self.task.state_dim, self.features)) * seen.unsqueeze(-2)).sum(-1)


BLOCKS: dict[str, Callable[[TaskModel, Sequence[int]], Block]] = {
    "weights": Weights,
    "convex": Convex,
    "model": Correction,
}
"""Blocks of phi by the name that ``algo.phi`` takes; made of an explicit model and the widths of hidden layers."""
