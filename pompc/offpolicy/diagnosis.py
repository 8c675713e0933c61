"""What an evaluation asks an off-policy agent: its value of the decision, and its policy's divergence from the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from tensordict import TensorDictBase
from torch import Tensor

if TYPE_CHECKING:
    from pompc.offpolicy.agent import OffPolicyAgent


def diagnose(agent: OffPolicyAgent, stepped: TensorDictBase) -> dict[str, Tensor]:
    """Value the action that was taken, and measure the divergence; see :meth:`MPPIRL.diagnose`.

    The value is the mean over all heads, which is the mean of the algorithms' own draws of two heads.

    Args:
        agent: with policy and values.
        stepped: a step of an evaluation ``[num_envs]``.
    """
    state, reward = agent.encode(stepped["observation"]), stepped["next", "reward"].squeeze(-1)
    value = agent.critic.values(agent.values.inputs(state, stepped["action"])).mean(0)
    discount = torch.ones_like(reward) * agent.discount_of(state)
    return {"value": value, "reward": reward, "discount": discount, **planner_divergence(agent, state, stepped)}


def planner_divergence(agent: OffPolicyAgent, state: Tensor, stepped: TensorDictBase) -> dict[str, Tensor]:
    """Measure ``planner_kl``, the KL divergence of the policy from the plan's first Gaussian, averaged over the action.

    Args:
        agent: with a policy.
        state: the state of the step ``[num_envs, state]``.
        stepped: a step of an evaluation ``[num_envs]``; it has ``plan_mean`` and ``plan_std`` if the planner was asked, and
            a std of zero where it was not.

    Returns:
        ``planner_kl [num_envs]``, nan without a plan; nothing if the policy acts alone or is not learned.
    """
    if "plan_std" not in stepped.keys() or not agent.has_policy(agent.config):  # noqa: SIM118 - a TensorDict
        return {}
    std = cast(Tensor, stepped["plan_std"])
    planned = std.gt(0).all(-1)
    divergence = agent.policy.mean_divergence(state, stepped["plan_mean"], std.masked_fill(std <= 0, 1.0))
    return {"planner_kl": divergence.masked_fill(~planned, torch.nan)}
