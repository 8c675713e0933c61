"""Small quadratic programs with bounds, batched: the control-limited step of iLQR (Tassa et al. 2014)."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 8
ROUNDING = 1e-6
"""Distance within which a control of order 1 is at its bound."""
STEPS = (1.0, 0.5, 0.25, 0.1, 0.0)  # the last keeps the point


def box_qp(matrix: Tensor, slope: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Minimise ``x' H x / 2 + g' x`` within bounds by projected Newton steps, each the best of a few lengths.

    Args:
        matrix: H, positive definite ``[..., n, n]``.
        slope: g ``[..., n]``.
        low: lower bounds ``[..., n]``, at most ``high``.
        high: upper bounds ``[..., n]``.

    Returns:
        The minimum ``[..., n]``, and which entries are free of a bound there, bool ``[..., n]``.
    """
    steps = torch.tensor(STEPS, device=slope.device)
    x = torch.zeros_like(slope).clamp(low, high)
    for _ in range(ROUNDS):
        gradient = slope + (matrix @ x.unsqueeze(-1)).squeeze(-1)
        step = -solve_free(matrix, gradient.unsqueeze(-1), is_free(x, gradient, low, high)).squeeze(-1)
        tried = (x.unsqueeze(-2) + steps[:, None] * step.unsqueeze(-2)).clamp(low.unsqueeze(-2), high.unsqueeze(-2))
        cost = (0.5 * (tried @ matrix) * tried + slope.unsqueeze(-2) * tried).sum(-1)
        best = cost.argmin(-1)[..., None, None].expand(*slope.shape[:-1], 1, slope.shape[-1])
        before, x = x, tried.gather(-2, best).squeeze(-2)
        if torch.equal(x, before):
            break
    gradient = slope + (matrix @ x.unsqueeze(-1)).squeeze(-1)
    return x, is_free(x, gradient, low, high)


def is_free(x: Tensor, gradient: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Find the entries that no bound holds: bool ``[..., n]``; descent would leave a bound that holds one."""
    held = ((x <= low + ROUNDING) & (gradient > 0)) | ((x >= high - ROUNDING) & (gradient < 0)) | (low >= high)
    return ~held


def solve_free(matrix: Tensor, right: Tensor, free: Tensor) -> Tensor:
    """Solve ``H x = r`` for the free entries; the others are 0.

    Args:
        matrix: H ``[..., n, n]``.
        right: r ``[..., n, column]``.
        free: bool ``[..., n]``.

    Returns:
        ``[..., n, column]``.
    """
    kept = free.to(matrix.dtype)
    reduced = matrix * kept.unsqueeze(-1) * kept.unsqueeze(-2) + torch.diag_embed(1 - kept)
    return torch.linalg.solve(reduced, right * kept.unsqueeze(-1))
