"""BMPC, Bootstrapped Model Predictive Control (Wang et al., ICLR 2025, arXiv 2503.18871): imitate the planner.

The policy learns from the plans alone (lambda = infinity): it minimises its KL divergence to the planner's Gaussian. The
replay keeps this Gaussian for every step, and today's model lazily renews it. The values are values of states, learned on
policy from one step of the model. docs/bmpc.md has the equations and the deviations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from pompc.dials import KLWeight
from pompc.errors import UserError
from pompc.offpolicy.acting import standard_normal
from pompc.offpolicy.agent import OffPolicyAgent
from pompc.offpolicy.config import PolicyName, ReanalyzeConfig
from pompc.offpolicy.reanalyze import Reanalyzer
from pompc.offpolicy.values import ActionValues, StateValues
from pompc.problem import Problem
from pompc.schedules import highest_value


@dataclass(frozen=True, kw_only=True)
class BMPCConfig(ReanalyzeConfig):
    """Options of :class:`BMPC` beside those of off-policy learning and of lazy reanalysis.

    Attributes:
        kl_weight: lambda, infinite in BMPC; a finite lambda adds the return to the policy's loss.
        state_values: learn values of states from the model; false learns values of states and actions by Q-iteration
            on the replay, the paper's imitation-only ablation (Variant 3).
        learn_policy: learn the policy. False saves its updates if nothing asks the policy: the planner acts, without
            proposals, and values of states learn from ``target_steps``.
    """

    kl_weight: KLWeight = math.inf
    policy: PolicyName = "clamped"
    log_std_min: float = -3.0
    log_std_max: float = 1.0
    ensemble_size: int | None = 2
    average_target: bool = True
    state_values: bool = True
    learn_policy: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learn_policy:
            return
        if self.reanalyze_interval or highest_value(self.kl_weight) > 0:
            raise UserError(
                "algo.learn_policy=false leaves no policy to learn from plans: set kl_weight=0 and "
                "algo.reanalyze_interval=0"
            )
        if any((self.num_proposals, highest_value(self.policy_share), not self.state_values, not self.target_steps)):
            raise UserError(
                "algo.learn_policy=false needs settings in which nothing asks the policy: algo.num_proposals=0, "
                "policy_share=0, algo.state_values=true and a number for algo.target_steps"
            )


class BMPC(OffPolicyAgent):
    """BMPC.

    Args:
        config: options.
        problem: the environment.
    """

    Config = BMPCConfig
    learns_policy_in_burst = False

    def __init__(self, config: BMPCConfig, problem: Problem) -> None:
        self.values_of = StateValues if config.state_values else ActionValues
        super().__init__(config, problem)
        self.reanalyzer = Reanalyzer.of(config)

    @classmethod
    def has_policy(cls, config: BMPCConfig) -> bool:
        """Say whether the policy is learned."""
        return config.learn_policy

    def learns_policy(self, in_burst: bool) -> bool:
        """Tell whether the policy learns in an update: if at all, then after the burst."""
        return self.config.learn_policy and super().learns_policy(in_burst)

    def random_plan(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Stand in for the plan of a random action by a standard normal."""
        return standard_normal(action)
