"""The values and the policy that a parametric planner stands for, with their derivatives with respect to phi."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pompc.parametric.task import ParametricTask, Phi
from pompc.planner import MPPI, MPPIConfig
from pompc.planner.fixed_point import FixedPoint
from pompc.planner.layer import Layered, layer
from pompc.planner.noise import CommonNoise, MirroredNoise

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
        planner: acts, on a :class:`ParametricTask`, with common random numbers; it counts the model steps of both.
        task: its model and cost.
        phi: the learned vector.
        implicit: differentiate the policy as a fixed point of the planner's iteration.
        valuer: values, the same planner without what is charged beside the task (:meth:`MPPIConfig.of_task`); ``None`` for
            ``planner``.

    Raises:
        UserError: the planner's options have no fixed point to differentiate.
    """

    def __init__(
        self, planner: MPPI, task: ParametricTask, phi: Phi, *, implicit: bool, valuer: MPPI | None = None
    ) -> None:
        self.planner, self.task, self.phi, self.implicit = planner, task, phi, implicit
        self.valuer = valuer or planner
        if implicit:
            FixedPoint(planner, pinned=False)  # says now what it refuses

    @classmethod
    def of(
        cls,
        options: MPPIConfig,
        task: ParametricTask,
        phi: Phi,
        *,
        implicit: bool,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> PlannedValues:
        """Make the planners.

        Args:
            options: of the one that acts.
            task: model and cost of both.
            phi: the learned vector.
            implicit: see :class:`PlannedValues`.
            seed: of the random numbers that all plans have in common; samples come in opposite pairs.
            device: of the plans.
        """

        def make(options: MPPIConfig) -> MPPI:
            planner = MPPI(options, task, task, task.task.action_dim, device=device)
            planner.noise = CommonNoise(MirroredNoise(planner.noise), seed)
            return planner

        valuer = None if options.of_task() == options else make(options.of_task())
        return cls(make(options), task, phi, implicit=implicit, valuer=valuer)

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
            layered, values = self._solve(self.valuer, now, start, first=action)
            costs.append(layered.soft_value.detach().squeeze(1))
            slopes.append(torch.autograd.grad(layered.soft_value.sum(), values)[0])
            samples.append(layered.effective_samples.squeeze(1))
        slope = torch.cat(slopes)
        slope = torch.cat([slope, torch.ones_like(slope[:, :1])], -1)
        return Value(torch.cat(costs) + self.phi.offset, slope, torch.cat(samples))

    def policy(self, state: Tensor, mean: Tensor | None, previous: Tensor | None = None) -> Policy:
        """Act.

        Args:
            state: ``[batch, state]``.
            mean: warm start ``[batch, horizon, action]``.
            previous: the actions applied last ``[batch, past, action]``, see :meth:`MPPI.plan`.
        """
        actions, slopes = [], []
        for now, start, before in self._blocks(state, mean, previous):
            layered, values = self._solve(self.planner, now, start, previous=before, implicit=self.implicit)
            first = layered.mean[:, 0, 0]
            rows = [torch.autograd.grad(entry.sum(), values, retain_graph=True)[0] for entry in first.unbind(-1)]
            actions.append(first.detach())
            slopes.append(torch.stack(rows, 1))
        return Policy(torch.cat(actions), torch.cat(slopes))

    def _blocks(self, *given: Tensor | None) -> list[tuple]:
        """Split a batch into parts whose graphs fit into memory."""
        config = self.planner.config
        size = max(BLOCK // (config.num_samples * config.horizon), 1)
        count = max(-(-len(x) // size) for x in given if x is not None)
        parts = [[None] * count if x is None else x.split(size) for x in given]
        return list(zip(*parts, strict=True))

    def _solve(self, planner: MPPI, state: Tensor, mean: Tensor | None, **options: Any) -> tuple[Layered, Tensor]:
        """Plan; return the layer's result and the copies of phi ``[batch, size]`` that it depends on."""
        before = planner.model_steps
        values = self.phi.values.expand(len(state), -1).clone().requires_grad_()
        cost, _ = self.task.split(values)
        layered = layer(
            planner,
            self.augmented(state, values),
            None if cost is None else cost.unsqueeze(1),
            mean,
            through_dynamics=self.task.learns_model,
            **options,
        )
        if planner is not self.planner:
            self.planner.model_steps += planner.model_steps - before
        return layered, values
