"""Losses and disagreement of a value ensemble."""

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


def relative_variance(values: Tensor, reward: Tensor) -> float:
    """Scale-free disagreement: mean member variance over the variance of the mean value and of the reward.

    Dividing by the current spread of the values, not by a running maximum, keeps the measure from falling quadratically
    while the ensemble is still wrong.

    Args:
        values: ``[members, rows]``.
        reward: rewards in the units of the values.
    """
    if values.shape[0] == 1:
        return 0.0
    spread = values.var(0).mean()
    return (spread / (values.mean(0).var() + reward.var() + 1e-8)).item()


def disagreement(values: Tensor, reward: Tensor) -> float:
    """Share of the disagreement in all variance, ``u / (1 + u)`` with u the :func:`relative_variance`: in [0, 1).

    Zero where all members agree; near one where they have nothing in common yet, however small all values are, so that no
    spike of the first updates outweighs what comes after. Arguments as there.
    """
    relative = relative_variance(values, reward)
    return relative / (1 + relative)
