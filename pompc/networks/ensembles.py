"""Losses of a value ensemble, and its value: cautious, mean or optimistic."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def bootstrap_mask(samples: int, members: int, probability: float, device: torch.device) -> Tensor:
    """Draw the samples each member learns from: Bernoulli draws ``[member, sample]`` as floats (Osband et al. 2016)."""
    if probability >= 1:
        return torch.ones(members, samples, device=device)
    return torch.bernoulli(torch.full((members, samples), probability, device=device))


def masked_huber(values: Tensor, target: Tensor, mask: Tensor, weight: Tensor | None = None) -> Tensor:
    """Average the Huber loss over the samples that a member may see, then over members.

    Args:
        values: predictions ``[member, sample]``.
        target: value targets ``[sample]``.
        mask: 1 for the samples a member may see ``[member, sample]``.
        weight: factor of a sample's loss ``[sample]``; the average is not divided by it. ``None`` means 1.

    Returns:
        A scalar.
    """
    loss = functional.huber_loss(values, target.expand_as(values), reduction="none")
    shown = mask if weight is None else mask * weight
    return ((loss * shown).sum(-1) / mask.sum(-1).clamp_min(1.0)).mean()


def fit_metrics(values: Tensor, target: Tensor) -> dict[str, float]:
    """Measure how well an ensemble fits its targets.

    Args:
        values: ``[member, sample]``.
        target: value targets ``[sample]``.

    Returns:
        ``explained_variance`` of the targets by the mean value, at most 1, and ``value``, the mean of all values.
    """
    residual = target - values.mean(0)
    return {
        "explained_variance": (1 - residual.var() / (target.var() + 1e-8)).item(),
        "value": values.mean().item(),
    }


def log_mean_exp(values: Tensor, kappa: float) -> Tensor:
    """Average over members, with more weight for the large values or for the small ones.

    ``log(mean(exp(kappa v))) / kappa`` is the value of a state in POLO (Lowrey et al. 2019). It rises with kappa, from the
    least value through the mean to the largest; near 0 it is the mean plus ``kappa / 2`` variances. No kappa overflows.

    Args:
        values: ``[member, ...]``.
        kappa: optimism, in units of one over the values: 0 is the mean, ``inf`` the largest value, ``-inf`` the least. A
            negative one is caution.

    Returns:
        ``[...]``.
    """
    if kappa == 0:
        return values.mean(0)
    best = values.amax(0) if kappa > 0 else values.amin(0)
    if math.isinf(kappa):
        return best
    return best + torch.log1p(torch.expm1(kappa * (values - best)).mean(0)) / kappa
