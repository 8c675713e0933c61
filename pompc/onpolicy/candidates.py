"""Several high-level actions per step: choose one, and learn from the others."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.modules import IndependentNormal

from pompc.planner import Plan

SELECTORS: dict[str, Callable[[Plan, Tensor | None], Tensor]] = {
    "uniform": lambda plan, returns: torch.randint(plan.batch_size[1], plan.batch_size[:1], device=plan.mean.device),
    "argmin_cost": lambda plan, returns: plan.soft_value.argmin(-1),
    "softmax_value": lambda plan, returns: torch.multinomial(torch.softmax(returns, -1), 1).squeeze(-1),
}
"""Selectors of the executed candidate, ``(plan, returns [batch, candidate]) -> index [batch]``, by the name that
``algo.selector`` takes. Only ``uniform`` keeps PPO on-policy without a correction."""


def candidate_decisions(batch: TensorDictBase) -> TensorDict:
    """Turn the candidates that were not executed into decisions of the old policy, with model returns for advantages.

    Each is an independent draw of the old policy at a real state: the plain PPO ratio holds. Later steps of a rollout
    are no decisions, because their high-level action is held.

    Args:
        batch: ``observation``, ``policy_action [sample, policy]``, ``value [sample]`` and ``candidates``:
            ``drawn [sample, candidate, policy]``, ``log_prob`` and ``returns [sample, candidate]``.

    Returns:
        Samples ``[sample * (candidate - 1)]`` for the PPO loss.
    """
    candidates = batch["candidates"]
    advantage = candidates["returns"] - batch["value"].unsqueeze(-1)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    decisions = {
        "observation": batch["observation"].unsqueeze(1).expand(-1, advantage.shape[1], -1),
        "policy_action": candidates["drawn"],
        "log_prob": candidates["log_prob"],
        "advantage": advantage.unsqueeze(-1),
    }
    executed = (candidates["drawn"] == batch["policy_action"].unsqueeze(1)).all(-1)
    return TensorDict(decisions, batch_size=advantage.shape)[~executed]


def candidate_cross_entropy(mean: Tensor, std: Tensor, candidates: TensorDictBase, temperature: float) -> Tensor:
    """Compute the cross-entropy of a Gaussian policy with the planner's distribution over candidates ``[sample]``.

    The planner's distribution is a softmax over the candidates' model returns. The cross-entropy is the forward divergence
    KL(planner, policy) up to a constant: this project's reading of lambda for a policy whose actions are cost parameters.

    Args:
        mean: mean of the policy ``[sample, policy]``.
        std: standard deviation of the policy ``[sample, policy]``.
        candidates: ``drawn [sample, candidate, policy]`` and ``returns [sample, candidate]``.
        temperature: temperature of the softmax, in units of the returns' standard deviation.
    """
    returns = candidates["returns"]
    centred = returns - returns.mean(-1, keepdim=True)
    weights = torch.softmax(centred / (centred.std() + 1e-8) / temperature, dim=-1)
    density = IndependentNormal(mean.unsqueeze(1), std.unsqueeze(1)).log_prob(candidates["drawn"])
    return -(weights * density).sum(-1)
