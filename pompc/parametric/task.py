"""A task's model and cost as functions of phi, in the form that a planner takes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pompc.models.protocols import Constrained, Judge, TaskModel
from pompc.parametric.blocks import Block, Convex, Correction, Weights


class Phi(nn.Module):
    """The learned vector: all blocks one after the other, and an offset of the values.

    Args:
        blocks: in their order.

    Attributes:
        values: ``[size]``.
        offset: added to every value: the bias of the soft value, which is a constant at a converged plan.
    """

    values: Tensor
    offset: Tensor
    initial: Tensor

    def __init__(self, blocks: tuple[Block, ...]) -> None:
        super().__init__()
        self.blocks = blocks
        self.register_buffer("values", torch.cat([block.initial() for block in blocks]))
        self.register_buffer("offset", torch.zeros((), device=self.values.device))
        self.register_buffer("initial", self.values.clone(), persistent=False)

    @property
    def distance(self) -> Tensor:
        """Distance from the start, a scalar."""
        return (self.values - self.initial).norm()

    @torch.no_grad()
    def move(self, direction: Tensor, rate: float, max_change: float) -> Tensor:
        """Add ``rate * direction [size]``, no entry by more than ``max_change``, and project; return the largest change."""
        step = rate * direction
        step = step * (max_change / step.abs().max().clamp_min(max_change))
        before = self.values.clone()
        moved = (self.values + step).split([block.size for block in self.blocks])
        self.values.copy_(torch.cat([block.project(part) for block, part in zip(self.blocks, moved, strict=True)]))
        return (self.values - before).abs().max()


class ParametricTask:
    """A task whose cost and model depend on phi.

    The entries of phi that the cost depends on are the planner's cost parameters. Those of the model travel in the
    planner's state, where no step changes them: so they too may differ per environment, and have a gradient per
    environment.

    Args:
        task: an explicit model.
        blocks: of phi.

    Attributes:
        learns_model: whether the model depends on phi.
        margins: the task's, if it is :class:`~pompc.models.protocols.Constrained`; then this model is. Otherwise None.
    """

    def __init__(self, task: TaskModel, blocks: tuple[Block, ...]) -> None:
        self.task, self.blocks = task, blocks
        self.nominal = task.parameters(task.nominal)
        self.learns_model = any(block.in_model for block in blocks)
        self.margins = self._margins if isinstance(task, Constrained) else None

    def split(self, values: Tensor) -> tuple[Tensor | None, Tensor]:
        """Split phi ``[..., size]`` into the entries of the cost, ``None`` without any, and those of the model."""
        parts = values.split([block.size for block in self.blocks], -1)
        of = {False: [values[..., :0]], True: [values[..., :0]]}
        for block, part in zip(self.blocks, parts, strict=True):
            of[block.in_model].append(part)
        cost, model = (torch.cat(of[in_model], -1) for in_model in (False, True))
        return cost if cost.shape[-1] else None, model

    def _cut(self, state: Tensor) -> Tensor:
        """Return the state of the task within the planner's state."""
        return state[..., : self.task.state_dim]

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """Take a corrected step: ``[..., state + model]``, ``[..., action]`` -> ``[..., state + model]``."""
        now, values = self._cut(state), state[..., self.task.state_dim :]
        after = self.task.step(now, action)
        for block in self.blocks:
            if isinstance(block, Correction):
                after = after + block.correct(now, action, values)
        return torch.cat([after, values], -1)

    def judge(
        self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Charge a step and tell whether it ended the episode; see :class:`~pompc.models.protocols.Judge`."""
        now, then = self._cut(state), self._cut(next_state)
        weights, convex = self._cost_parts(parameters)
        if isinstance(self.task, Judge):
            cost, ended = self.task.judge(now, action, then, weights)
        else:
            cost, ended = self.task.running(now, action, then, weights), self.task.terminated(now, action, then)
        for block, values in convex:
            cost = cost + block.running(now, action, values)
        return cost, ended

    def running(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None) -> Tensor:
        """Charge a step; see :class:`~pompc.models.protocols.Cost`."""
        return self.judge(state, action, next_state, parameters)[0]

    def terminal(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        """Charge the last state; see :class:`~pompc.models.protocols.Cost`."""
        weights, convex = self._cost_parts(parameters)
        cost = self.task.terminal(self._cut(state), weights)
        for block, values in convex:
            cost = cost + block.terminal(self._cut(state), values)
        return cost

    def _margins(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        assert isinstance(self.task, Constrained)
        return self.task.margins(self._cut(state), action, self._cut(next_state))

    def _cost_parts(self, parameters: Tensor | None) -> tuple[Tensor, list[tuple[Convex, Tensor]]]:
        """Find the task's cost parameters in those of the planner, and the convex networks with their weights."""
        weights, convex = self.nominal, []
        if parameters is None:
            return weights, convex
        charged = [block for block in self.blocks if not block.in_model]
        for block, part in zip(charged, parameters.split([block.size for block in charged], -1), strict=True):
            if isinstance(block, Weights):
                weights = self.task.parameters(part)
            elif isinstance(block, Convex):
                convex.append((block, part))
        return weights, convex
