"""PO-MPC (Serra-Gomez et al., ICML 2026): any lambda between TD-MPC2 and imitation.

The policy maximises its return, regularised by its KL divergence to a prior. The prior is the plan in the replay, or a
second policy that is fitted to the plans (the intermediate prior). lambda = 0 is TD-MPC2's update; lambda = infinity is
BMPC's imitation with Q-iteration. Everything that the paper leaves open is an option; docs/pompc.md lists these options
and the equations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tensordict import TensorDictBase
from torch import Tensor

from pompc.dials import KLWeight
from pompc.errors import UserError
from pompc.networks.policies import LatentPolicy
from pompc.offpolicy import parts
from pompc.offpolicy.acting import standard_normal
from pompc.offpolicy.agent import OffPolicyAgent
from pompc.offpolicy.config import PolicyName, ReanalyzeConfig
from pompc.offpolicy.priors import PRIORS, Divergence, LearnedPrior
from pompc.offpolicy.reanalyze import Reanalyzer
from pompc.problem import Problem
from pompc.schedules import highest_value


@dataclass(frozen=True, kw_only=True)
class POMPCConfig(ReanalyzeConfig):
    """Options of :class:`POMPC` beside those of off-policy learning and of lazy reanalysis.

    Attributes:
        kl_weight: lambda; the paper compares 0.1, 1 and 9.
        convex: weigh return and divergence ``1 / (1 + lambda)`` and ``lambda / (1 + lambda)`` instead of 1 and lambda.
        prior: ``plan`` (as stored in the replay), or a learned prior fitted to the plans by ``forward`` or ``reverse`` KL.
        kl_scale_min: floor of the divergence's running scale. With 2, lambda pulls about as hard to a learned prior as to
            stored plans.
        soft_target: subtract the weighted divergence at the next state from the value target (the regularised Bellman
            operator); otherwise targets are TD-MPC2's.
        reanalyze_interval: updates between two lazy reanalyses; 0, the default here, never reanalyses.
    """

    kl_weight: KLWeight = 1.0
    policy: PolicyName = "clamped"
    log_std_min: float = -3.0
    log_std_max: float = 1.0
    kl_scale_min: float = 2.0
    convex: bool = False
    prior: Literal["plan", "forward", "reverse"] = "forward"
    soft_target: bool = False
    reanalyze_interval: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.soft_target and math.isinf(highest_value(self.kl_weight)):
            raise UserError("algo.soft_target=true needs a finite kl_weight")
        if self.soft_target and highest_value(self.virtual_ratio) > 0:
            raise UserError("algo.soft_target=true needs virtual_ratio=0: virtual targets are of the plain return")
        if self.soft_target and self.target_steps is not None:
            raise UserError("algo.soft_target=true needs algo.target_steps=null: its target is of one step")


class POMPC(OffPolicyAgent):
    """PO-MPC.

    Args:
        config: options.
        problem: the environment.
    """

    Config = POMPCConfig

    def __init__(self, config: POMPCConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        self.reanalyzer = Reanalyzer.of(config)
        if (kl := PRIORS[config.prior]) is not None:
            network = parts.make_policy(config, problem, self.model)
            self.prior = self.make_prior(network, kl)
            self.optimizers["prior"] = parts.policy_optimizer(config, network)
            self.settle()

    def make_prior(self, network: LatentPolicy, kl: Divergence) -> LearnedPrior:
        """Make the learned prior of a network and of its divergence from the plans."""
        return LearnedPrior(network, kl)

    def random_plan(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Stand in for the plan of a random action by a standard normal."""
        return standard_normal(action)

    def loss_weights(self) -> tuple[float, float]:
        """Return ``(1, lambda)``, or its convex form."""
        returns, kl = super().loss_weights()
        return (returns / (returns + kl), kl / (returns + kl)) if self.config.convex else (returns, kl)

    def value_target(self, batch: TensorDictBase) -> Tensor:
        """Make TD-MPC2's target, less the weighted divergence at the next state if ``soft_target``."""
        if not self.config.soft_target:
            return super().value_target(batch)
        then = batch["encoded"][1:]
        sample = self.policy.sample(then)
        # The weight of the policy loss in units of the value: there, return and divergence have separate scales.
        weight = self.kl_weight.value * self.return_scale.value / self.imitation.scale.value
        value = self.values.slow(then, sample.action) - weight * self.prior.divergence_next(self, batch, sample)
        return self.values.bootstrapped(batch, value)
