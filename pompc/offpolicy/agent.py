"""The base of the off-policy agents: they plan with a world model learned from the replay (TD-MPC2 and its kin)."""

from __future__ import annotations

import math
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.data import TensorSpec

from pompc.agent import MPPIRL
from pompc.metrics import by_name
from pompc.models.imagination import PLANNER_COSTS
from pompc.models.protocols import Model, TerminalValue
from pompc.networks.optimizer_step import optimizer_step
from pompc.networks.policies import PolicySample
from pompc.networks.scale import RunningScale
from pompc.offpolicy import acting, diagnosis, losses, parts
from pompc.offpolicy.config import OffPolicyConfig
from pompc.offpolicy.disagreement import move_dials
from pompc.offpolicy.imitation import ScaledDivergence
from pompc.offpolicy.priors import Prior, StoredPlan
from pompc.offpolicy.reanalyze import Reanalyzer
from pompc.offpolicy.update_budget import UpdateBudget
from pompc.offpolicy.values import ActionValues
from pompc.offpolicy.virtual import NEGLIGIBLE, drawn_sequences, virtual_sequences
from pompc.offpolicy.watches import RangeWatch, TerminationWatch
from pompc.planner import Plan
from pompc.problem import Problem
from pompc.schedules import highest_value
from pompc.system.precision import matmul_precision


class OffPolicyAgent(MPPIRL):
    """An agent that learns a world model, values and a policy from the replay; TD-MPC2 if both dials are zero.

    A subclass replaces parts, or overrides :meth:`value_target`, :meth:`policy_loss` or :meth:`planner_kl`.

    Args:
        config: options.
        problem: the environment.

    Attributes:
        budget: says when updates are made.
        who_acts: the planner, or a mixture of planner and policy.
        prior: the distribution that lambda pulls the policy to.
        imitation: scales the divergence from the prior.
        reanalyzer: renews stored plans; ``None`` if plans are never renewed.
        values_of: the kind of values, of actions or of states.
        optimism: makes one value of the heads for the planner.
        targets: makes value targets, of one step or of several.
        proposer: makes the policy's proposals to the planner.
        learns_policy_in_burst: whether the policy learns in the first burst of updates.
    """

    Config = OffPolicyConfig
    takes_images = True
    counts = (*MPPIRL.counts, "policy_share")
    values_of: type[ActionValues] = ActionValues
    learns_policy_in_burst = True
    reanalyzer: Reanalyzer | None = None

    def __init__(self, config: OffPolicyConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        self.greedy, self.discount = config.greedy_evaluation, config.discount_for(problem.episode_length)
        self.model_kind = parts.MODELS[config.model]
        self.model: Model = self.learned_parts.adopt(self.model_kind.make(config, problem))
        self.make_networks(config, problem)
        self.optimism = parts.make_optimism(config)
        self.proposer = parts.make_proposals(config)
        self.terminations = TerminationWatch(self.model.terminates)
        self.return_scale = RunningScale(config.scale_rate)
        self.imitation = ScaledDivergence(config.scale_rate, config.kl_scale_min)
        self.prior: Prior = StoredPlan()
        self.imagination = PLANNER_COSTS[config.planner_cost](self.model)
        self.planner = parts.make_planner(config, problem, self.imagination, self.discount, self.optimism)
        self.horizon = self.planner.config.horizon
        self.replay = parts.make_replay(config, problem, self.replay_extras)
        self.budget = UpdateBudget.of(config, problem)
        self.who_acts = acting.make_who_acts(self.dials.find("policy_share"), config.policy_hold, problem.device)
        self.settle()

    def make_networks(self, config: Any, problem: Problem) -> None:
        """Make policy and values, and what learns and watches them."""
        self.policy = parts.make_policy(config, problem, self.model)
        self.values = self.values_of(self)
        self.critic = parts.make_critic_of(config, self.values.input_dim(self.model, problem))
        self.targets = parts.make_targets(config)
        self.ranges = RangeWatch(self.critic.two_hot)
        self.optimizers["model"] = parts.model_optimizer(config, self.model, self.critic)
        self.optimizers["policy"] = parts.policy_optimizer(config, self.policy)

    @property
    def replay_extras(self) -> tuple[str, ...]:
        """What the replay keeps of a step beside the transition."""
        return ("plan_mean", "plan_std", *(("planned",) if self.uses_virtual else ()))

    def settle(self) -> None:
        """Prepare new networks: everything in evaluation mode, activations fused if ``algo.compile`` asks for it."""
        parts.fuse(self, self.config.compile, self.problem.device)
        self.eval()

    def require_memory(self) -> None:
        """Refuse a replay that does not fit; see :meth:`MPPIRL.require_memory`."""
        parts.require_replay_memory(self.config, self.problem)

    # -- acting ------------------------------------------------------------------------------------------------------

    def act(self, tensordict: TensorDictBase, explore: bool) -> TensorDictBase:
        """Decide, at random until the seed phase is over and an episode has ended. See :meth:`MPPIRL.act`."""
        if explore and not self.budget.begun:
            tensordict = acting.act_randomly(self, tensordict)
        else:
            tensordict = self.who_acts(self, tensordict, explore, super().act)
        return acting.mask_actions(self.model.tasks, tensordict)

    def act_by_policy(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Take the policy's mean. See :meth:`MPPIRL.act_by_policy`."""
        return acting.act_by_policy(self, tensordict)

    def diagnose(self, stepped: TensorDictBase) -> dict[str, Tensor]:
        """Value the action, and measure the divergence from the plan. See :meth:`MPPIRL.diagnose`."""
        return diagnosis.diagnose(self, stepped)

    def random_plan(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Stand in for the plan of a random action: mean and std ``[batch, action]``."""
        return acting.near_the_action(action, self.config.log_std_max)

    def primers(self) -> dict[str, TensorSpec]:
        """Add the state of who acts to the planner's."""
        return {**super().primers(), **self.who_acts.primers()}

    def overlay(self, tensordict: TensorDictBase) -> None:
        """Draw nothing into a video: latent states have no place in a picture."""

    def encode(self, observation: Tensor) -> Tensor:
        """Encode an observation into a latent state."""
        return self.model.encode(observation)

    def discounts(self, state: Tensor) -> Tensor | None:
        """Return the discount of every environment's task ``[batch]``; ``None`` for a single task."""
        tasks = self.model.tasks
        return None if tasks is None else tasks.discounts[tasks.index(state)]

    def proposals(self, state: Tensor, log_std_range: tuple[float, float] | None = None) -> Tensor | None:
        """Roll the policy out from ``state [batch, state]``: ``[batch, 1, proposal, horizon, action]``."""
        return self.proposer(self, state, log_std_range)

    def terminal_value(self) -> TerminalValue | None:
        """Return the value of the policy; ``None`` if the planner's cost has other units."""
        return self.values.of_state if self.imagination.ends_in_value else None

    def explore(self, tensordict: TensorDictBase, action: Tensor, std: Tensor) -> Tensor:
        """Add noise of the plan's std to the planned action, and keep both as the plan of this step."""
        tensordict["plan_mean"], tensordict["plan_std"] = action, std
        return action + torch.randn_like(std) * std

    def record(self, tensordict: TensorDictBase, plan: Plan, candidates: Any, chosen: Tensor) -> None:
        """Keep sequences of the plan, drawn by weight, for virtual value targets."""
        if self.uses_virtual:
            tensordict["planned"] = drawn_sequences(plan, self.config.virtual_count)

    @property
    def uses_virtual(self) -> bool:
        """Whether the planner's rollouts can take part in value learning."""
        return highest_value(self.config.virtual_ratio) > 0

    # -- learning ----------------------------------------------------------------------------------------------------

    @property
    def frames_per_batch(self) -> int:
        """One step of every environment."""
        return self.problem.num_envs

    @property
    def batches_per_row(self) -> int:
        """Steps of all environments to the next multiple of ``log_every`` transitions."""
        left = self.config.log_every - self.budget.transitions % self.config.log_every
        return -(-left // self.problem.num_envs)

    @property
    def pending_updates(self) -> int:
        """Updates to make, the burst before the first planned action first. See :meth:`MPPIRL.pending_updates`."""
        return self.budget.updates if self.replay.num_starts else 0

    def idle_reason(self) -> str | None:
        """See :meth:`MPPIRL.idle_reason`."""
        return None if self.updates else self.budget.idle_reason(self.replay.num_starts > 0)

    def learn(self, data: TensorDictBase) -> dict[str, Any]:
        """Store the transitions ``[num_envs, time]``, then make the updates that are due."""
        self.count_steps(data)
        self.replay.extend(data)
        self.budget.add(data.numel(), can_sample=self.replay.num_starts > 0)
        self.terminations.note(data)
        return {**self.learned_parts.learn(data), **self.catch_up(), **self.dials.metrics(), "updates": self.updates}

    def catch_up(self) -> dict[str, Tensor]:
        """Make at most ``log_every`` of the pending updates; return their mean metrics."""
        made = []
        for _ in range(min(self.pending_updates, max(self.config.log_every, self.problem.num_envs))):
            made.append(self.update(*self.replay.sample(self.config.batch_size), in_burst=self.budget.in_burst))
            self.budget.spend()
        found = by_name(made)  # averaged on the device, which is not waited for
        return {name: values[0] if len(values) == 1 else torch.stack(values).mean() for name, values in found.items()}

    def update(
        self, batch: TensorDictBase, indices: Tensor | None = None, *, in_burst: bool = False
    ) -> dict[str, Tensor]:
        """Update everything once.

        Args:
            batch: sequences ``[horizon + 1, batch]``, time first: ``observation``, and of every step but the last
                ``action``, ``reward``, ``terminated``, ``plan_mean`` and ``plan_std`` (the plan the action was drawn from).
            indices: slots of the batch in the replay ``[horizon + 1, batch]``; ``None`` for a batch from elsewhere.
            in_burst: whether the update is one of the burst before the first planned action.

        Raises:
            NonFiniteError: a loss or a gradient; the batch is attached to it.
        """
        with matmul_precision(self.config.matmul_precision):
            if self.reanalyzer is not None and indices is not None and not in_burst:
                self.reanalyzer(self, batch, indices)
            self.critic.train()
            loss, metrics = self.model_loss(batch)
            metrics |= {"model_loss": loss.detach(), "model_grad_norm": self.optimizer_step("model", loss, batch)}
            if self.model.tasks is not None:
                self.model.tasks.bound()
            if self.learns_policy(in_burst):
                loss, more = self.policy_loss(batch)
                norm = self.optimizer_step("policy", loss, batch)
                metrics |= {**more, "policy_loss": loss.detach(), "policy_grad_norm": norm}
            metrics |= self.prior.learn(self, batch)
            self.critic.eval()
            self.critic.soft_update(self.config.target_rate)
        self.updates += 1
        self.ranges.look(self.updates)
        return metrics | move_dials(self, batch, metrics)

    def learns_policy(self, in_burst: bool) -> bool:
        """Tell whether the policy learns in an update."""
        return self.learns_policy_in_burst or not in_burst

    def optimizer_step(self, name: str, loss: Tensor, batch: TensorDictBase) -> Tensor:
        """Take one clipped gradient step; return the norm of the gradient before clipping."""
        most = self.config.max_grad_norm
        return optimizer_step(self.optimizers[name], loss, max_grad_norm=most, name=name, batch=batch)

    # -- hooks of the losses -----------------------------------------------------------------------------------------

    def model_loss(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum the losses of model and values; the sum, and each by name. See :mod:`pompc.offpolicy.losses`."""
        return self.model_kind.loss(self, batch)

    def value_target(self, batch: TensorDictBase) -> Tensor:
        """Make value targets ``[horizon, batch]`` from a batch with ``encoded [horizon + 1, batch, state]``."""
        return self.targets(self, batch)

    def policy_loss(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, Any]]:
        """Return the loss of return and divergence, and metrics. See :func:`pompc.offpolicy.losses.policy_loss`."""
        return losses.policy_loss(self, batch)

    def loss_weights(self) -> tuple[float, float]:
        """Return the weights of return and divergence: ``(1, lambda)``, or ``(0, 1)`` if lambda is infinite."""
        return (0.0, 1.0) if math.isinf(self.kl_weight.value) else (1.0, self.kl_weight.value)

    def planner_kl(self, batch: TensorDictBase, sample: PolicySample) -> Tensor:
        """Measure the divergence of a policy sample from the prior ``[time, batch]``, which lambda weighs."""
        return self.prior.divergence(self, batch, sample)

    def virtual_batch(self, batch: TensorDictBase) -> TensorDictBase | None:
        """Make states, actions and targets along the planner's sequences; ``None`` without virtual data."""
        off = self.virtual_ratio.value < NEGLIGIBLE
        return None if off else virtual_sequences(self, batch["encoded"][0], batch["planned"][0])

    def temporal_mean(self, terms: Tensor) -> Tensor:
        """Average ``terms [time, ...]``; every step into the future weighs less by the factor ``temporal_decay``."""
        return losses.temporal_mean(terms, self.config.temporal_decay)

    def discount_of(self, state: Tensor) -> Tensor | float:
        """Return the discount at a state: a number, or ``[...]`` with several tasks."""
        of_tasks = self.discounts(state)
        return self.discount if of_tasks is None else of_tasks

    # -- checkpoint --------------------------------------------------------------------------------------------------

    def training_state(self, *, replay: bool = True) -> dict[str, Any]:
        """Add the budget, who acts and, if asked, the replay."""
        kept = {"budget": self.budget.state_dict(), "who_acts": self.who_acts.state_dict()}
        return super().training_state(replay=replay) | kept | ({"replay": self.replay.state_dict()} if replay else {})

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`training_state` returned; a state without replay is enough to act and evaluate."""
        super().load_training_state(state)
        self.budget.load_state_dict(state["budget"])
        self.who_acts.load_state_dict(state["who_acts"])
        if "replay" in state:
            self.replay.load_state_dict(state["replay"])
