"""The values and the policy that a parametric planner stands for, with their derivatives with respect to phi."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pompc.parametric.task import ParametricTask, Phi
from pompc.planner import MPPI
from pompc.planner.fixed_point import FixedPoint
from pompc.planner.layer import Layered, layer

BLOCK = 2**18
"""Steps of samples that are differentiated at once; it bounds the memory of the cost's graph."""


class Value(NamedTuple):
    """Costs to go of states, or of states and actions.

    Attributes:
        cost: soft values with the offset ``[batch]``.
        slope: derivatives with respect to phi and the offset ``[batch, size + 1]``.
        effective_samples: ``[batch]``.
    """

    cost: Tensor
    slope: Tensor
    effective_samples: Tensor


class Policy(NamedTuple):
    """First actions of plans.

    Attributes:
        action: ``[batch, action]``.
        slope: derivatives with respect to phi ``[batch, action, size]``.
    """

    action: Tensor
    slope: Tensor


class PlannedValues:
    """A planner as policy, critic and value function (Gros and Zanon 2020).

    ``V(s)`` is the soft value of a plan, ``Q(s, a)`` that of a plan whose first action is given, and the policy takes the
    first action of the plan.

    Args:
        planner: plans on a :class:`ParametricTask`, with common random numbers.
        task: its model and cost.
        phi: the learned vector.
        implicit: differentiate the policy as a fixed point of the planner's iteration.

    Raises:
        UserError: the planner's options have no fixed point to differentiate.
    """

    def __init__(self, planner: MPPI, task: ParametricTask, phi: Phi, *, implicit: bool) -> None:
        self.planner, self.task, self.phi, self.implicit = planner, task, phi, implicit
        if implicit:
            FixedPoint(planner, pinned=False)  # says now what it refuses

    @property
    def discount(self) -> float:
        """The planner's discount, which is the one of the values."""
        return self.planner.config.discount

    def augmented(self, state: Tensor, values: Tensor | None = None) -> Tensor:
        """Append the model's entries of phi to ``state [batch, state]``."""
        model = self.task.split(self.phi.values.expand(len(state), -1) if values is None else values)[1]
        return torch.cat([state, model], -1)

    def value(self, state: Tensor, mean: Tensor | None, *, first: Tensor | None = None) -> Value:
        """Value states, or states and their first actions.

        Args:
            state: ``[batch, state]``.
            mean: warm start ``[batch, horizon, action]``.
            first: actions ``[batch, action]``.
        """
        costs, slopes, samples = [], [], []
        for now, start, action in self._blocks(state, mean, first):
            layered, values = self._solve(now, start, action, implicit=False)
            costs.append(layered.soft_value.detach().squeeze(1))
            slopes.append(torch.autograd.grad(layered.soft_value.sum(), values)[0])
            samples.append(layered.effective_samples.squeeze(1))
        slope = torch.cat(slopes)
        slope = torch.cat([slope, torch.ones_like(slope[:, :1])], -1)
        return Value(torch.cat(costs) + self.phi.offset, slope, torch.cat(samples))

    def policy(self, state: Tensor, mean: Tensor | None) -> Policy:
        """Act in ``state [batch, state]``; the planner started from ``mean [batch, horizon, action]``."""
        actions, slopes = [], []
        for now, start, _ in self._blocks(state, mean, None):
            layered, values = self._solve(now, start, None, implicit=self.implicit)
            first = layered.mean[:, 0, 0]
            rows = [torch.autograd.grad(entry.sum(), values, retain_graph=True)[0] for entry in first.unbind(-1)]
            actions.append(first.detach())
            slopes.append(torch.stack(rows, 1))
        return Policy(torch.cat(actions), torch.cat(slopes))

    def _blocks(self, state: Tensor, mean: Tensor | None, first: Tensor | None) -> list[tuple]:
        """Split a batch into parts whose graphs fit into memory."""
        config = self.planner.config
        size = max(BLOCK // (config.num_samples * config.horizon), 1)
        count = -(-len(state) // size)
        parts = [[None] * count if x is None else x.split(size) for x in (state, mean, first)]
        return list(zip(*parts, strict=True))

    def _solve(
        self, state: Tensor, mean: Tensor | None, first: Tensor | None, *, implicit: bool
    ) -> tuple[Layered, Tensor]:
        """Plan; return the layer's result and the copies of phi ``[batch, size]`` that it depends on."""
        values = self.phi.values.expand(len(state), -1).clone().requires_grad_()
        cost, _ = self.task.split(values)
        layered = layer(
            self.planner,
            self.augmented(state, values),
            None if cost is None else cost.unsqueeze(1),
            mean,
            first=first,
            implicit=implicit,
            through_dynamics=self.task.learns_model,
        )
        return layered, values
