"""PO-MPC (Serra-Gomez et al., ICML 2026): any lambda between TD-MPC2 and imitation.

The sampling policy maximises its return regularised by its KL divergence to a prior: the plan the replay holds, or a
second, learned policy that follows those plans (the intermediate prior). lambda = 0 is TD-MPC2's update, lambda = infinity
BMPC's imitation with Q-iteration. What the paper's text does not settle for a reader without its code is an option here;
docs/pompc.md lists which, with the equations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.agent import Problem
from pompc.dials import ScheduleConfig, start_of
from pompc.errors import UserError
from pompc.networks.policies import POLICIES, LatentPolicy, PolicySample
from pompc.offpolicy.config import PolicyName
from pompc.offpolicy.priors import PRIORS
from pompc.offpolicy.reanalyze import LazyReanalyze, ReanalyzeConfig


@dataclass(frozen=True, kw_only=True)
class POMPCConfig(ReanalyzeConfig):
    """Options of :class:`POMPC` beside those of the latent family and of lazy reanalysis.

    Attributes:
        kl_weight: lambda; the paper compares 0.1, 1 and 9.
        convex: weigh return and divergence ``1 / (1 + lambda)`` and ``lambda / (1 + lambda)`` instead of 1 and lambda.
        prior: ``plan`` (what the replay holds), or a learned prior that follows the plans by ``forward`` or ``reverse`` KL.
        kl_scale_min: floor of the divergence's running scale, such that lambda pulls about as hard to a learned prior as to
            stored plans.
        soft_target: subtract the weighted divergence at the next state from the value target (the regularised Bellman
            operator); otherwise targets are TD-MPC2's.
        reanalyze_interval: updates between two lazy reanalyses; 0, the default here, never reanalyses.
    """

    kl_weight: float | ScheduleConfig = 1.0
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
        if self.soft_target and math.isinf(start_of(self.kl_weight)):
            raise UserError("algo.soft_target=true needs a finite kl_weight")
        if self.soft_target and start_of(self.virtual_ratio) > 0:
            raise UserError("algo.soft_target=true needs virtual_ratio=0: virtual targets are of the plain return")


class POMPC(LazyReanalyze):
    """PO-MPC.

    Args:
        config: options.
        problem: the environment.
    """

    Config = POMPCConfig
    prior: LatentPolicy | None

    def __init__(self, config: POMPCConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        self.prior = None
        if PRIORS[config.prior] is not None:
            sizes = (self.model.input_dim, config.size.mlp_dim, problem.action_dim)
            spread = {"log_std_min": config.log_std_min, "log_std_max": config.log_std_max}
            self.prior = POLICIES[config.policy](*sizes, **spread, tasks=self.model.tasks)
            self.optimizers["prior"] = self.policy_optimizer(self.prior)
            self.settle()

    def loss_weights(self) -> tuple[float, float]:
        """``(1, lambda)``, or their convex form."""
        returns, kl = super().loss_weights()
        return (returns / (returns + kl), kl / (returns + kl)) if self.config.convex else (returns, kl)

    def planner_kl(self, batch: TensorDictBase, sample: PolicySample | None = None) -> Tensor:
        """``KL(policy || prior)`` ``[time, batch]``: of all states for a learned prior, of those with a plan otherwise."""
        if self.prior is None:
            return super().planner_kl(batch, sample)
        sample = self.policy.sample(batch["state"]) if sample is None else sample
        with torch.no_grad():
            mean, log_std = self.prior(batch["state"][: len(sample.mean)])
        return sample.gaussian_kl(mean, log_std)

    def learn_prior(self, batch: TensorDictBase) -> dict[str, Tensor]:
        """One step of the learned prior towards the plans in the batch."""
        follow = PRIORS[self.config.prior]
        if self.prior is None or follow is None:
            return {}
        divergence = follow(self.prior, batch["state"][:-1], batch["plan_mean"][:-1], batch["plan_std"][:-1])
        loss = self.temporal_mean(divergence)
        self.descend("prior", loss, batch)
        return {"prior_loss": loss.detach()}

    def value_target(self, data: TensorDictBase) -> Tensor:
        """TD-MPC2's target; with ``soft_target`` less the weighted divergence of the policy at the next state."""
        if not self.config.soft_target:
            return super().value_target(data)
        then = data["encoded"][1:]
        sample = self.policy.sample(then)
        # In units of the value: the trade-off of the policy loss, whose terms have scales of their own.
        weight = self.kl_weight.value * self.return_scale.value / self.kl_scale.value
        value = self.target_value(then, sample.action) - weight * self._divergence_there(data, then, sample)
        return self.bootstrapped(data, value)

    def _divergence_there(self, data: TensorDictBase, then: Tensor, sample: PolicySample) -> Tensor:
        """At the next states ``[horizon, batch]``; zero where an episode was over and there is no plan."""
        if self.prior is not None:
            return sample.gaussian_kl(*self.prior(then))
        std = cast(Tensor, data["plan_std"])[1:]
        planned = (std > 0).all(-1)
        divergence = self.policy.divergence(sample, data["plan_mean"][1:], std.masked_fill(std <= 0, 1.0))
        return divergence.masked_fill(~planned, 0.0)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Adds the prior's loss."""
        return (*super().metric_names, "prior_loss")
