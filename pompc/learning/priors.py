"""What a policy is held to: the stored plans, or a prior that learns to follow them."""

from __future__ import annotations

from torch import Tensor

from pompc.dynamics.policies import LatentPolicy


class StoredPlan:
    """The plan itself: nothing is learned."""

    learned = False

    def divergence(self, prior: LatentPolicy, state: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """There is no prior to train."""
        raise NotImplementedError("the stored plan is not learned")


class ForwardKL(StoredPlan):
    """A prior trained by ``KL(plan || prior)``: it covers all that the plans did."""

    learned = True

    def divergence(self, prior: LatentPolicy, state: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """``[..., state]`` and the plans' Gaussians ``[..., action]`` -> ``[...]``, averaged over the action."""
        return prior.imitation(state, mean, std)


class ReverseKL(StoredPlan):
    """A prior trained by ``KL(prior || plan)``: it settles on one of the things the plans did."""

    learned = True

    def divergence(self, prior: LatentPolicy, state: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """``[..., state]`` and the plans' Gaussians ``[..., action]`` -> ``[...]``, averaged over the action."""
        return prior.divergence(prior.sample(state), mean, std)


PRIORS: dict[str, StoredPlan] = {"plan": StoredPlan(), "forward": ForwardKL(), "reverse": ReverseKL()}
"""Priors by the name that ``algo.prior`` takes."""
