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
from pompc.offpolicy.acting import standard_normal
from pompc.offpolicy.agent import OffPolicyAgent
from pompc.offpolicy.config import PolicyName, ReanalyzeConfig
from pompc.offpolicy.reanalyze import Reanalyzer
from pompc.offpolicy.values import ActionValues, StateValues
from pompc.problem import Problem


@dataclass(frozen=True, kw_only=True)
class BMPCConfig(ReanalyzeConfig):
    """Options of :class:`BMPC` beside those of off-policy learning and of lazy reanalysis.

    Attributes:
        kl_weight: lambda, infinite in BMPC; a finite lambda adds the return to the policy's loss.
        state_values: learn values of states from the model; false learns values of states and actions by Q-iteration
            on the replay, the paper's imitation-only ablation (Variant 3).
    """

    kl_weight: KLWeight = math.inf
    policy: PolicyName = "clamped"
    log_std_min: float = -3.0
    log_std_max: float = 1.0
    ensemble_size: int | None = 2
    average_target: bool = True
    state_values: bool = True


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

    def random_plan(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Stand in for the plan of a random action by a standard normal."""
        return standard_normal(action)
