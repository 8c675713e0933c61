"""Weigh samples by their costs: the exponential transform of MPPI and its statistics."""

from __future__ import annotations

import torch
from torch import Tensor


def mppi_weights(
    cost: Tensor, temperature: float | Tensor, num_elites: int = 0, log_ratio: Tensor | None = None
) -> Tensor:
    """Weight samples by ``ratio * exp(-(cost - min cost) / temperature)``, normalised over the last dimension.

    The shift by the minimum keeps every exponent at or below zero, so no cost is too large. A sample of infinite cost
    gets weight 0.

    Args:
        cost: total costs ``[..., sample]``, at least one of them finite.
        temperature: in units of cost, a number or ``[..., 1]``; small is greedy.
        num_elites: number of samples of least cost that get weight; 0 takes all. The cost alone chooses them, because the
            ratio would choose samples opposite to the mean, and the plan would jump to the other side.
        log_ratio: logarithm of every sample's importance ratio ``[..., sample]``; ``None`` means that all ratios are one.

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
    """Set terms after the end of an episode to zero.

    Args:
        terms: a term of every step and of the last state ``[..., horizon + 1]``.
        terminated: whether each step ended the episode ``[..., horizon]``; ``None`` means that no step ends one.

    Returns:
        ``terms`` with zeros after the first terminating step, whose own term counts.
    """
    if terminated is None:
        return terms
    over = terminated.cumsum(-1) > 0
    return torch.cat([terms[..., :1], terms[..., 1:].masked_fill(over, 0.0)], dim=-1)


def soft_value(cost: Tensor, temperature: float | Tensor, log_ratio: Tensor | None = None) -> Tensor:
    """Compute the free energy ``-temperature * log mean(ratio * exp(-cost / temperature))``.

    Without ratios it lies between the least and the mean cost. Samples of infinite cost are left out of the mean.

    Args:
        cost: total costs ``[..., sample]``.
        temperature: in units of cost, a number or ``[..., 1]``.
        log_ratio: logarithm of every sample's importance ratio ``[..., sample]``; ``None`` means that all ratios are one.

    Returns:
        ``[...]``, in units of cost.
    """
    count = (cost.abs() < torch.inf).sum(-1).to(cost.dtype)
    exponent = -cost / temperature
    exponent = exponent if log_ratio is None else exponent + log_ratio
    temperature = temperature.squeeze(-1) if isinstance(temperature, Tensor) else temperature
    return -temperature * (torch.logsumexp(exponent, dim=-1) - count.log())


def effective_sample_size(weights: Tensor) -> Tensor:
    """Compute ``1 / sum w^2`` of ``weights [..., sample]``: from 1, if one sample decides, to their number ``[...]``."""
    return 1.0 / weights.square().sum(-1)


def systematic_resample(weights: Tensor, count: int) -> Tensor:
    """Draw ``count`` indices in proportion to the weights, with low variance (Kitagawa 1996).

    Args:
        weights: weights ``[..., sample]`` that sum to one.
        count: number of draws.

    Returns:
        Indices ``[..., count]``; sample ``i`` appears ``floor`` or ``ceil`` of ``count * w_i`` times.
    """
    offset = torch.rand((*weights.shape[:-1], 1), device=weights.device, dtype=weights.dtype)
    points = (torch.arange(count, device=weights.device) + offset) / count
    cumulative = weights.cumsum(-1).contiguous()
    return torch.searchsorted(cumulative, points).clamp_max(weights.shape[-1] - 1)
