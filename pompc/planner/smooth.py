"""The warm start of SMPPI (Kim et al. 2022), as the code of pytorch_mppi 0.9.1 has it: a plan moves on as it moved last."""

from __future__ import annotations

import torch
from torch import Tensor

from pompc.planner.mppi import MPPI


def with_momentum(planner: MPPI, mean: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Make the warm start of a planner that draws the change of its plans.

    SMPPI holds an action sequence ``A`` and its change per plan ``U``, samples ``A + U + noise``, and keeps what the
    weights make of it. So it is MPPI with a ``change_cost`` and a small standard deviation, and ``A + U`` as warm start.

    Args:
        planner: shifts the sequences.
        mean: the plan ``[..., horizon, action]``.
        before: ``A`` before that plan, same shape.

    Returns:
        The warm start of the next plan, and ``A`` before it.
    """
    change = mean - before
    following = planner.shift(mean)
    moved = torch.cat([change[..., 1:, :], torch.zeros_like(change[..., :1, :])], dim=-2)
    return following + moved, following
