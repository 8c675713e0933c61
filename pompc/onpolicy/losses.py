"""The policy loss of the on-policy agents: PPO's clipped surrogate, and the planner's pull that lambda weighs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tensordict import TensorDictBase
from torch import Tensor

from pompc.metrics import term_metrics

if TYPE_CHECKING:
    from pompc.onpolicy.agent import OnPolicyAgent


def policy_loss(agent: OnPolicyAgent, batch: TensorDictBase) -> tuple[Tensor, dict[str, float]]:
    """Compute the clipped surrogate and the entropy bonus, plus lambda times the divergence from the planner.

    At infinite lambda only the divergence is left: the actions of the data need not be draws of the policy then.

    Args:
        agent: its policy learns.
        batch: real transitions ``[sample]``; may be empty.

    Returns:
        The loss, and the metrics of this batch.
    """
    if len(batch) == 0:
        return 0.0 * agent.actor.log_std.sum(), {}
    weight = agent.kl_weight.value
    if math.isinf(weight):
        kl = agent.planner_kl(batch).mean()
        return kl, weighed_terms(agent, {"kl": kl})
    losses = agent.clipped_loss(batch)
    loss = losses["loss_objective"] + losses["loss_entropy"]
    names = {"clip_fraction": "clip_fraction", "policy_kl": "kl_approx", "entropy": "entropy"}
    metrics = {name: losses[key].item() for name, key in names.items()}
    if weight > 0:
        terms = {"return": -losses["loss_objective"], "kl": agent.planner_kl(batch).mean()}
        loss = loss + weight * terms["kl"]
        metrics |= weighed_terms(agent, terms)
    return loss, metrics


def weighed_terms(agent: OnPolicyAgent, terms: dict[str, Tensor]) -> dict[str, float]:
    """Return metrics of the ``return`` and ``kl`` terms of the policy loss, before lambda weighs them."""
    found = term_metrics(terms, agent.actor.parameters(), gradients=True)
    return {name: value.item() for name, value in found.items()}
