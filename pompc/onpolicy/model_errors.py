"""Online estimates of the model errors that the bound on values needs, from executed transitions.

The planner's models are deterministic, which settles what can be estimated. The Wasserstein distance between a point and
a distribution is the mean distance of the distribution to the point, so the mean residual is an estimate of ``alpha_W``
that needs no assumption. The total variation between a point and a distribution without atoms is always 1. That of a model
whose noise is the environment's can be estimated if the noise has a known form; here it is Gaussian.
"""

from __future__ import annotations

import math

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.models.protocols import Model
from pompc.onpolicy.bounds import shifted_total_variation

ROUNDING = 1e-5
"""Standard deviations and means below this share of an observation's size are rounding: neither noise nor error."""


@torch.no_grad()
def model_errors(data: TensorDictBase, model: Model) -> dict[str, float]:
    """Measure one-step errors of the model on executed transitions ``[...]``.

    Returns:
        ``model_error``, the mean absolute error of the next observation over its entries, and ``reward_error``, that of
        the reward, which is ``alpha_r``. Each is a mean over transitions; their maxima are ``model_error_max`` and
        ``reward_error_max``. ``alpha_w`` is the mean Euclidean distance of the next observation to the model's, and
        ``alpha_p`` the :func:`total_variation` of the residuals.
    """
    next_state, reward, _ = model.transition(model.encode(data["observation"]), data["action"])
    residual = data["next", "observation"] - model.inputs(next_state)
    errors = {
        "model_error": residual.abs().mean(-1),
        "reward_error": (reward - data["next", "reward"].squeeze(-1)).abs(),
    }
    largest = {f"{name}_max": error.max().item() for name, error in errors.items()}
    alphas = {
        "alpha_w": torch.linalg.vector_norm(residual, dim=-1).mean().item(),
        "alpha_p": total_variation(residual.flatten(0, -2), data["observation"].square().mean().sqrt().item()),
    }
    return {**{name: error.mean().item() for name, error in errors.items()}, **largest, **alphas}


def total_variation(residual: Tensor, size: float = 1.0) -> float:
    """Estimate ``alpha_P`` of a model that has the environment's noise and misses its mean by a constant.

    The noise is taken to be Gaussian and the same everywhere, with the covariance of the residuals. An error that changes
    from state to state counts as noise, so that the estimate is too low then.

    Args:
        residual: observed minus predicted next observations ``[sample, entry]``; non-finite ones do not count.
        size: root mean square of the observations: :data:`ROUNDING` is relative to it.

    Returns:
        In [0, 1]; 1 if the mean residual is not zero where there is no noise, nan with fewer than two residuals.
    """
    known = residual[residual.isfinite().all(-1)].double()
    if len(known) < 2:
        return math.nan
    variance, axes = torch.linalg.eigh(known.T.cov().reshape(known.shape[1], -1))
    mean, deviation = (known.mean(0) @ axes).abs(), variance.clamp_min(0.0).sqrt()
    noisy, rounding = deviation > ROUNDING * size, ROUNDING * size
    if bool((mean[~noisy] > rounding).any()):
        return 1.0
    return shifted_total_variation((mean[noisy] / deviation[noisy]).norm().item())
