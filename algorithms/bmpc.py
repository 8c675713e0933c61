"""BMPC, Bootstrapped Model Predictive Control (Wang et al., ICLR 2025, arXiv 2503.18871): imitate the planner.

The policy learns from the plans alone (lambda = infinity): it minimises its KL divergence to the planner's Gaussian, which
the replay keeps with every step and which is made anew, lazily, by today's model. Values are of states, learnt on policy
from one step of the model. docs/bmpc.md has the equations and the deviations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tensordict import TensorDictBase
from torch import Tensor

from pompc.dials import ScheduleConfig
from pompc.offpolicy.config import PolicyName
from pompc.offpolicy.reanalyze import LazyReanalyze, ReanalyzeConfig


@dataclass(frozen=True, kw_only=True)
class BMPCConfig(ReanalyzeConfig):
    """Options of :class:`BMPC` beside those of the latent family and of lazy reanalysis.

    Attributes:
        kl_weight: lambda; infinite by definition, a finite one adds the return to the policy's loss.
        state_values: values of states from the model; false: of states and actions by Q-iteration on replayed transitions,
            the paper's imitation-only ablation (its Variant 3).
    """

    kl_weight: float | ScheduleConfig = math.inf
    policy: PolicyName = "clamped"
    log_std_min: float = -3.0
    log_std_max: float = 1.0
    ensemble_size: int | None = 2
    average_target: bool = True
    state_values: bool = True


class BMPC(LazyReanalyze):
    """BMPC.

    Args:
        config: options.
        problem: the environment.
    """

    Config = BMPCConfig
    learns_policy_in_pretraining = False

    @property
    def critic_dim(self) -> int:
        """The critic sees states alone."""
        return self.model.input_dim if self.config.state_values else super().critic_dim

    def critic_inputs(self, state: Tensor, action: Tensor | None = None) -> Tensor:
        """The state, whatever the action."""
        return self.model.inputs(state) if self.config.state_values else super().critic_inputs(state, action)

    def policy_value(self, state: Tensor, action: Tensor) -> Tensor:
        """What the policy maximises where lambda is finite: the model's reward and the value of the state it predicts."""
        if not self.config.state_values:
            return super().policy_value(state, action)
        return self._one_step(state, action, self.state_value)

    def value_target(self, data: TensorDictBase) -> Tensor:
        """``r(z, a) + discount * V(f(z, a))`` with the policy's action at the encoded observations ``[horizon, batch]``."""
        if not self.config.state_values:
            return super().value_target(data)
        state = data["encoded"][:-1]
        return self._one_step(state, self.policy.sample(state).action, self.target_value)

    def _one_step(self, state: Tensor, action: Tensor, value_of: Callable[[Tensor], Tensor]) -> Tensor:
        then = self.model.next(state, action)
        value = self.discount_of(then) * value_of(then)
        if self.model.termination_head is not None:
            value = value * (self.model.termination_logits(then) <= 0)
        return self.model.reward(state, action) + value
