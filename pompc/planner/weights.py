"""From costs to weights: the exponential transform of MPPI and what is read off it."""

from __future__ import annotations

import torch
from torch import Tensor


def mppi_weights(cost: Tensor, temperature: float, num_elites: int = 0, log_ratio: Tensor | None = None) -> Tensor:
    """Self-normalised weights ``ratio * exp(-(cost - min cost) / temperature)`` over the last dimension.

    The shift by the minimum keeps every exponent at or below zero, so no cost is too large.
    Infinite costs get weight 0.

    Args:
        cost: total costs ``[..., sample]``; at least one per row is finite.
        temperature: in units of cost; small is greedy.
        num_elites: only this many samples of least cost get weight; 0 takes all. What is best is a matter of the cost: by
            the ratio, those against the mean would be chosen and the plan would jump to its other side.
        log_ratio: logarithm of every sample's importance ratio ``[..., sample]``; none means that all are one.

    Returns:
        Weights ``[..., sample]`` that sum to one.
    """
    if 0 < num_elites < cost.shape[-1]:
        worst = torch.full_like(cost, torch.inf)
        best, index = cost.topk(num_elites, dim=-1, largest=False)
        cost = worst.scatter(-1, index, best)
    exponent = (cost.amin(-1, keepdim=True) - cost) / temperature
    return torch.softmax(exponent if log_ratio is None else exponent + log_ratio, dim=-1)


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


def soft_value(cost: Tensor, temperature: float, log_ratio: Tensor | None = None) -> Tensor:
    """Free energy ``-temperature * log mean(ratio * exp(-cost / temperature))``: ``[..., sample]`` -> ``[...]``.

    Between the least and the mean cost where all ratios are one (``log_ratio`` is none); infinite costs count as samples
    of probability zero weight.
    """
    count = (cost.abs() < torch.inf).sum(-1)
    exponent = -cost / temperature
    exponent = exponent if log_ratio is None else exponent + log_ratio
    return -temperature * (torch.logsumexp(exponent, dim=-1) - count.log())


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
