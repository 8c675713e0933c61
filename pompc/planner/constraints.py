"""Keep the constraints of a model: a soft cost, or samples that break one are dropped.

A constraint is kept while its margin is at least ``tighten``. With margins ``m_hc`` of step h and constraint c, until the
end of the episode:

    margin = min over h, c of m_hc        violation = sum over h, c of relu(tighten - m_hc)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pompc.errors import UserError
from pompc.planner.config import MPPIConfig
from pompc.planner.plan import Plan
from pompc.registry import ENVIRONMENTS

Margins = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``Constrained.margins`` of a model."""


class Scored(NamedTuple):
    """Rolled out action sequences.

    Attributes:
        states: trajectories ``[batch, candidate, sample, horizon + 1, state]``; ``None`` if they were not kept.
        costs: ``[batch, candidate, sample]``; infinite for a dropped sample.
        weighed: costs to make weights of ``[batch, candidate, sample]``: the same, or an order if all samples break a
            constraint.
        margin: least margin over steps and constraints ``[batch, candidate, sample]``; ``None`` if it was not asked for.
        violation: sum of violations ``[batch, candidate, sample]``; ``None`` likewise.
    """

    states: Tensor | None
    costs: Tensor
    weighed: Tensor
    margin: Tensor | None = None
    violation: Tensor | None = None


def without_margins(asked: str) -> UserError:
    """Make the error for a model without margins; ``asked`` is the option that needs them."""
    owners = ", ".join(name for name, entry in ENVIRONMENTS.builtin.items() if entry.explicit_model)
    return UserError(
        f"{asked} needs the margins of constraints, which the planner's model does not have: take an environment whose "
        f"explicit model has them ({owners}), off policy with algo.model=known"
    )


def measure(margins_of: Margins, tighten: float, now: Tensor, actions: Tensor, then: Tensor) -> tuple[Tensor, Tensor]:
    """Measure every step.

    Args:
        margins_of: the model's margins.
        tighten: margin at which a violation begins.
        now: states ``[..., state]``.
        actions: ``[..., action]``.
        then: next states ``[..., state]``.

    Returns:
        The least margin over the constraints, and the sum of the violations: both ``[...]``.

    Raises:
        UserError: the model returned no constraint, or another shape than ``[..., constraint]``.
    """
    margins = margins_of(now, actions, then)
    if margins.shape[:-1] != now.shape[:-1] or margins.shape[-1] == 0:
        lead = ", ".join(map(str, now.shape[:-1]))
        raise UserError(f"margins returned the shape {list(margins.shape)} where [{lead}, constraint] is needed")
    return margins.amin(-1), (tighten - margins).clamp(min=0.0).sum(-1)


def until_end(terms: Tensor, terminated: Tensor | None, neutral: float) -> Tensor:
    """Replace the terms after the end of an episode; the term of the step that ends it counts.

    Args:
        terms: a term of every step ``[time, ...]``.
        terminated: whether each step ended the episode ``[time, ...]``; ``None`` means that no step ends one.
        neutral: what to replace them with.
    """
    if terminated is None:
        return terms
    over = terminated.cumsum(0)[:-1] > 0
    return torch.cat([terms[:1], terms[1:].masked_fill(over, neutral)])


class Hard:
    """Drop the samples that break a constraint; keep the executed sequence feasible if any sample is.

    Args:
        config: options of the planner.
    """

    def __init__(self, config: MPPIConfig) -> None:
        self._tighten, self._temperature = config.tighten, config.temperature

    def kept(self, scored: Scored) -> Tensor:
        """Tell which sequences keep all constraints, at a finite cost: bool ``[batch, candidate, sample]``."""
        assert scored.margin is not None
        return (scored.margin >= self._tighten) & scored.costs.isfinite()

    def drop(self, scored: Scored) -> Scored:
        """Make the cost of samples that break a constraint infinite, if the candidate has one that keeps all.

        A candidate without one keeps its costs. Its weights come from an order instead: the least violation first, of
        equals the least cost. A place in it counts as much as a temperature of cost, so that neither units nor scale of the
        margins matter.
        """
        assert scored.violation is not None
        kept = self.kept(scored)
        feasible = kept.any(-1, keepdim=True)
        costs = scored.costs.masked_fill(feasible & ~kept, torch.inf)
        by_cost = costs.argsort(-1)
        order = by_cost.gather(-1, scored.violation.gather(-1, by_cost).sort(dim=-1, stable=True).indices)
        places = torch.empty_like(order).scatter_(
            -1, order, torch.arange(order.shape[-1], device=order.device).expand_as(order)
        )
        ranked = (places * self._temperature).masked_fill(costs.isinf(), torch.inf)
        return scored._replace(costs=costs, weighed=torch.where(feasible, costs, ranked))

    def selected(self, drawn: Tensor, plan: Plan) -> Tensor:
        """Replace a drawn first action ``[batch, candidate, action]`` by the plan's, if all samples break a constraint."""
        assert plan.margin is not None
        feasible = (plan.margin >= self._tighten) & plan.costs.isfinite()
        return torch.where(feasible.any(-1, keepdim=True), drawn, plan.mean[..., 0, :])

    def executable(self, mean: Tensor, alone: Scored, actions: Tensor, scored: Scored) -> Tensor:
        """Replace a mean that breaks a constraint by the best sample: averages of feasible samples need not be feasible.

        A candidate without a feasible sample takes the best feasible one of its environment's other candidates, if there
        is one: what keeps the constraints does not depend on the cost parameters.

        Args:
            mean: ``[batch, candidate, horizon, action]``.
            alone: its rollout, as the only sample.
            actions: samples ``[batch, candidate, sample, horizon, action]``.
            scored: their rollouts, from :meth:`drop`.

        Returns:
            ``[batch, candidate, horizon, action]``.
        """
        kept = self.kept(scored)
        batch, candidates, samples = kept.shape
        first = samples * torch.arange(candidates, device=kept.device)  # the candidates' samples one after the other
        own = scored.weighed.argmin(-1) + first
        feasible = scored.costs.masked_fill(~kept, torch.inf).flatten(1)
        borrowed = feasible.argmin(-1, keepdim=True).expand_as(own)
        lacking = ~kept.any(-1) & kept.flatten(1).any(-1, keepdim=True)
        best = actions.flatten(1, 2)[
            torch.arange(batch, device=kept.device)[:, None], torch.where(lacking, borrowed, own)
        ]
        return torch.where(self.kept(alone).unsqueeze(-1), mean, best)
