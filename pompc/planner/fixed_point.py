"""The sensitivity of a plan that no longer moves: a fixed point of the planner's iteration."""

from __future__ import annotations

import torch
from torch import Tensor

from pompc.errors import UserError
from pompc.planner.limits import RateLimits
from pompc.planner.mppi import MPPI

RIDGE = 0.05
"""Default of the ridge: the fixed point multiplies no direction of the gradient by more than 20."""
RANGE = 1e-7
"""Share of the noise's largest variance below which a direction counts as one that the noise cannot reach."""


class FixedPoint:
    """Solve ``dU* = (I - Cov_w(v) S^-1)^-1 dU`` for the gradient of a fixed point from that of one iteration.

    Samples are drawn from N(U, S), and ``Cov_w(v) S^-1`` is how far an iteration keeps what the mean was before. For a
    quadratic cost the result is the exact sensitivity of the minimum. In the coordinates in which S is the identity the
    matrix is symmetric. It is singular along directions in which the cost is flat, and sampling errors may make it
    negative, so its eigenvalues are raised to ``ridge``.

    Args:
        planner: has made the plan.
        pinned: whether the first action of every sample is given.
        ridge: least eigenvalue.

    Raises:
        UserError: an option makes the samples others than those of N(U, S) at a fixed S.
    """

    def __init__(self, planner: MPPI, *, pinned: bool, ridge: float = RIDGE) -> None:
        _require_fixed_normal(planner)
        growth = planner.noise.growth(planner.config.horizon)
        covariance = planner.noise.covariance(planner.config.horizon) * growth * growth[:, None]
        if pinned:
            covariance[0] = covariance[:, 0] = 0.0
        variance, axes = torch.linalg.eigh(covariance)
        reached = variance > RANGE * variance.max()
        root = (axes[:, reached] * variance[reached].sqrt()).to(planner.device, planner.dtype)
        inverse = (axes[:, reached] / variance[reached].sqrt()).to(planner.device, planner.dtype)
        std = planner.init_std[0].expand(planner.action_dim)
        self._root = torch.einsum("hr,a->hra", root, std)
        self._inverse = torch.einsum("hr,a->hra", inverse, torch.where(std > 0, 1 / std, 0.0))
        self._ridge = ridge

    def __call__(self, weights: Tensor, deviation: Tensor, moved: Tensor) -> Tensor:
        """Solve the equation.

        Args:
            weights: of the samples ``[batch, candidate, sample]``.
            deviation: of the samples from the plan ``[batch, candidate, sample, horizon, action]``.
            moved: the plan's change by one iteration ``[batch, candidate, horizon, action]``; its graph is kept.

        Returns:
            The change of the fixed point ``[batch, candidate, horizon, action]``.
        """
        white = torch.einsum("hra,bmkha->bmkra", self._inverse, deviation).flatten(-2)
        kept = torch.einsum("bmk,bmki,bmkj->bmij", weights, white, white)
        value, vector = torch.linalg.eigh(kept)
        further = 1 / (1 - value).clamp_min(self._ridge) - 1  # beyond what one iteration does
        whitened = torch.einsum("hra,bmha->bmra", self._inverse, moved)
        along = torch.einsum("bmij,bmi->bmj", vector, whitened.flatten(-2)) * further
        beyond = torch.einsum("bmij,bmj->bmi", vector, along).view_as(whitened)
        return moved + torch.einsum("hra,bmra->bmha", self._root, beyond)


def _require_fixed_normal(planner: MPPI) -> None:
    """Refuse samples that are not drawn around the mean at a fixed standard deviation."""
    config = planner.config
    refused = {
        "planner.adapt_std=true": config.adapt_std,
        f"planner.num_zero_mean={config.num_zero_mean}": config.num_zero_mean > 0,
        f"planner.num_elites={config.num_elites}": config.num_elites > 0,
        "planner.init_covariance": config.init_covariance is not None,
        "max_rate and max_acceleration": isinstance(planner.limits, RateLimits),
    }
    for option, used in refused.items():
        if used:
            raise UserError(
                f"the implicit gradient of a plan needs independent entries, all drawn around its mean: leave out {option}"
            )
