"""Actor-critic MPC, from the published description of Romero et al., ICRA 2024 (arXiv 2306.09852), and its code.

PPO through a planner. A network sets the planner's cost in every step; the action is drawn around the first one of the
plan; the policy's gradient goes through the plan to the network. Values may also learn from the planner's rollouts, the
paper's model-predictive value expansion. In the plane of the two dials: lambda = 0, rho = 0, or above 0 for the expansion.
The planner always acts.

The paper's layer is iLQR, ``algo.solver=ilqr`` here; by default it is MPPI (docs/ac_mpc.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.modules import IndependentNormal

from pompc.config.options import PositiveFloat, PositiveInt, Top
from pompc.data import warm_start
from pompc.errors import UserError
from pompc.model_learning.config import ExplicitModelConfig
from pompc.model_learning.make import explicit_model
from pompc.models import PlannerLayer
from pompc.onpolicy.cost_maps import COST_MAPS
from pompc.onpolicy.planning_actor import PlanningActor
from pompc.onpolicy.virtual_agent import VirtualDataAgent
from pompc.onpolicy.virtual_config import VirtualDataConfig
from pompc.planner import MPPI, MPPIConfig, Plan
from pompc.planner.layer import warn_of_few
from pompc.planner.noise import CommonNoise
from pompc.planner.solvers import SOLVERS
from pompc.problem import Problem


@dataclass(frozen=True, kw_only=True)
class ACMPCConfig(ExplicitModelConfig, VirtualDataConfig):
    """Options of :class:`ACMPC` beside those of on-policy learning and of virtual data.

    Attributes:
        planner: options of the planner; every minibatch plans again, so that horizon and samples are small.
        solver: ``sampled`` (MPPI as a layer) or ``ilqr`` (an exact one, which MPPI warm-starts).
        cost: what the network sets: the parameters of the ``task``'s cost, or a diagonal ``quadratic`` of observation and
            action, the paper's.
        cost_stages: parts of the horizon with different weights, for ``quadratic``.
        cost_scale: largest weight, for ``quadratic``; the paper's 1e5 is for an exact solver.
    """

    planner: Annotated[MPPIConfig, Top()] = field(
        default_factory=lambda: MPPIConfig(horizon=10, num_samples=128, noise="spline")
    )
    minibatch_size: PositiveInt = 256
    initial_std: PositiveFloat = 0.3
    solver: Literal["sampled", "ilqr"] = "sampled"
    cost: Literal["task", "quadratic"] = "task"
    cost_stages: PositiveInt = 2
    cost_scale: PositiveFloat = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kl_weight != 0:
            raise UserError("kl_weight must be 0: the policy of ac_mpc is the planner")
        if self.planner.stochastic:
            raise UserError("planner.stochastic draws a sample: ac_mpc draws around the plan, leave it out")
        if self.cost_stages > self.planner.horizon:
            raise UserError(
                f"algo.cost_stages={self.cost_stages} is above planner.horizon={self.planner.horizon}: lower it"
            )
        self.require_ensemble(self.ensemble_size)


class ACMPC(VirtualDataAgent):
    """PPO whose policy is a plan under a learned cost.

    Args:
        config: options.
        problem: the environment; it must have an explicit model.
    """

    Config = ACMPCConfig

    def __init__(self, config: ACMPCConfig, problem: Problem) -> None:
        task = explicit_model(config, config.model, problem)
        costs = COST_MAPS[config.cost](task, config.planner.horizon, config.cost_stages, config.cost_scale)
        planner = MPPI(config.planner, costs.dynamics, costs.cost, task.action_dim, device=problem.device)
        planner.noise = CommonNoise(planner.noise, problem.seed)
        planner, layer = self.make_solver(config, planner)
        sizes = (problem.observation_dim, task.action_dim, config.hidden_sizes)
        actor = PlanningActor(
            layer, costs, *sizes, initial_std=config.initial_std, remembers=warm_start.reads_applied(planner)
        )
        super().__init__(config, problem, task, task.action_dim, actor=actor)
        self.planner, self.planning = planner, actor

    @classmethod
    def make_solver(cls, config: ACMPCConfig, planner: MPPI) -> tuple[MPPI, PlannerLayer]:
        """Make what acts and the layer that learns, of one mind; override it for a solver of your own."""
        return SOLVERS[config.solver](planner)

    def cost_parameters(self, tensordict: TensorDictBase, explore: bool) -> TensorDict:
        """Let the network set the cost: one candidate, ``parameters [batch, 1, parameter]``."""
        parameters = self.planning.cost_parameters(self.normaliser(tensordict["observation"])).unsqueeze(1)
        return TensorDict({"parameters": parameters}, batch_size=parameters.shape[:2])

    def explore(self, tensordict: TensorDictBase, action: Tensor, std: Tensor) -> Tensor:
        """Draw around the plan's first action ``[batch, action]``, by the policy's own standard deviation."""
        policy = IndependentNormal(action, self.actor.log_std.exp().expand_as(action))
        drawn = policy.sample()
        tensordict["policy_action"], tensordict["log_prob"] = drawn, policy.log_prob(drawn)
        return drawn

    def record(self, tensordict: TensorDictBase, plan: Plan, candidates: TensorDict | None, chosen: Tensor) -> None:
        """Add the state that the plan begins at."""
        super().record(tensordict, plan, candidates, chosen)
        tensordict["state"] = self.encode(tensordict["observation"])

    def policy_keys(self) -> tuple[str, ...]:
        """Add what a plan is made of."""
        return (*super().policy_keys(), *(key for key in self.actor.in_keys if key != "observation"))

    def diagnostics(self, data: TensorDictBase, real: TensorDict, virtual: TensorDictBase | None) -> dict[str, float]:
        """Warn if a plan's gradient hangs on few samples; an exact plan has none to report."""
        metrics = super().diagnostics(data, real, virtual)
        if math.isnan(metrics["effective_samples"]):
            del metrics["effective_samples"]
        else:
            warn_of_few(metrics["effective_samples"])
        return metrics
