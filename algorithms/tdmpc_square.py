"""TD-M(PC)^2 (Lin et al. 2025, arXiv 2502.03550): TD-MPC2 with its policy held near the planner's stored actions.

The policy loss gains the cross-entropy of the policy with the stored plan of the action. One draw estimates it, and it
counts once the values have grown. In the plane of the two dials: lambda > 0, rho = 0. The prior is the plan in the replay,
and both terms share the returns' running scale. Model, values and planner are TD-MPC2's. docs/tdmpc_square.md has the
equations and the deviations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.config.options import PositiveFloat, PositiveInt
from pompc.dials import KLWeight
from pompc.errors import UserError
from pompc.networks.policies import PolicySample
from pompc.offpolicy.config import OffPolicyConfig
from pompc.offpolicy.pull import PulledAgent, summed_log_prob
from pompc.schedules import highest_value


@dataclass(frozen=True, kw_only=True)
class TDMPCSquareConfig(OffPolicyConfig):
    """Options of :class:`TDMPCSquare` beside those of off-policy learning.

    Attributes:
        kl_weight: lambda of the released code (``prior_coef``), which multiplies it by ``action_dim / reference_actions``.
        reference_actions: the action size at which the factor of ``kl_weight`` is one (61: the humanoid with hands).
        scale_threshold: the prior is off until the returns' running scale exceeds this.
        prior_min_std: floor of the plan's std in the prior.
    """

    kl_weight: KLWeight = 1.0
    reference_actions: PositiveInt = 61
    scale_threshold: float = 2.0
    prior_min_std: PositiveFloat = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if math.isinf(highest_value(self.kl_weight)):
            raise UserError("kl_weight=.inf is imitation alone, which tdmpc_square is not: take pompc or bmpc")


class TDMPCSquare(PulledAgent):
    """TD-M(PC)^2, its default ``residual`` mode.

    Args:
        config: options.
        problem: the environment.
    """

    Config = TDMPCSquareConfig

    def pull(self, batch: TensorDictBase, sample: PolicySample, scaled: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Weigh the cross-entropy with the stored plan by the size of the action. See :meth:`PulledAgent.pull`."""
        divergence = self.planner_kl(batch, sample)
        size = sample.num_actions / self.config.reference_actions
        return self.temporal_mean(size * divergence), {"kl": self.temporal_mean(divergence.detach())}

    def planner_kl(self, batch: TensorDictBase, sample: PolicySample) -> Tensor:
        """Compute the cross-entropy with the stored plan over the returns' scale; zero below the threshold."""
        std = batch["plan_std"][:-1].clamp_min(self.config.prior_min_std)
        log_prob = summed_log_prob((sample.action - batch["plan_mean"][:-1]) / std, std.log(), sample)
        on = self.return_scale.value > self.config.scale_threshold
        return torch.where(on, -self.return_scale(log_prob), 0.0)
