"""Deep tracking control, from the published description of Jenelten et al., Science Robotics 2024 (arXiv 2309.15462).

PPO whose observation carries a plan as a reference. The planner plans every few steps with its nominal cost. The policy
sees where the plan goes, relative to the present, and learns to act; a reward for tracking is added while learning. In the
plane of the two dials: lambda = 0, rho = 0. The policy always acts, behind the planner.

The paper's observation, reward and planning rate were not at hand: all of them are options (docs/dtc.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, cast

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.data import TensorSpec

from pompc.config.options import NonNegativeFloat, PositiveFloat, PositiveInt, Top
from pompc.errors import UserError
from pompc.model_learning.config import ExplicitModelConfig
from pompc.model_learning.make import explicit_model
from pompc.models import KnownModel
from pompc.onpolicy.agent import OnPolicyAgent
from pompc.onpolicy.config import OnPolicyConfig
from pompc.onpolicy.reference import Reference
from pompc.planner import MPPI, MPPIConfig
from pompc.problem import Problem

LEAST_STD = 0.1
"""Least unit of a deviation: an entry of the observation that hardly ever changes must not decide about the tracking."""


@dataclass(frozen=True, kw_only=True)
class DTCConfig(ExplicitModelConfig, OnPolicyConfig):
    """Options of :class:`DTC` beside those of on-policy learning.

    Attributes:
        planner: options of the planner.
        plan_every: steps from plan to plan; the reference moves on in between.
        reference_steps: steps ahead at which the policy sees the plan's states; ``[]`` hides them.
        reference_control: show the policy the plan's present control.
        residual: add the policy's output to the plan's control, instead of taking it alone.
        tracking_weight: most that tracking adds to a reward, in its units.
        tracking_scale: deviation from the reference at which that has fallen to 1/e: the root mean square over the entries
            of the observation, in units of their standard deviations.
    """

    planner: Annotated[MPPIConfig, Top()] = field(default_factory=lambda: MPPIConfig(num_samples=256))
    plan_every: PositiveInt = 5
    reference_steps: tuple[PositiveInt, ...] = (1, 5, 10)
    reference_control: bool = True
    residual: bool = False
    tracking_weight: NonNegativeFloat = 0.1
    tracking_scale: PositiveFloat = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_dials("the policy of dtc learns from rewards alone")
        if self.planner.stochastic:
            raise UserError("planner.stochastic draws an action: dtc tracks the mean of the plan, leave it out")
        needed = max((1, *self.reference_steps)) + self.plan_every
        if needed > self.planner.horizon:
            raise UserError(
                f"the reference reaches {needed} steps ahead (algo.reference_steps plus algo.plan_every), the plan "
                f"planner.horizon={self.planner.horizon}: raise the horizon or lower one of the others"
            )


class DTC(OnPolicyAgent):
    """Track a plan with a policy that may leave it.

    Args:
        config: options.
        problem: the environment; it must have an explicit model.
    """

    Config = DTCConfig

    def __init__(self, config: DTCConfig, problem: Problem) -> None:
        task = explicit_model(config, config.model, problem)
        planner = MPPI(config.planner, task, task, task.action_dim, device=problem.device)
        seen = {"steps": config.reference_steps, "controls": config.reference_control}
        model = KnownModel(task)
        reference = Reference(planner, model, every=config.plan_every, **seen)
        super().__init__(config, problem, problem.action_dim, input_dim=reference.dim)
        self.planner, self.reference, self.model = planner, reference, self.learned_parts.adopt(model)

    def act(self, tensordict: TensorDictBase, explore: bool) -> TensorDictBase:
        """Follow the reference; draw an action when exploring, otherwise take the policy's mean."""
        states, controls = self.reference.follow(tensordict)
        view = tensordict["view"] = self.reference.view(tensordict["observation"], states, controls)
        if explore:
            drawn, log_prob = self.sample_policy(view, 1)
            action = drawn[:, 0]
            tensordict["policy_action"], tensordict["log_prob"] = action, log_prob[:, 0]
        else:
            action, _ = self.actor(self.normaliser(view))
        action = controls[:, 0] + action if self.config.residual else action
        tensordict["action"] = action.clamp(-1.0, 1.0)
        return tensordict

    def diagnose(self, stepped: TensorDictBase) -> dict[str, Tensor]:
        """Value what the policy saw; the reward for tracking counts. See :meth:`MPPIRL.diagnose`."""
        return super().diagnose(self.tracked(stepped.unsqueeze(1)).squeeze(1))

    def primers(self) -> dict[str, TensorSpec]:
        """Add the reference."""
        return {**super().primers(), **self.reference.primers()}

    def overlay(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """Return the reference of environment 0 after its next step; see ``MPPIRL.overlay``."""
        states = tensordict["next", "reference"][0]
        return states.unsqueeze(0), states

    def learn(self, data: TensorDictBase) -> dict[str, Any]:
        """Make PPO's update on what the policy saw, with the reward for tracking; see ``OnPolicyAgent.learn``."""
        return {**super().learn(self.tracked(data)), **self.learned_parts.learn(data)}

    @torch.no_grad()
    def tracked(self, data: TensorDictBase) -> TensorDictBase:
        """Put what the policy saw in the place of the observation, and add the reward for tracking.

        Args:
            data: transitions ``[num_envs, time]`` in order.

        Returns:
            The same transitions, with the environment's reward as ``("next", "task_reward")`` and the tracking in [0, 1] as
            ``("next", "tracking")``, both ``[num_envs, time, 1]``.
        """
        after, view = cast(TensorDictBase, data["next"]).copy(), data["view"]
        observation = after["observation"]
        seen = self.reference.view(observation, after["reference"], after["planner_mean"])
        # The next step may have made a new plan; at an end there is only the old one.
        seen[:, :-1] = torch.where(after["done"][:, :-1], seen[:, :-1], view[:, 1:])
        std = self.normaliser.var[: observation.shape[-1]].sqrt().clamp_min(LEAST_STD)
        deviation = self.reference.deviation(observation, after["reference"]) / std
        tracking = (-deviation.square().mean(-1, keepdim=True) / self.config.tracking_scale**2).exp()
        reward = after["reward"] + self.config.tracking_weight * tracking
        after.update({"task_reward": after["reward"], "tracking": tracking, "observation": seen, "reward": reward})
        return data.copy().set("observation", view).set("next", after)

    def diagnostics(
        self, data: TensorDictBase, real: TensorDictBase, virtual: TensorDictBase | None
    ) -> dict[str, float]:
        """Report the environment's reward, and how well the reference was tracked."""
        return {"reward": data["next", "task_reward"].mean().item(), "tracking": data["next", "tracking"].mean().item()}
