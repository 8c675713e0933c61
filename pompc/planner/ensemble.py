"""Plans through an ensemble of dynamics: every sample is rolled out by each member, and its returns become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from pompc.models.protocols import Cost, Dynamics, TerminalValue
from pompc.planner.charge import Charge
from pompc.planner.constraints import Scored
from pompc.planner.depths import make_scorer
from pompc.planner.inputs import Inputs, Probe
from pompc.planner.mppi import MPPI
from pompc.planner.risk import require_sample
from pompc.planner.scoring import Scorer


class Member(Dynamics, Cost, Protocol):
    """One member of an ensemble: dynamics, and the cost along them."""


Join = Callable[[Tensor], Tensor]
"""Makes one return of those through the members: ``[member, ...]`` -> ``[...]``."""


class EnsembleScorer(Scorer):
    """Score by every member, and join the returns: minus the costs.

    A member rolls a sample out from the first state to the horizon; its own terminations end its costs.

    Args:
        arguments: those of :class:`Scorer`, with the dynamics that stand for the whole ensemble.
        members: a scorer for each member.
        join: makes one return of theirs.
        options: those of :class:`Scorer`.
    """

    def __init__(self, *arguments: Any, members: Sequence[Scorer], join: Join, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._members, self._join = members, join

    def __call__(
        self,
        given: Inputs,
        actions: Tensor,
        terminal_value: TerminalValue | None,
        probe: Probe | None,
        margins: bool = False,
        states: bool = True,
    ) -> Scored:
        """See :meth:`Scorer.__call__`.

        Returns:
            States of the first member, the joined costs, the least margin of the members and their mean violation. A sample
            that one member drops is dropped.

        Raises:
            UserError: as of :meth:`Scorer.__call__`.
            NonFiniteError: as of :meth:`Scorer.__call__`, or a member drops every sample.
        """
        found = [
            member(given, actions, terminal_value, probe, margins, states and index == 0)
            for index, member in enumerate(self._members)
        ]
        costs = torch.stack([scored.costs for scored in found])
        joined = torch.where(costs.isinf().any(0), torch.inf, -self._join(-costs))
        if self.config.drop_nonfinite:
            require_sample(joined, "every sample has a member of the ensemble that fails")
        least = [scored.margin for scored in found if scored.margin is not None]
        broken = [scored.violation for scored in found if scored.violation is not None]
        return Scored(
            states=found[0].states,
            costs=joined,
            weighed=joined,
            margin=torch.stack(least).amin(0) if least else None,
            violation=torch.stack(broken).mean(0) if broken else None,
        )


class EnsembleMPPI(MPPI):
    """MPPI over :class:`EnsembleScorer`.

    Args:
        arguments: those of :class:`MPPI`, with the dynamics that stand for the whole ensemble.
        members: dynamics and cost of every member.
        join: makes one return of those through the members.
        options: those of :class:`MPPI`.
    """

    def __init__(self, *arguments: Any, members: Sequence[Member], join: Join, **options: Any) -> None:
        super().__init__(*arguments, **options)
        whole = (self.config, self.dynamics, self.scorer.cost, self.device, self.dtype)
        scorers = [make_scorer(self.config, member, member, self.device, self.dtype) for member in members]
        scorer = EnsembleScorer(*whole, members=scorers, join=join)
        self.charge = Charge(self.config, scorer, members=len(members))
