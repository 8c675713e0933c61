"""Several high-level actions per step: who is executed, for how long, and what the others teach the policy."""

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
"""Who is executed, ``[batch]``. Only ``uniform`` keeps PPO on-policy without a correction."""


def is_held(tensordict: TensorDictBase, counter: str) -> Tensor:
    """Whether what ``counter [batch, 1]`` counts down is still to be kept: bool ``[batch, 1]``; never in a first step."""
    return (tensordict[counter] > 0) & ~tensordict["is_init"]


def count_down(tensordict: TensorDictBase, counter: str, steps: int, allowed: Tensor | bool = True) -> Tensor:
    """``is_held``, and write the next count: one less while held, ``steps - 1`` after something new.

    Args:
        tensordict: of a step, with ``is_init`` and the counter.
        counter: its name.
        steps: for how many steps something new is kept.
        allowed: where holding on is possible at all ``[batch, 1]``.
    """
    held = is_held(tensordict, counter) & allowed
    tensordict["next", counter] = torch.where(held, tensordict[counter] - 1, steps - 1.0)
    return held


def candidate_decisions(batch: TensorDictBase) -> TensorDict:
    """The candidates that were not executed as decisions of the old policy, model returns for advantages.

    Each is an independent draw of the old policy at a real state, so the plain PPO ratio holds. Later steps of a rollout
    are no such decisions: their high-level action is held.

    Args:
        batch: rows with ``observation``, ``policy_action [row, policy]``, ``value [row]`` and ``candidates``:
            ``drawn [row, candidate, policy]``, ``log_prob`` and ``returns [row, candidate]``.

    Returns:
        ``[row * (candidate - 1)]`` rows for the PPO loss.
    """
    candidates = batch["candidates"]
    advantage = candidates["returns"] - batch["value"].unsqueeze(-1)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    rows = {
        "observation": batch["observation"].unsqueeze(1).expand(-1, advantage.shape[1], -1),
        "policy_action": candidates["drawn"],
        "log_prob": candidates["log_prob"],
        "advantage": advantage.unsqueeze(-1),
    }
    executed = (candidates["drawn"] == batch["policy_action"].unsqueeze(1)).all(-1)
    return TensorDict(rows, batch_size=advantage.shape)[~executed]


def candidate_cross_entropy(mean: Tensor, std: Tensor, candidates: TensorDictBase, temperature: float) -> Tensor:
    """Cross-entropy of a Gaussian policy with the planner's distribution over candidates, by model return ``[row]``.

    The forward divergence KL(planner, policy) up to a constant: this project's reading of lambda for a policy whose
    actions are cost parameters.

    Args:
        mean: of the policy ``[row, policy]``.
        std: of the policy ``[row, policy]``.
        candidates: ``drawn [row, candidate, policy]`` and ``returns [row, candidate]``.
        temperature: of the softmax over returns, in units of their spread.
    """
    returns = candidates["returns"]
    spread = returns - returns.mean(-1, keepdim=True)
    weights = torch.softmax(spread / (spread.std() + 1e-8) / temperature, dim=-1)
    density = IndependentNormal(mean.unsqueeze(1), std.unsqueeze(1)).log_prob(candidates["drawn"])
    return -(weights * density).sum(-1)
