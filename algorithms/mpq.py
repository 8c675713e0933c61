"""MPQ(lambda): blend the model with a learned value along the rollout (Bhardwaj et al., ICLR 2021, arXiv 2012.05909).

Every step of a planned sequence is charged by the model and by the learned Q, and the blend b says how much by each: at 1
the planner of a value at the end of the horizon, at 0 the sequence is ranked by Q of its first action. The paper calls it
lambda, which is another dial here. b falls as the value heads agree. docs/mpq.md has the equations; the paper's loop of
learning was not at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from tensordict import TensorDictBase
from torch import Tensor

from pompc.config.options import PositiveInt, Share, Top
from pompc.errors import UserError
from pompc.offpolicy.agent import OffPolicyAgent
from pompc.offpolicy.config import OffPolicyConfig
from pompc.offpolicy.planned_targets import SoftPlans
from pompc.offpolicy.targets import OneStep
from pompc.planner import MPPIConfig
from pompc.planner.blend import BlendedMPPI, StepValue
from pompc.problem import Problem
from pompc.schedules import ScheduleConfig, Setting, check_setting

Blend = Annotated[Share | ScheduleConfig, Top()]


def falling() -> ScheduleConfig:
    """Make the default blend: from the model alone towards the values, more slowly while their heads disagree."""
    return ScheduleConfig(schedule="inv", initial=1.0, decay=0.999, minimum=0.1)


def short_planner() -> MPPIConfig:
    """Make the default planner: all samples count, so that its free energy is a value."""
    return MPPIConfig(horizon=8, num_samples=64, num_iterations=2, temperature=0.1, adapt_std=True)


@dataclass(frozen=True, kw_only=True)
class MPQConfig(OffPolicyConfig):
    """Options of :class:`MPQ` beside those of off-policy learning.

    Attributes:
        blend: b, the weight of the model against the learned value in every step of a plan: 1 the model with a value at
            the end, 0 the value of the first action. A number or a schedule.
        value_target: the value of the next state in a target: the free energy of a ``plan`` made there, or that of the
            ``policy``.
        target_samples: samples of the plans of targets.
    """

    blend: Blend = field(default_factory=falling)
    model: Literal["learned", "known", "residual"] = "known"
    planner_cost: Literal["reward"] = "reward"
    planner: Annotated[MPPIConfig, Top()] = field(default_factory=short_planner)
    num_proposals: int = 0
    mlp_dim: int | None = 128
    sequence: int | None = 1
    batch_size: int = 64
    temporal_decay: float = 1.0
    value_target: Literal["plan", "policy"] = "plan"
    target_samples: PositiveInt = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        check_setting("blend", self.blend, highest=1.0)
        if self.target_steps is not None:
            raise UserError("algo.target_steps has no effect in mpq, whose targets are of one step: leave it out")
        if self.dynamics_heads > 1:
            raise UserError(f"mpq blends rollouts of one head: leave algo.dynamics_heads={self.dynamics_heads} out")
        least = max(self.planner.num_zero_mean + self.planner.include_mean, self.planner.num_elites)
        if self.target_samples < least:
            raise UserError(
                f"algo.target_samples={self.target_samples} is fewer than the planner's elites, or than its samples around "
                f"zero and its mean: raise it to at least {least}"
            )

    @property
    def dials(self) -> dict[str, Setting]:
        """Add the blend."""
        return {**super().dials, "blend": self.blend}


class MPQ(OffPolicyAgent):
    """Plan with blended values, and learn the values from plans.

    Args:
        config: options.
        problem: the environment.
    """

    Config = MPQConfig
    counts = (*OffPolicyAgent.counts, "blend")

    def __init__(self, config: MPQConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        assert self.planner is not None
        self.planner = self._blended(self.planner.config, self.value)
        self.targets = VALUE_TARGETS[config.value_target](self)

    def _blended(self, options: MPPIConfig, step_value: StepValue) -> BlendedMPPI:
        """Make a blended planner on the agent's model."""
        dial = self.dials.find("blend")
        assert dial is not None
        return BlendedMPPI(
            options,
            self.imagination,
            self.imagination,
            self.problem.action_dim,
            device=self.problem.device,
            blend=lambda: dial.value,
            step_value=step_value,
        )

    @property
    def replay_extras(self) -> tuple[str, ...]:
        """Add the plan's next warm start, from which the plan of the target goes on."""
        return (*super().replay_extras, "next_plan")

    def act(self, tensordict: TensorDictBase, explore: bool) -> TensorDictBase:
        """Keep the next warm start for the target. See :meth:`MPPIRL.act`."""
        tensordict = super().act(tensordict, explore)
        if explore:
            tensordict["next_plan"] = tensordict["next", "planner_mean"].clone()
        return tensordict

    def value(self, state: Tensor, action: Tensor) -> Tensor:
        """Value an action for the planner ``[...]``; ``algo.optimism`` shapes it."""
        return self.optimism(self.critic, self.values.inputs(state, action))

    def planned_targets(self) -> SoftPlans:
        """Make targets from plans over the slow values, of the task's cost alone: rewards know no other."""
        assert self.planner is not None
        options = replace(self.planner.config.of_task(), num_samples=self.config.target_samples)
        return SoftPlans(self._blended(options, self.values.slow))

    def one_step_targets(self) -> OneStep:
        """Make targets from the policy's slow value."""
        return OneStep()


VALUE_TARGETS: dict[str, Callable[[MPQ], OneStep]] = {"plan": MPQ.planned_targets, "policy": MPQ.one_step_targets}
"""Sources of value targets by the name that ``algo.value_target`` takes."""
