"""PPO on the raw action (Schulman et al. 2017, arXiv 1707.06347): the baseline without a planner.

In the plane of the two dials it is the origin without the planner: lambda = 0, rho = 0. The policy always acts.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensordict import TensorDictBase

from pompc.onpolicy.agent import OnPolicyAgent
from pompc.onpolicy.config import OnPolicyConfig
from pompc.problem import Problem


@dataclass(frozen=True, kw_only=True)
class PPOConfig(OnPolicyConfig):
    """Options of :class:`PPO`: those of on-policy learning."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_dials("ppo has no planner")


class PPO(OnPolicyAgent):
    """Act with the policy's output, clipped to the bounds.

    Args:
        config: options.
        problem: the environment.
    """

    Config = PPOConfig

    def __init__(self, config: PPOConfig, problem: Problem) -> None:
        super().__init__(config, problem, policy_dim=problem.action_dim)

    def act(self, tensordict: TensorDictBase, explore: bool) -> TensorDictBase:
        """Draw an action when exploring; otherwise take the mean."""
        observation = tensordict["observation"]
        if explore:
            drawn, log_prob = self.sample_policy(observation, 1)
            action = drawn[:, 0]
            tensordict["policy_action"], tensordict["log_prob"] = action, log_prob[:, 0]
        else:
            action, _ = self.actor(self.normaliser(observation))
        tensordict["action"] = action.clamp(-1.0, 1.0)
        return tensordict

    def act_by_policy(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Take the mean, as every evaluation does."""
        return self.act(tensordict, explore=False)
