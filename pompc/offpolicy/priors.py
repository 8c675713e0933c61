"""The prior that lambda pulls the policy of an off-policy agent to: the stored plans, or a policy fitted to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from pompc.networks.policies import LatentPolicy, PolicySample

if TYPE_CHECKING:
    from pompc.offpolicy.agent import OffPolicyAgent

Divergence = Callable[[LatentPolicy, Tensor, Tensor, Tensor], Tensor]
"""A learned prior's divergence from plans, as :func:`forward_kl`."""


class Prior(Protocol):
    """The distribution that the policy is pulled to.

    Batches are those of :meth:`OffPolicyAgent.update <pompc.offpolicy.agent.OffPolicyAgent.update>`, time first.
    """

    def divergence(self, agent: OffPolicyAgent, batch: TensorDictBase, sample: PolicySample) -> Tensor:
        """Measure the divergence of a policy sample at the first states of ``batch["state"]`` ``[time, batch]``."""
        ...

    def divergence_next(self, agent: OffPolicyAgent, batch: TensorDictBase, sample: PolicySample) -> Tensor:
        """Measure the divergence at the encoded next states ``[horizon, batch]``; zero after the end of an episode."""
        ...

    def learn(self, agent: OffPolicyAgent, batch: TensorDictBase) -> dict[str, Tensor]:
        """Take one gradient step on a learned prior; return its metrics."""
        ...


class StoredPlan:
    """The plan that the replay holds for every step."""

    def divergence(self, agent: OffPolicyAgent, batch: TensorDictBase, sample: PolicySample) -> Tensor:
        """Measure ``KL(policy || plan)`` of the states that have a plan ``[horizon, batch]``, averaged over the action."""
        mean, std = batch["plan_mean"][:-1], batch["plan_std"][:-1]
        return agent.policy.divergence(sample[: len(mean)], mean, std)

    def divergence_next(self, agent: OffPolicyAgent, batch: TensorDictBase, sample: PolicySample) -> Tensor:
        """See :meth:`Prior.divergence_next`."""
        std = cast(Tensor, batch["plan_std"])[1:]
        planned = (std > 0).all(-1)
        divergence = agent.policy.divergence(sample, batch["plan_mean"][1:], std.masked_fill(std <= 0, 1.0))
        return divergence.masked_fill(~planned, 0.0)

    def learn(self, agent: OffPolicyAgent, batch: TensorDictBase) -> dict[str, Tensor]:
        """Learn nothing."""
        return {}


class LearnedPrior(nn.Module):
    """A second policy, fitted to the stored plans (PO-MPC, Serra-Gomez et al. 2026, the intermediate prior).

    Args:
        network: the second policy; its optimizer is ``agent.optimizers["prior"]``.
        kl: its divergence from the plans, :func:`forward_kl` or :func:`reverse_kl`.
    """

    def __init__(self, network: LatentPolicy, kl: Divergence) -> None:
        super().__init__()
        self.network, self._kl = network, kl

    def divergence(self, agent: OffPolicyAgent, batch: TensorDictBase, sample: PolicySample) -> Tensor:
        """Measure ``KL(policy || prior)`` of all states ``[horizon + 1, batch]``, averaged over the action."""
        with torch.no_grad():
            mean, log_std = self.network(batch["state"][: len(sample.mean)])
        return sample.gaussian_kl(mean, log_std)

    def divergence_next(self, agent: OffPolicyAgent, batch: TensorDictBase, sample: PolicySample) -> Tensor:
        """See :meth:`Prior.divergence_next`."""
        return sample.gaussian_kl(*self.network(batch["encoded"][1:]))

    def distance(self, batch: TensorDictBase) -> Tensor:
        """Measure the prior's divergence from the stored plans ``[horizon, batch]``."""
        return self._kl(self.network, batch["state"][:-1], batch["plan_mean"][:-1], batch["plan_std"][:-1])

    def learn(self, agent: OffPolicyAgent, batch: TensorDictBase) -> dict[str, Tensor]:
        """Take one gradient step towards the plans of the batch."""
        loss = agent.temporal_mean(self.distance(batch))
        agent.optimizer_step("prior", loss, batch)
        return {"prior_loss": loss.detach()}


def forward_kl(prior: LatentPolicy, state: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Measure ``KL(plan || prior)``, which makes the prior cover all plans.

    Args:
        prior: the learned prior.
        state: ``[..., state]``.
        mean: means of the plans' Gaussians ``[..., action]``.
        std: their standard deviations ``[..., action]``.

    Returns:
        The divergence averaged over the action ``[...]``, up to a constant.
    """
    return prior.imitation(state, mean, std)


def reverse_kl(prior: LatentPolicy, state: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Measure ``KL(prior || plan)``, which makes the prior settle on one of several plans.

    It has the arguments and the result of :func:`forward_kl`.
    """
    return prior.divergence(prior.sample(state), mean, std)


PRIORS: dict[str, Divergence | None] = {
    "plan": None,
    "forward": forward_kl,
    "reverse": reverse_kl,
}
"""Divergences of a learned prior from the plans, by the name that ``algo.prior`` takes.

``None`` means that the plan itself is the prior.
"""
