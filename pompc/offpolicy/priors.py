"""What a policy is held to: the stored plans, or a prior that learns to follow them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from pompc.networks.policies import LatentPolicy


def forward_kl(prior: LatentPolicy, state: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """``KL(plan || prior)``, so that the prior covers all that the plans did.

    Args:
        prior: the learned prior.
        state: where ``[..., state]``.
        mean: of the plans' Gaussians ``[..., action]``.
        std: their spread ``[..., action]``.

    Returns:
        The divergence averaged over the action ``[...]``, up to a constant.
    """
    return prior.imitation(state, mean, std)


def reverse_kl(prior: LatentPolicy, state: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """``KL(prior || plan)``, so that the prior settles on one of the things the plans did; as :func:`forward_kl`."""
    return prior.divergence(prior.sample(state), mean, std)


PRIORS: dict[str, Callable[[LatentPolicy, Tensor, Tensor, Tensor], Tensor] | None] = {
    "plan": None,
    "forward": forward_kl,
    "reverse": reverse_kl,
}
"""How a learned prior follows the plans, by the name that ``algo.prior`` takes; none where the plan itself is the prior."""
