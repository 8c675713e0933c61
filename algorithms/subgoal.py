"""A subgoal policy warm-started by the plan's end, after Brito et al., RA-L 2021 (arXiv 2102.13073).

The policy sets the cost parameters of MPPI, as in ``adaptive_hrl`` with one candidate and no virtual data. At first the
planner acts with its nominal parameters, and the policy learns the high-level action that aims at the last state of the
plan; then it learns by PPO. In the plane of the two dials: lambda switches from infinity to 0 with the plan's end as the
prior, rho = 0. The planner always acts.

From the published description and its released code; the sets of the paper (a recurrent policy, collision constraints)
are not here (docs/hrl_mpc.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from pompc.config.options import Top
from pompc.dials import KLWeight, VirtualRatio
from pompc.errors import UserError
from pompc.models.protocols import Aiming
from pompc.onpolicy.candidates_config import VirtualSourceName
from pompc.planner import MPPIConfig, Plan
from pompc.problem import Problem
from pompc.schedules import ScheduleConfig

from .adaptive_hrl import AdaptiveHRL, AdaptiveHRLConfig


def warm_start(steps: int) -> ScheduleConfig:
    """Make the schedule of lambda that imitates for a number of environment steps and then does not."""
    return ScheduleConfig(schedule="switch", initial=math.inf, to=0.0, over=steps, clock="steps")


@dataclass(frozen=True, kw_only=True)
class SubgoalConfig(AdaptiveHRLConfig):
    """Options of :class:`Subgoal`: those of adaptive_hrl with one candidate and one value function.

    Attributes:
        kl_weight: lambda, the pull of the policy to the plan's end; while it is infinite the nominal parameters act.
    """

    kl_weight: KLWeight = field(default_factory=lambda: warm_start(100_000))
    virtual_ratio: VirtualRatio = 0.0
    planner: Annotated[MPPIConfig, Top()] = field(default_factory=lambda: MPPIConfig(num_samples=256))
    ensemble_size: int = 1
    bootstrap: float = 1.0
    candidates: int = 1
    virtual_source: VirtualSourceName = "executed"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.candidates != 1:
            raise UserError(f"algo.candidates={self.candidates}: a subgoal is one high-level action, give 1")

    @property
    def uses_returns(self) -> dict[str, bool]:
        """Leave lambda out: its prior is the plan's end."""
        return {**super().uses_returns, "kl_weight": False}


class Subgoal(AdaptiveHRL):
    """PPO over the cost parameters of MPPI, after imitation of the nominal plan's end.

    Args:
        config: options.
        problem: the environment; its explicit model must be able to aim at a state.
    """

    Config = SubgoalConfig

    def __init__(self, config: SubgoalConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        if not isinstance(self.task, Aiming):
            raise UserError(
                f"{type(self.task).__name__} cannot aim at the plan's end: give it the method "
                "aim(state) -> high-level action, or take kl_weight=0 with another algorithm"
            )
        self.aim = self.task.aim

    def cost_parameters(self, tensordict: TensorDictBase, explore: bool) -> TensorDict:
        """Add the nominal parameters as the last candidate while lambda pulls; at infinite lambda they are the only one."""
        candidates, weight = super().cost_parameters(tensordict, explore), self.kl_weight.value
        if not (explore and weight > 0):
            return candidates
        drawn = self.task.nominal.expand(len(candidates), 1, -1)
        entries = {
            "parameters": self.task.parameters(drawn),
            "drawn": drawn,
            "log_prob": torch.zeros_like(drawn[..., 0]),
        }
        nominal = TensorDict(entries, batch_size=drawn.shape[:2])
        return nominal if math.isinf(weight) else torch.cat([candidates, nominal], dim=1)

    def record(self, tensordict: TensorDictBase, plan: Plan, candidates: TensorDict | None, chosen: Tensor) -> None:
        """Write what aims at the end of the nominal plan; at infinite lambda every step is learned from."""
        super().record(tensordict, plan, candidates, chosen)
        weight = self.kl_weight.value
        if weight > 0:
            assert self.planner is not None
            mean = plan.mean[:, -1:, None]
            end = self.planner.rollout(self.encode(tensordict["observation"]), mean)[:, 0, 0, -1]
            self.planner.model_steps += mean[..., 0].numel()
            tensordict["aimed"] = self.aim(end)
        if math.isinf(weight):
            tensordict["decided"] = torch.ones_like(tensordict["decided"])

    def policy_keys(self) -> tuple[str, ...]:
        """Add what aims at the plan's end while lambda pulls."""
        return (*super().policy_keys(), *(("aimed",) if self.kl_weight.value > 0 else ()))

    def planner_kl(self, batch: TensorDictBase) -> Tensor:
        """Measure the distance of the policy's mean from what aims at the plan's end ``[sample]``.

        It is the Euclidean distance, which the released code takes, in units of half the box.
        """
        mean, _ = self.actor(batch["observation"])
        return (mean - batch["aimed"]).norm(dim=-1)
