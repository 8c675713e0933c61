"""A cost of changing the action: the smoothness term of SMPPI (Kim et al. 2022, as pytorch_mppi 0.9.1 has it)."""

from __future__ import annotations

import torch
from torch import Tensor

from pompc.planner.config import MPPIConfig
from pompc.planner.constraints import Scored
from pompc.planner.inputs import Inputs


class ChangeCost:
    """Charge ``change_cost`` times the squared change of the action, summed over entries, discounted like every cost.

    The first change is that from the action applied last, if the plan was told it. Steps after the end of an episode are
    charged as well.

    Args:
        config: options of the planner.
    """

    def __init__(self, config: MPPIConfig) -> None:
        self._weight, self._discount = config.change_cost, config.discount

    def __call__(self, scored: Scored, actions: Tensor, given: Inputs) -> Scored:
        """Add the cost to that of the task.

        Args:
            scored: rolled out sequences.
            actions: ``[batch, candidate, sample, horizon, action]``.
            given: inputs of the plan.
        """
        first = actions[..., :1, :]
        if given.previous is not None:
            first = given.previous[:, None, None, -1:].expand_as(first)
        changes = torch.diff(actions, dim=-2, prepend=first).square().sum(-1)
        steps = torch.arange(changes.shape[-1], device=changes.device, dtype=changes.dtype)
        factors = self._discount**steps if given.discount is None else given.discount.view(-1, 1, 1, 1) ** steps
        costs = scored.costs + self._weight * (changes * factors).sum(-1)
        return scored._replace(costs=costs, weighed=costs)
