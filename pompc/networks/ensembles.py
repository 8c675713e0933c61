"""Losses of a value ensemble."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def bootstrap_mask(rows: int, members: int, probability: float, device: torch.device) -> Tensor:
    """Which rows each member learns from: Bernoulli draws ``[members, rows]`` as floats (Osband et al. 2016)."""
    if probability >= 1:
        return torch.ones(members, rows, device=device)
    return torch.bernoulli(torch.full((members, rows), probability, device=device))


def masked_huber(values: Tensor, target: Tensor, mask: Tensor, weight: Tensor | None = None) -> Tensor:
    """Huber loss averaged over the rows each member may see, then over members.

    Args:
        values: predictions ``[members, rows]``.
        target: value targets ``[rows]``.
        mask: ``[members, rows]``.
        weight: of the rows ``[rows]``, which the average is not divided by; none: 1.

    Returns:
        A scalar.
    """
    loss = functional.huber_loss(values, target.expand_as(values), reduction="none")
    shown = mask if weight is None else mask * weight
    return ((loss * shown).sum(-1) / mask.sum(-1).clamp_min(1.0)).mean()
