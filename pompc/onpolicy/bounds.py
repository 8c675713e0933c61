"""A bound on the error of values learned from virtual data: the reason for a decaying virtual-data ratio.

It is derived in this project from the assumptions that arXiv 2512.17091 states; it is not the paper's theorem.
"""

from __future__ import annotations

import math


def value_error_bound(
    *, ratio: float, discount: float, horizon: int, dynamics_error: float, reward_error: float, value_span: float
) -> float:
    """Bound ``||V_rho - V_pi||_inf`` of values learned with a share ``ratio`` of model rollouts.

    Let the mixed operator be ``T_rho = (1 - rho) T + rho T_model^H``: one-step backups on real data, ``H``-step backups on
    the model. With ``TV(P_model, P) <= alpha_P`` (half the L1 distance) and ``|r_model - r| <= alpha_r`` it contracts by
    ``g = (1 - rho) gamma + rho gamma^H`` and its fixed point obeys::

        ||V_rho - V_pi|| <= rho / (1 - g) * (1 - gamma^H) / (1 - gamma) * (alpha_r + gamma * alpha_P * span(V_pi))

    As ``rho -> 0`` the bound vanishes: learning is asymptotically unbiased.

    Total variation says nothing of deterministic dynamics, where any error makes it 1. By the duality of Kantorovich and
    Rubinstein, ``|E_model V_pi - E V_pi|`` is also at most the Wasserstein distance ``W_1(P_model, P)`` times the Lipschitz
    constant of ``V_pi``, so the bound holds with these two in the places of ``alpha_P`` and of the span.

    Args:
        ratio: virtual-data ratio rho in [0, 1].
        discount: gamma in [0, 1).
        horizon: model steps ``H`` of a virtual backup, at least 1.
        dynamics_error: ``alpha_P``, total variation in [0, 1]; or the Wasserstein distance ``alpha_W``, in units of states.
        reward_error: ``alpha_r``, in units of reward.
        value_span: ``max V_pi - min V_pi``, at most ``reward range / (1 - gamma)``; or the Lipschitz constant of ``V_pi``.
    """
    contraction = (1 - ratio) * discount + ratio * discount**horizon
    steps = (1 - discount**horizon) / (1 - discount)
    return ratio / (1 - contraction) * steps * (reward_error + discount * dynamics_error * value_span)


def shifted_total_variation(shift: float) -> float:
    """Compute the total variation between two Gaussians of one covariance, ``2 Phi(shift / 2) - 1``.

    Args:
        shift: the distance of their means in standard deviations (the Mahalanobis distance), at least 0.
    """
    return math.erf(shift / math.sqrt(8.0))
