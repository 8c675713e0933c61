"""The other actors of TD-M(PC)^2's code (Lin et al. 2025): imitation, weighted by advantages, plain, or beside the return.

All share TD-MPC2's model, values and planner with ``tdmpc_square``; only the policy's loss differs. lambda = infinity is
imitation alone (``awac``, ``bc``); a finite lambda adds it to the return (``bc_sac``). docs/weighted_imitation.md has the
equations and the deviations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Gt
from tensordict import TensorDictBase
from torch import Tensor

from pompc.config.options import PositiveFloat
from pompc.dials import KLWeight
from pompc.errors import UserError
from pompc.networks.policies import PolicySample
from pompc.offpolicy.config import OffPolicyConfig
from pompc.offpolicy.pull import PulledAgent, summed_log_prob

LEAST_LOG_PROB = -5e4


@dataclass(frozen=True, kw_only=True)
class WeightedImitationConfig(OffPolicyConfig):
    """Options of :class:`WeightedImitation` beside those of off-policy learning.

    Attributes:
        kl_weight: lambda, the weight of the imitation beside the return; ``.inf`` is imitation alone.
        imitation: ``advantage`` (the likelihood of the executed action, weighted by its advantage), ``density`` (the
            policy's draw in the plan's Gaussian) or ``square`` (the squared distance of the draw from the executed action).
        advantage_temperature: temperature of the weights ``exp(advantage / temperature)``; ``.inf`` weighs all alike.
        least_weight: smallest weight.
        largest_weight: largest weight.
        released_sign: weigh by the negative advantage, as the released code does.
        prior_min_std: floor of the plan's std in ``density``.
    """

    kl_weight: KLWeight = math.inf
    imitation: Literal["advantage", "density", "square"] = "advantage"
    advantage_temperature: Annotated[float, Gt(0)] = 1 / 3
    least_weight: PositiveFloat = 0.1
    largest_weight: PositiveFloat = 10.0
    released_sign: bool = False
    prior_min_std: PositiveFloat = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.least_weight > self.largest_weight:
            raise UserError(
                f"algo.least_weight={self.least_weight} must not exceed algo.largest_weight={self.largest_weight}"
            )


class WeightedImitation(PulledAgent):
    """The actors ``awac``, ``bc`` and ``bc_sac`` of TD-M(PC)^2's code.

    Args:
        config: options.
        problem: the environment.
    """

    Config = WeightedImitationConfig

    def pull(self, batch: TensorDictBase, sample: PolicySample, scaled: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Measure the distance that ``algo.imitation`` names. See :meth:`PulledAgent.pull`."""
        distance, metrics = IMITATIONS[self.config.imitation](self, batch, sample, scaled)
        pull = self.temporal_mean(distance)
        return pull, {"kl": pull.detach(), **metrics}

    @torch.no_grad()
    def weights(self, batch: TensorDictBase, scaled: Tensor) -> Tensor:
        """Weigh executed actions by their advantage over the policy's draw, in units of the scale ``[horizon, batch]``."""
        value = self.return_scale(self.values.of_action(batch["state"][:-1], batch["action"][:-1]))
        advantage = scaled - value if self.config.released_sign else value - scaled
        weights = (advantage / self.config.advantage_temperature).exp()
        return weights.clamp(self.config.least_weight, self.config.largest_weight)


Distance = Callable[[WeightedImitation, TensorDictBase, PolicySample, Tensor], tuple[Tensor, dict[str, Tensor]]]
"""Takes the arguments of :meth:`WeightedImitation.pull`; returns distances ``[horizon, batch]`` and metrics."""


def advantage_weighted(
    agent: WeightedImitation, batch: TensorDictBase, sample: PolicySample, scaled: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Weigh minus the log-density of the executed action (AWAC, Nair et al. 2020); a :data:`Distance`."""
    weights = agent.weights(batch, scaled)
    return -weights * agent.policy.log_prob_of(sample, batch["action"][:-1]), {"imitation_weight": weights.mean()}


def plan_density(
    agent: WeightedImitation, batch: TensorDictBase, sample: PolicySample, scaled: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Take minus the log-density of the draw in the plan's Gaussian over the returns' scale; a :data:`Distance`."""
    std = batch["plan_std"][:-1].clamp_min(agent.config.prior_min_std)
    log_prob = summed_log_prob((sample.action - batch["plan_mean"][:-1]) / std, std.log(), sample)
    return -agent.return_scale(log_prob.clamp(LEAST_LOG_PROB, 0.0)), {}


def squared_distance(
    agent: WeightedImitation, batch: TensorDictBase, sample: PolicySample, scaled: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum the squared distance of the draw from the executed action over its entries; a :data:`Distance`."""
    return sample.sum_over_actions((sample.action - batch["action"][:-1]).square()), {}


IMITATIONS: dict[str, Distance] = {
    "advantage": advantage_weighted,
    "density": plan_density,
    "square": squared_distance,
}
"""Distances from the data by the name that ``algo.imitation`` takes."""
