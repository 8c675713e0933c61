"""Imitation of the planner by a policy that acts alone: behaviour cloning, DAgger, PlanNetX.

The planner solves the task with its explicit model and cost; the policy learns from the plans. Lambda is infinite, and no
values are learned. The planner acts while collecting (behaviour cloning; Karg and Lucia 2020, arXiv 1806.10644), or a
mixture in which the policy's share rises to one (DAgger; Ross et al. 2011, arXiv 1011.0686). The loss compares first
actions, distributions, or whole plans (PlanNetX; Hoffmann et al. 2024, arXiv 2404.18863). docs/imitate.md: equations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.config.options import NonNegativeInt, PositiveInt, PositiveShare, Top
from pompc.dials import KLWeight
from pompc.errors import UserError
from pompc.offpolicy import parts
from pompc.offpolicy.agent import OffPolicyAgent
from pompc.offpolicy.config import OffPolicyConfig, PolicyName
from pompc.offpolicy.expert_query import ExpertQuery, ImitatorActs, plans_made, require_expert
from pompc.offpolicy.imitation import make_imitator, make_loss
from pompc.offpolicy.update_budget import EagerBudget
from pompc.planner import MPPIConfig, Plan
from pompc.problem import Problem
from pompc.schedules import highest_value
from pompc.system.precision import matmul_precision


@dataclass(frozen=True, kw_only=True)
class ImitateConfig(OffPolicyConfig):
    """Options of :class:`Imitate` beside those of off-policy learning; those of values and models have no effect.

    Attributes:
        imitation: the loss: ``policy_nll`` (likelihood of the plan's distribution), ``action_mse`` (error of the first
            action), ``plan_controls`` and ``plan_states`` (errors of all controls and of all states of the plan).
        reanalyze_interval: updates between two queries, which plan from sampled states without a label; 1 labels every
            sampled state, and the planner then plans only where it acts. 0 labels by the plan made in every step.
        hidden_sizes: widths of the hidden layers of the policy, a ReLU network.
        discount: of the planner's cost per step.
    """

    kl_weight: KLWeight = math.inf
    model: Literal["known", "residual"] = "known"
    planner_cost: Literal["reward", "task"] = "task"
    planner: Annotated[MPPIConfig, Top()] = field(default_factory=lambda: MPPIConfig(num_samples=256))
    num_proposals: int = 0
    imitation: Literal["policy_nll", "action_mse", "plan_states", "plan_controls"] = "action_mse"
    reanalyze_interval: NonNegativeInt = 0
    hidden_sizes: tuple[PositiveInt, ...] = (64, 64)
    discount: PositiveShare = 1.0
    policy: PolicyName = "clamped"
    log_std_min: float = -3.0
    log_std_max: float = 1.0
    sequence: int | None = 1
    seed_steps: int | None = 0
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        require_expert(self.planner)
        if self.kl_weight != math.inf or highest_value(self.virtual_ratio) > 0:
            raise UserError("imitate learns no values: give kl_weight=.inf and virtual_ratio=0, or take pompc")
        if self.follows_disagreement:
            raise UserError("policy_share moves by the disagreement of values, which imitate has none of: take linear")


class Imitate(OffPolicyAgent):
    """Imitate the planner on an environment with an explicit model."""

    Config = ImitateConfig
    takes_images = False
    counts = (*OffPolicyAgent.counts, "plans")

    def __init__(self, config: ImitateConfig, problem: Problem) -> None:
        problem.task_model()  # says what to do without one
        super().__init__(config, problem)
        self.budget = EagerBudget.of(config, problem)
        self.query = ExpertQuery(config.reanalyze_interval, self.replay_extras)
        if (share := self.dials.find("policy_share")) is not None:
            self.who_acts = ImitatorActs(share, config.policy_hold, problem.device, lazy=self.query.interval > 0)

    def make_networks(self, config: ImitateConfig, problem: Problem) -> None:
        """Make the policy alone."""
        self.loss = make_loss(config.imitation, self.model)
        self.view = self.loss.view
        self.policy = make_imitator(config, self.view, config.hidden_sizes, problem.action_dim)
        self.optimizers["policy"] = parts.policy_optimizer(config, self.policy)

    @property
    def replay_extras(self) -> tuple[str, ...]:
        """Add the whole planned mean if the loss compares with it."""
        return ("plan_mean", "plan_std", *(("planned_mean",) if self.loss.whole_plan else ()))

    def terminal_value(self) -> None:
        """Return no value: the horizon ends with the cost's own last term."""

    def diagnose(self, stepped: TensorDictBase) -> dict[str, Tensor]:
        """Measure the divergence from the plan, if the loss learns a distribution. See :meth:`MPPIRL.diagnose`."""
        return self.loss.diagnose(self, stepped)

    def random_plan(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return zeros: a random action is no label."""
        return torch.zeros_like(action), torch.zeros_like(action)

    def explore(self, tensordict: TensorDictBase, action: Tensor, std: Tensor) -> Tensor:
        """Act without noise, and keep the plan as the label."""
        tensordict["plan_mean"], tensordict["plan_std"] = action, std
        return action

    def record(self, tensordict: TensorDictBase, plan: Plan, candidates: Any, chosen: Tensor) -> None:
        """Keep the whole planned mean if the loss compares with it."""
        if self.loss.whole_plan:
            tensordict["planned_mean"] = plan.mean[:, 0]

    def act(self, tensordict: TensorDictBase, explore: bool) -> TensorDictBase:
        """Keep an empty plan if none was made. See :meth:`MPPIRL.act`."""
        tensordict = super().act(tensordict, explore)
        if explore and self.loss.whole_plan and "planned_mean" not in tensordict.keys():  # noqa: SIM118 - a TensorDict
            tensordict["planned_mean"] = torch.zeros_like(tensordict["planner_mean"])
        return tensordict

    def learn(self, data: TensorDictBase) -> dict[str, Any]:
        """See the new observations, then learn; ``plans`` counts the states planned from so far."""
        self.view.see(data)
        return {**super().learn(data), "plans": plans_made(self)}

    def update(
        self, batch: TensorDictBase, indices: Tensor | None = None, *, in_burst: bool = False
    ) -> dict[str, Tensor]:
        """Take one gradient step towards the labels of a batch. See :meth:`OffPolicyAgent.update`."""
        with matmul_precision(self.config.matmul_precision):
            if indices is not None:
                self.query(self, batch, indices)
            batch["state"] = self.model.encode(batch["observation"])
            loss, metrics = self.policy_loss(batch)
            norm = self.optimizer_step("policy", loss, batch)
        self.updates += 1
        self.dials.update(0.0, self.steps)
        return {**metrics, "policy_loss": loss.detach(), "policy_grad_norm": norm}

    def policy_loss(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, Any]]:
        """Average the chosen loss over the states that have a label."""
        return self.loss.mean(self, batch)
