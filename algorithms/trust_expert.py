"""Trust the expert: who acts is learned per state, the policy or the planner, and for how many steps.

Schulz, Hoffmann, Zhang and Boedecker (*Learning When to Trust the Expert for Guided Exploration in RL*, 2024) learn a skip
policy that follows the policy or an MPC expert for some steps. Only that is known here. Everything else is this project's
construction, after TempoRL (Biedenkapp et al. 2021, arXiv 2106.05262), which learns values of holding an action: values of
following an actor for j steps and the policy from then on. docs/trust_expert.md has the equations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.config.options import NonNegativeFloat, PositiveInt, Share, Top
from pompc.errors import UserError
from pompc.offpolicy import parts
from pompc.offpolicy.agent import OffPolicyAgent
from pompc.offpolicy.config import OffPolicyConfig
from pompc.offpolicy.expert_query import require_expert
from pompc.offpolicy.switch import EXPERT, RANDOM, SkipValues, SwitchActs, skip_targets
from pompc.planner import MPPIConfig
from pompc.problem import Problem
from pompc.schedules import ScheduleConfig, Setting, check_setting, highest_value


def falling() -> ScheduleConfig:
    """Make the default share of random choices: from all of them to one in twenty."""
    return ScheduleConfig(schedule="linear", initial=1.0, to=0.05, over=20_000, clock="steps")


@dataclass(frozen=True, kw_only=True)
class TrustExpertConfig(OffPolicyConfig):
    """Options of :class:`TrustExpert` beside those of off-policy learning.

    Attributes:
        skips: steps for which a choice may be kept, in increasing order; at most ``algo.sequence``.
        epsilon: share of the choices that are random, a number or a schedule.
        expert_cost: cost of a step of the expert in the values of the switch, in units of the reward.
    """

    model: Literal["known", "residual"] = "known"
    planner_cost: Literal["reward", "task"] = "task"
    planner: Annotated[MPPIConfig, Top()] = field(default_factory=lambda: MPPIConfig(num_samples=256))
    num_proposals: int = 0
    mlp_dim: int | None = 128
    skips: tuple[PositiveInt, ...] = (1, 2, 4, 8)
    epsilon: Share | ScheduleConfig = field(default_factory=falling)
    expert_cost: NonNegativeFloat = 0.0
    sequence: int | None = 8
    temporal_decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting("algo.epsilon", self.epsilon, highest=1.0)
        if highest_value(self.policy_share) > 0:
            raise UserError("policy_share must be 0: trust_expert learns who acts; for a given share take imitate")
        require_expert(self.planner)
        if not self.skips or list(self.skips) != sorted(set(self.skips)):
            raise UserError(f"algo.skips={list(self.skips)} must be increasing numbers of steps")
        if self.skips[-1] > self.sequence_steps:
            raise UserError(
                f"algo.skips has {self.skips[-1]} steps, more than a training sequence: raise algo.sequence to it"
            )

    @property
    def dials(self) -> dict[str, Setting]:
        """Add the share of random choices."""
        return {**super().dials, "epsilon": self.epsilon}


class TrustExpert(OffPolicyAgent):
    """Learn by the return, and follow the planner where its steps lead to more value than the policy's."""

    Config = TrustExpertConfig
    takes_images = False
    counts = (*OffPolicyAgent.counts, "epsilon")

    def __init__(self, config: TrustExpertConfig, problem: Problem) -> None:
        problem.task_model()  # says what to do without one
        super().__init__(config, problem)
        epsilon = self.dials.find("epsilon")
        assert epsilon is not None
        always = highest_value(config.kl_weight) > 0 or self.uses_virtual
        self.who_acts = SwitchActs(self.skip_values, epsilon, problem.device, always_plan=always)

    def make_networks(self, config: TrustExpertConfig, problem: Problem) -> None:
        """Add the values of the switch."""
        super().make_networks(config, problem)
        self.skip_values = SkipValues(self.model.input_dim, config.size.mlp_dim, config.skips, self.critic.two_hot)
        self.optimizers["switch"] = parts.policy_optimizer(config, self.skip_values)

    @property
    def replay_extras(self) -> tuple[str, ...]:
        """Add who acted, and by a new choice or not."""
        return (*super().replay_extras, "actor", "chosen")

    def act(self, tensordict: TensorDictBase, explore: bool) -> TensorDictBase:
        """Mark random steps. See :meth:`MPPIRL.act`."""
        tensordict = super().act(tensordict, explore)
        if explore and not self.budget.begun:
            tensordict["actor"] = torch.full_like(tensordict["is_init"], RANDOM, dtype=torch.float32)
            tensordict["chosen"] = torch.ones_like(tensordict["actor"])
        return tensordict

    def explore(self, tensordict: TensorDictBase, action: Tensor, std: Tensor) -> Tensor:
        """Follow the expert without noise, and keep its plan."""
        tensordict["plan_mean"], tensordict["plan_std"] = action, std
        return action

    def learn(self, data: TensorDictBase) -> dict[str, Any]:
        """Add ``expert_share``, the expert's share of the steps that were not random."""
        metrics, actor = super().learn(data), data["actor"]
        chosen = actor != RANDOM
        return metrics | ({"expert_share": (actor[chosen] == EXPERT).float().mean()} if bool(chosen.any()) else {})

    def update(
        self, batch: TensorDictBase, indices: Tensor | None = None, *, in_burst: bool = False
    ) -> dict[str, Tensor]:
        """Update everything once, then the values of the switch. See :meth:`OffPolicyAgent.update`."""
        metrics = super().update(batch, indices, in_burst=in_burst)
        loss = self.skip_values.loss(self.model.inputs(batch["encoded"][:-1]), *self.switch_targets(batch))
        self.optimizer_step("switch", loss, batch)
        return metrics | {"switch_loss": loss.detach()}

    @torch.no_grad()
    def switch_targets(self, batch: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Make targets of the switch, and which are valid, both ``[time, batch, who, skip]``."""
        names = ("reward", "terminated", "actor", "chosen")
        reward, ended, actor, chosen = (batch[name][:-1].squeeze(-1) for name in names)
        reward = reward - self.config.expert_cost * (actor == EXPERT)
        value = self.values.slow(batch["encoded"][1:])
        return skip_targets(reward, ended > 0, actor, chosen > 0, value, self.config.skips, self.discount)
