"""From costs to weights: the exponential transform of MPPI and what is read off it."""

from __future__ import annotations

import torch
from torch import Tensor


def mppi_weights(cost: Tensor, temperature: float, num_elites: int = 0) -> Tensor:
    """Self-normalised weights ``exp(-(cost - min cost) / temperature)`` over the last dimension.

    The shift by the minimum keeps every exponent at or below zero, so no cost is too large.
    Infinite costs get weight 0.

    Args:
        cost: total costs ``[..., sample]``; at least one per row is finite.
        temperature: in units of cost; small is greedy.
        num_elites: only this many best samples get weight; 0 takes all.

    Returns:
        Weights ``[..., sample]`` that sum to one.
    """
    if 0 < num_elites < cost.shape[-1]:
        worst = torch.full_like(cost, torch.inf)
        best, index = cost.topk(num_elites, dim=-1, largest=False)
        cost = worst.scatter(-1, index, best)
    return torch.softmax((cost.amin(-1, keepdim=True) - cost) / temperature, dim=-1)


def until_termination(terms: Tensor, terminated: Tensor | None) -> Tensor:
    """Drop what comes after the end of an episode.

    Args:
        terms: of every step and of the last state ``[..., horizon + 1]``.
        terminated: whether each step ended the episode ``[..., horizon]``; none where nothing ever does.

    Returns:
        ``terms`` with zeros behind the first terminating step, whose own term counts.
    """
    if terminated is None:
        return terms
    over = terminated.cumsum(-1) > 0
    return torch.cat([terms[..., :1], terms[..., 1:].masked_fill(over, 0.0)], dim=-1)


def soft_value(cost: Tensor, temperature: float) -> Tensor:
    """Free energy ``-temperature * log mean exp(-cost / temperature)`` of the samples: ``[..., sample]`` -> ``[...]``.

    Between the least and the mean cost; infinite costs count as samples of probability zero weight.
    """
    count = torch.isfinite(cost).sum(-1)
    return -temperature * (torch.logsumexp(-cost / temperature, dim=-1) - count.log())


def effective_sample_size(weights: Tensor) -> Tensor:
    """``1 / sum w^2``: between 1 (one sample decides) and the number of samples; ``[..., sample]`` -> ``[...]``."""
    return 1.0 / weights.square().sum(-1)


def systematic_resample(weights: Tensor, count: int) -> Tensor:
    """Low-variance draw of ``count`` indices in proportion to the weights (Kitagawa 1996).

    Args:
        weights: ``[..., sample]``, rows sum to one.
        count: draws per row.

    Returns:
        Indices ``[..., count]``; sample ``i`` appears ``floor`` or ``ceil`` of ``count * w_i`` times.
    """
    offset = torch.rand((*weights.shape[:-1], 1), device=weights.device)
    points = (torch.arange(count, device=weights.device) + offset) / count
    cumulative = weights.cumsum(-1).contiguous()
    return torch.searchsorted(cumulative, points).clamp_max(weights.shape[-1] - 1)
