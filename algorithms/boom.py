"""BOOM, Bootstrap Off-policy with World Model (Zhan et al., NeurIPS 2025, arXiv 2511.00423): follow plans by their value.

The policy climbs the lesser of two value heads and is aligned with the stored plans. States of a batch count in the
alignment by the softmax of their values. In the plane of the two dials: lambda > 0, rho = 0. The default is the released
code's alignment; the paper's is ``alignment=likelihood``. World model and planner are TD-MPC2's, but for what the released
code decides by the size of the action. docs/boom.md has the equations and the deviations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.config.options import PositiveFloat, PositiveInt
from pompc.dials import KLWeight
from pompc.errors import UserError
from pompc.networks.policies import PolicySample
from pompc.offpolicy.config import OffPolicyConfig
from pompc.offpolicy.pull import PulledAgent, summed_log_prob
from pompc.problem import Problem
from pompc.schedules import highest_value

MIDDLE = range(24, 49)
"""Action sizes for which the released code leaves SimNorm out and aligns less (the dog has 38 entries)."""


@dataclass(frozen=True, kw_only=True)
class BoomConfig(OffPolicyConfig):
    """Options of :class:`Boom` beside those of off-policy learning.

    Attributes:
        kl_weight: lambda, the weight of the alignment beside ``alignment_coef`` and the number of action entries.
        alignment: ``density`` (the released code: the policy's draw in a Gaussian of the policy's std around the plan) or
            ``likelihood`` (the paper: the plan's action in the policy).
        alignment_coef: factor of the alignment per action entry; null takes the released rule, 1/1000 for 24 to 48 entries
            and 1/50 otherwise.
        scale_threshold: the alignment is off until the returns' running scale exceeds this.
        alignment_min_std: floor of the policy's std in the alignment by ``density``.
        simnorm: normalise latent states to simplices (SimNorm); null takes the released rule, not to for 24 to 48 action
            entries.
    """

    simnorm_follows_action: ClassVar[bool] = True

    kl_weight: KLWeight = 1.0
    alignment: Literal["density", "likelihood"] = "density"
    alignment_coef: PositiveFloat | None = None
    scale_threshold: float = 2.0
    alignment_min_std: PositiveFloat = 0.05
    simnorm: bool | None = None
    reward_layers: PositiveInt = 3
    reward_init: Literal["zeros", "orthogonal"] = "orthogonal"
    policy_value: Literal["mean", "least"] = "least"

    def __post_init__(self) -> None:
        super().__post_init__()
        if math.isinf(highest_value(self.kl_weight)):
            raise UserError("kl_weight=.inf is imitation alone, which boom is not: take pompc or bmpc")

    def simnorm_for(self, action_dim: int) -> bool:
        """Decide whether latent states are normalised: as given, or by the released rule."""
        return action_dim not in MIDDLE if self.simnorm is None else self.simnorm

    def alignment_coef_for(self, action_dim: int) -> float:
        """Decide the factor of the alignment per action entry: as given, or by the released rule."""
        released = 1 / 1000 if action_dim in MIDDLE else 1 / 50
        return released if self.alignment_coef is None else self.alignment_coef


class Boom(PulledAgent):
    """BOOM.

    Args:
        config: options.
        problem: the environment.
    """

    Config = BoomConfig

    def __init__(self, config: BoomConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        self.alignment = ALIGNMENTS[config.alignment]
        self.alignment_coef = config.alignment_coef_for(problem.action_dim)

    def pull(self, batch: TensorDictBase, sample: PolicySample, scaled: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum minus the log-densities over the batch, weighed by values; zero below the threshold.

        See :meth:`PulledAgent.pull`.
        """
        log_prob, value = self.alignment(self, batch, sample, scaled)
        on = self.return_scale.value > self.config.scale_threshold
        weights = torch.softmax(value.detach(), dim=-1)
        terms = -weights * torch.where(on, self.return_scale(log_prob), 0.0)
        total = self.temporal_mean((sample.num_actions * terms).sum(-1, keepdim=True))
        return self.alignment_coef * total, {"kl": self.temporal_mean(terms.detach().sum(-1, keepdim=True))}


Alignment = Callable[[Boom, TensorDictBase, PolicySample, Tensor], tuple[Tensor, Tensor]]
"""Takes the arguments of :meth:`Boom.pull`; returns log-densities and the values that weigh them, ``[time, batch]``."""


def plan_density(agent: Boom, batch: TensorDictBase, sample: PolicySample, scaled: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluate the policy's draw in a Gaussian around the plan, and weigh by the draw's value; an :data:`Alignment`."""
    std = sample.log_std.exp().detach().clamp_min(agent.config.alignment_min_std)
    return summed_log_prob((sample.action - batch["plan_mean"][:-1]) / std, std.log(), sample), scaled


def plan_likelihood(agent: Boom, batch: TensorDictBase, sample: PolicySample, scaled: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluate the plan's action in the policy, and weigh by that action's value; an :data:`Alignment`."""
    planned = batch["plan_mean"][:-1]
    with torch.no_grad():
        value = agent.return_scale(agent.values.of_action(batch["state"][:-1], planned))
    return agent.policy.log_prob_of(sample, planned), value


ALIGNMENTS: dict[str, Alignment] = {"density": plan_density, "likelihood": plan_likelihood}
"""Alignments with the plans by the name that ``algo.alignment`` takes."""
