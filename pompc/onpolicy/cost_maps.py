"""What a network's output means to the planner: a map to cost parameters, and the cost that reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from pompc.models.known import observation_dim
from pompc.models.protocols import Cost, Dynamics, TaskModel

LEAST_WEIGHT = 0.1
"""Of an entry in the quadratic cost: every direction stays convex."""
EDGE = 0.95
"""Largest nominal entry, in half-widths of the box: at the edge itself a squashed output has no gradient."""


class CostMap(Protocol):
    """A family of costs for the planner.

    Attributes:
        dim: size of the network's output.
        start: the output to start at ``[dim]``.
        dynamics: what the planner rolls out.
        cost: what it minimises.
    """

    dim: int
    start: Tensor
    dynamics: Dynamics
    cost: Cost

    def parameters(self, output: Tensor) -> Tensor:
        """Map any output ``[..., dim]`` to cost parameters ``[..., parameter]``; differentiable everywhere."""
        ...


class TaskWeights:
    """The task's own cost: a squashed output is its high-level action, as in a hierarchy. It starts at the nominal one.

    Args:
        task: the explicit model.
    """

    def __init__(self, task: TaskModel) -> None:
        self.dynamics: Dynamics = task
        self.cost: Cost = task
        self.dim = task.parameter_dim
        self.start = task.nominal.clamp(-EDGE, EDGE).atanh()
        self._box = task.parameters

    def parameters(self, output: Tensor) -> Tensor:
        """See :class:`CostMap`."""
        return self._box(output.tanh())


class QuadraticCost:
    """A diagonal quadratic ``z' diag(q) z / 2 + p' z`` of what a step leads to, ``z = (next observation, action)``.

    The form and the ranges are those of AC-MPC: ``q = scale * sigmoid + 0.1``, ``p = scale * (sigmoid - 1/2)``. The network
    gives both for every stage; a stage is a share of the horizon. Ends of episodes do not end the cost: a plan that ends
    would be a cheap one.

    Args:
        task: the explicit model; only its dynamics and observations count.
        horizon: steps of a plan.
        stages: number of stages, at most ``horizon``.
        scale: largest weight, in units of cost per squared unit of an observation.
    """

    def __init__(self, task: TaskModel, horizon: int, stages: int, scale: float) -> None:
        self.dynamics: Dynamics = _Endless(task)
        self.cost: Cost = self
        self._entries = observation_dim(task) + task.action_dim
        self._sizes, self._scale = (2, stages, self._entries), scale
        self.dim = 2 * stages * self._entries
        self.start = torch.zeros(self.dim, device=task.nominal.device)
        self._observe = task.observe
        self._stage = torch.arange(horizon, device=task.nominal.device) * stages // horizon

    def parameters(self, output: Tensor) -> Tensor:
        """See :class:`CostMap`; first all ``q``, then all ``p``, stage after stage."""
        weight, slope = output.sigmoid().chunk(2, -1)
        return torch.cat([self._scale * weight + LEAST_WEIGHT, self._scale * (slope - 0.5)], -1)

    def running(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None) -> Tensor:
        """See :class:`~pompc.models.protocols.Cost`; time comes first, as in every plan."""
        given = self.parameters(self.start) if parameters is None else parameters
        weight, slope = given.unflatten(-1, self._sizes)[..., self._stage, :].movedim((-2, -3), (0, 1)).unbind(1)
        reached = torch.cat([self._observe(next_state), action], -1)
        return ((0.5 * weight * reached + slope) * reached).sum(-1)

    def terminal(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        """Charge nothing: the last step has charged this state."""
        return torch.zeros_like(state[..., 0])


class _Endless:
    """Dynamics without ends of episodes and without constraints."""

    def __init__(self, task: TaskModel) -> None:
        self.step = task.step


COST_MAPS: dict[str, Callable[[TaskModel, int, int, float], CostMap]] = {
    "task": lambda task, horizon, stages, scale: TaskWeights(task),
    "quadratic": QuadraticCost,
}
"""Cost maps of ``(task, horizon, stages, scale)`` by the name that ``algo.cost`` takes."""
