"""A planner that blends the model's costs with learned values along the rollout (MPQ, Bhardwaj et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from pompc.errors import UserError
from pompc.models.protocols import TerminalValue
from pompc.planner.charge import Charge
from pompc.planner.constraints import Scored
from pompc.planner.inputs import Inputs, Probe
from pompc.planner.mppi import MPPI
from pompc.planner.scoring import Scorer


class StepValue(Protocol):
    """The learned value (a return) of a state and an action on the way."""

    def __call__(self, state: Tensor, action: Tensor) -> Tensor:
        """Value ``state [..., state]`` and ``action [..., action]``: ``[...]``."""
        ...


class BlendedScorer(Scorer):
    """Charge step h with ``b^h [(1 - b) (-Q(x_h, u_h)) + b c_h]`` and the last state with ``b^H`` times its own charge.

    With the discount, the sum is the blend ``Q^b_h = (1 - b) (-Q_h) + b (c_h + discount * Q^b_{h+1})`` of the first step.
    At ``b = 1`` it is the model's cost alone, computed as by :class:`Scorer`; at 0 the value of the first action alone.

    Args:
        blend: today's b, in [0, 1].
        step_value: Q, a return in the units of the cost.
        arguments: those of :class:`Scorer`.
        options: those of :class:`Scorer`.
    """

    adds_up = False

    def __init__(self, *arguments: Any, blend: Callable[[], float], step_value: StepValue, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.blend, self.step_value = blend, step_value
        self._model_alone = True
        self._share = torch.ones_like(self.discounts[0])  # a tensor: a compiled graph serves every b below 1
        self._steps = torch.arange(self.config.horizon + 1, device=self.device)

    def __call__(
        self,
        given: Inputs,
        actions: Tensor,
        terminal_value: TerminalValue | None,
        probe: Probe | None,
        margins: bool = False,
        states: bool = True,
    ) -> Scored:
        """Score the samples of a plan with today's blend. See :meth:`Scorer.__call__`."""
        share = self.blend()
        self._model_alone = share == 1.0
        self._share.fill_(share)
        return super().__call__(given, actions, terminal_value, probe, margins, states)

    def charged(self, running: Tensor, final: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """Blend the cost of every step with the value of its action; see :meth:`Scorer.charged`."""
        if self._model_alone:
            return super().charged(running, final, state, action)
        learned = -self.step_value(state, action)
        blended = super().charged(torch.lerp(learned, running, self._share), final, state, action)
        return blended * (self._share**self._steps).view(-1, *[1] * final.dim())


class BlendedMPPI(MPPI):
    """MPPI over :class:`BlendedScorer`.

    Args:
        arguments: those of :class:`MPPI`.
        blend: today's b, in [0, 1]; asked in every plan.
        step_value: the learned value of a state and an action.
        options: those of :class:`MPPI`.

    Raises:
        UserError: as of :class:`MPPI`, or the config averages over depths.
    """

    def __init__(self, *arguments: Any, blend: Callable[[], float], step_value: StepValue, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.config.depth_decay:
            raise UserError(
                f"planner.depth_decay={self.config.depth_decay} and a blend both weigh the steps of a plan: leave "
                "planner.depth_decay out"
            )
        given = (self.config, self.dynamics, self.scorer.cost, self.device, self.dtype)
        self.charge = Charge(self.config, BlendedScorer(*given, blend=blend, step_value=step_value))
