"""The latent family: planning and learning in the latent space of a world model (TD-MPC2 and its descendants)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torch.nn import functional

from pompc.agent import MPPIRL, Problem
from pompc.data.replay import SliceReplay
from pompc.dynamics.critics import Critic
from pompc.dynamics.imagination import Imagination
from pompc.dynamics.layers import INITIALISERS, fuse_activations
from pompc.dynamics.policies import POLICIES, PolicySample
from pompc.dynamics.protocols import TerminalValue
from pompc.dynamics.twohot import TwoHot
from pompc.dynamics.world_model import TaskEmbedding, WorldModel
from pompc.errors import NonFiniteError
from pompc.learning.latent_config import LatentConfig
from pompc.learning.scale import RunningScale
from pompc.learning.virtual_latent import virtual_sequences
from pompc.planner import MPPI, Plan
from pompc.planner.weights import systematic_resample
from pompc.precision import matmul_precision


class LatentMPPIRL(MPPIRL):
    """An off-policy agent that plans with a learned world model; TD-MPC2 (Hansen et al. 2024) where both dials are zero.

    Subclasses override :meth:`value_target`, :meth:`policy_loss`, :meth:`planner_prior` and what they need beside.
    Batches are time first: ``observation [horizon + 1, batch, ...]``, and of every step ``action``, ``reward``,
    ``terminated``, ``prior_mean`` and ``prior_std`` (the plan the action was drawn from) ``[horizon, batch, ...]``.

    Args:
        config: options.
        problem: the environment.
    """

    Config = LatentConfig
    takes_images = True
    learns_policy_in_pretraining = True

    def __init__(self, config: LatentConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        size, two_hot = config.size, TwoHot(config.num_bins, config.bin_low, config.bin_high)
        tasks = self._tasks(problem)
        self.greedy = config.greedy_evaluation
        self.discount = config.discount_for(problem.episode_length)
        self.seed_steps = config.seed_steps_for(problem.episode_length)
        self.model = WorldModel(
            problem.image_shape or (problem.observation_dim,),
            problem.action_dim,
            size,
            simnorm_group=config.simnorm_group,
            two_hot=two_hot,
            episodic=config.episodic,
            tasks=tasks,
        )
        spread = {"log_std_min": config.log_std_min, "log_std_max": config.log_std_max}
        policy = POLICIES[config.policy]
        self.policy = policy(self.model.input_dim, size.mlp_dim, problem.action_dim, **spread, tasks=tasks)
        self.critic = Critic(
            self.critic_dim,
            size.mlp_dim,
            size.num_values,
            two_hot,
            dropout=config.dropout,
            initialiser=INITIALISERS[config.critic_init],
        )
        self.return_scale, self.kl_scale = RunningScale(config.scale_rate), RunningScale(config.scale_rate)
        imagination = Imagination(self.model)
        options = dataclasses.replace(
            config.planner, discount=self.discount, num_iterations=config.iterations_for(problem.action_dim)
        )
        self.planner = MPPI(options, imagination, imagination, problem.action_dim, device=problem.device)
        self.horizon = options.horizon
        extras = ("prior_mean", "prior_std", *(("planned",) if self.uses_virtual else ()))
        self.replay = SliceReplay(
            config.buffer_size, problem.num_envs, self.horizon, device=problem.device, extras=extras
        )
        if config.compile:
            fuse_activations(self)
        self._terminal_value = self.state_value
        if options.compile:
            self._terminal_value = torch.compile(self.state_value, dynamic=False)
        self._make_optimisers()
        self.transitions, self.pretrain_left, self.owed = 0, -1, 0.0
        self.eval()

    def _tasks(self, problem: Problem) -> TaskEmbedding | None:
        if problem.tasks is None:
            return None
        columns = torch.arange(problem.action_dim)
        masks = torch.stack([(columns < dim).float() for dim in problem.tasks.action_dims])
        discounts = torch.tensor([self.config.discount_for(length) for length in problem.tasks.episode_lengths])
        return TaskEmbedding(masks, discounts, self.config.task_dim)

    def _make_optimisers(self) -> None:
        config = self.config
        encoder = list(self.model.encoder.parameters())
        slow = {id(parameter) for parameter in encoder}
        others = [p for p in (*self.model.parameters(), *self.critic.heads.parameters()) if id(p) not in slow]
        groups = [{"params": encoder, "lr": config.learning_rate * config.encoder_lr_scale}, {"params": others}]
        self.optimisers["model"] = torch.optim.Adam(groups, lr=config.learning_rate, fused=True)
        self.optimisers["policy"] = self.policy_optimiser(self.policy)

    def policy_optimiser(self, policy: torch.nn.Module) -> torch.optim.Optimizer:
        """Adam as TD-MPC2 sets it for policies."""
        return torch.optim.Adam(policy.parameters(), lr=self.config.learning_rate, eps=1e-5, fused=True)

    # -- acting ------------------------------------------------------------------------------------------------------

    def act(self, tensordict: TensorDictBase, explore: bool) -> TensorDictBase:
        """Plan; at random while the first ``seed_steps`` transitions are collected.

        Entries of an action that the task ignores are zero.
        """
        planned = not explore or self.transitions > self.seed_steps
        tensordict = super().act(tensordict, explore) if planned else self.act_randomly(tensordict)
        tasks = self.model.tasks
        if tasks is not None:
            mask = tasks.action_masks[tasks.index(tensordict["observation"])]
            tensordict["action"] = tensordict["action"] * mask
            if explore and self.uses_virtual:
                tensordict["planned"] = tensordict["planned"] * mask[:, None, None]
        return tensordict

    def act_randomly(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Uniform actions, and what stands for a plan beside them."""
        warm_start = tensordict["planner_mean"]
        sequences = torch.rand((len(warm_start), self.config.virtual_count, *warm_start.shape[1:])) * 2 - 1
        sequences = sequences.to(warm_start.device)
        tensordict["action"] = sequences[:, 0, 0]
        tensordict["prior_mean"], tensordict["prior_std"] = self.random_prior(sequences[:, 0, 0])
        if self.uses_virtual:
            tensordict["planned"] = sequences
        tensordict["next", "planner_mean"] = torch.zeros_like(warm_start)
        return tensordict

    def overlay(self, tensordict: TensorDictBase) -> None:
        """Latent states cannot be drawn into a picture."""

    def random_prior(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """What stands for the plan where an action was drawn at random: mean and spread ``[batch, action]``."""
        return action, torch.full_like(action, math.exp(self.config.log_std_max))

    def encode(self, observation: Tensor) -> Tensor:
        """The latent state of an observation."""
        return self.model.encode(observation)

    def discounts(self, state: Tensor) -> Tensor | None:
        """Of the task each environment plays, where there are several."""
        tasks = self.model.tasks
        return None if tasks is None else tasks.discounts[tasks.index(state)]

    def proposals(self, state: Tensor, log_std_range: tuple[float, float] | None = None) -> Tensor | None:
        """Rollouts of the policy ``[batch, 1, proposal, horizon, action]`` from ``state [batch, state]``."""
        if self.config.num_proposals == 0:
            return None
        state, actions = state.unsqueeze(1).expand(-1, self.config.num_proposals, -1), []
        for _ in range(self.horizon):
            actions.append(self.policy.sample(state, log_std_range).action)
            state = self.model.next(state, actions[-1])
        return torch.stack(actions, dim=-2).unsqueeze(1)

    def terminal_value(self) -> TerminalValue | None:
        """The value of the policy: mean of two heads."""
        return self._terminal_value

    def explore(self, tensordict: TensorDictBase, action: Tensor, std: Tensor) -> Tensor:
        """The planned action with noise of the plan's spread; both are kept as the policy's prior."""
        tensordict["prior_mean"], tensordict["prior_std"] = action, std
        return action + torch.randn_like(std) * std

    def record(self, tensordict: TensorDictBase, plan: Plan, candidates: Any, chosen: Tensor) -> None:
        """Sequences of the plan, drawn by weight, for virtual value targets."""
        if self.uses_virtual:
            drawn = systematic_resample(plan.weights[:, 0], self.config.virtual_count)
            tensordict["planned"] = plan.actions[:, 0][torch.arange(len(drawn), device=drawn.device)[:, None], drawn]

    @property
    def uses_virtual(self) -> bool:
        """Whether the planner's rollouts can take part in value learning."""
        return max(self.virtual_ratio.value, self.virtual_ratio.config.initial, self.virtual_ratio.config.minimum) > 0

    # -- values ------------------------------------------------------------------------------------------------------

    @property
    def critic_dim(self) -> int:
        """Size of what the critic sees: state and action."""
        return self.model.input_dim + self.problem.action_dim

    def critic_inputs(self, state: Tensor, action: Tensor | None = None) -> Tensor:
        """What the critic sees ``[..., input]`` of ``state [..., state]`` and an action, the policy's by default."""
        action = self.policy.sample(state).action if action is None else action
        return torch.cat([self.model.inputs(state), action], dim=-1)

    def state_value(self, state: Tensor) -> Tensor:
        """Value of the policy ``[...]`` at ``state [..., state]``: mean of two heads."""
        return self.critic.values(self.critic_inputs(state), self.critic.draw()).mean(0)

    def target_value(self, state: Tensor, action: Tensor | None = None) -> Tensor:
        """What targets bootstrap from ``[...]``: two target heads drawn at random, the lesser or their average."""
        values = self.critic.target_values(self.critic_inputs(state, action), self.critic.draw())
        return values.mean(0) if self.config.average_target else values.amin(0)

    def discount_of(self, state: Tensor) -> Tensor | float:
        """The discount at a state: a number, or ``[...]`` where there are several tasks."""
        tasks = self.model.tasks
        return self.discount if tasks is None else tasks.discounts[tasks.index(state)]

    def value_target(self, data: TensorDictBase) -> Tensor:
        """One-step target ``[horizon, batch]`` from the encoded next observations, without bootstrap at terminations."""
        then = data["encoded"][1:]
        going_on = 1 - data["terminated"][:-1].squeeze(-1)
        return data["reward"][:-1].squeeze(-1) + self.discount_of(then) * going_on * self.target_value(then)

    def virtual_batch(self, data: TensorDictBase) -> TensorDictBase | None:
        """States, actions and value targets along the sequences the planner drew, rolled out by today's model."""
        return virtual_sequences(self, data["encoded"][0], data["planned"][0]) if self.virtual_ratio.value > 0 else None

    # -- learning ----------------------------------------------------------------------------------------------------

    @property
    def frames_per_batch(self) -> int:
        """One step of every environment."""
        return self.problem.num_envs

    @property
    def batches_per_row(self) -> int:
        """Steps of all environments to the next multiple of ``log_every`` transitions."""
        left = self.config.log_every - self.transitions % self.config.log_every
        return -(-left // self.problem.num_envs)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics of an update, in order."""
        losses = ("consistency_loss", "reward_loss", "value_loss", "termination_loss", "virtual_loss", "model_loss")
        return (
            *losses,
            "model_grad_norm",
            "policy_loss",
            "policy_grad_norm",
            "return_scale",
            "kl",
            "kl_scale",
            "entropy",
        )

    @property
    def backlog(self) -> int:
        """Updates owed, those before the first planned action first."""
        return max(self.pretrain_left, 0) + int(self.owed)

    def learn(self, data: TensorDictBase) -> dict[str, Any]:
        """Keep the transitions, then make the updates they call for."""
        self.replay.extend(data)
        self.transitions += data.numel()
        if self.transitions > self.seed_steps and self.replay.num_starts > 0:
            if self.pretrain_left < 0:
                given = self.config.pretrain_updates
                self.pretrain_left = self.seed_steps if given is None else given
            else:
                self.owed += self.config.update_to_data * data.numel()
        metrics = self.catch_up()
        dials = {"kl_weight": self.kl_weight.value, "virtual_ratio": self.virtual_ratio.value}
        return {**{name: metrics.get(name, math.nan) for name in self.metric_names}, **dials, "updates": self.updates}

    def catch_up(self) -> dict[str, Tensor]:
        """Make at most ``log_every`` of the updates owed; the last one's metrics."""
        metrics = {}
        for _ in range(min(self.backlog, max(self.config.log_every, self.problem.num_envs))):
            pretraining = self.pretrain_left > 0
            metrics = self.update(*self.replay.sample(self.config.batch_size), pretraining=pretraining)
            self.pretrain_left -= pretraining
            self.owed -= not pretraining
        return metrics

    def update(
        self, batch: TensorDictBase, indices: Tensor | None = None, *, pretraining: bool = False
    ) -> dict[str, Tensor]:
        """One update of everything on a batch of sequences ``[horizon + 1, batch]``.

        Args:
            batch: as the class says.
            indices: where the batch lies in the replay ``[horizon + 1, batch]``; none where it does not.
            pretraining: before the first planned action.

        Raises:
            NonFiniteError: a loss or a gradient; the batch is attached to it.
        """
        with matmul_precision(self.config.matmul_precision):
            self.refresh(batch, indices, pretraining)
            self.critic.train()
            loss, metrics = self.model_loss(batch)
            metrics |= {"model_loss": loss.detach(), "model_grad_norm": self.descend("model", loss, batch)}
            if self.learns_policy_in_pretraining or not pretraining:
                loss, more = self.policy_loss(batch)
                metrics |= {
                    **more,
                    "policy_loss": loss.detach(),
                    "policy_grad_norm": self.descend("policy", loss, batch),
                }
            metrics |= self.learn_prior(batch)
            self.critic.eval()
            self.critic.follow(self.config.target_rate)
        self.updates += 1
        self.move_dials(batch)
        return metrics

    def learn_prior(self, batch: TensorDictBase) -> dict[str, Tensor]:
        """One step of a learned prior, where the algorithm has one; its metrics."""
        return {}

    def refresh(self, batch: TensorDictBase, indices: Tensor | None, pretraining: bool) -> None:
        """Renew what the replay holds of old plans before learning from it; nothing by default."""

    def descend(self, name: str, loss: Tensor, batch: TensorDictBase) -> Tensor:
        """One clipped gradient step of an optimiser; the norm of the gradient before clipping."""
        optimiser = self.optimisers[name]
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        optimiser.zero_grad(set_to_none=True)
        loss.backward(inputs=parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.grad_clip)
        if not bool(torch.isfinite(loss.detach() + norm)):
            error = NonFiniteError(f"{name} loss", f"loss {loss.item():.6g}, gradient norm {norm.item():.6g}")
            error.batch = batch.detach()  # pyright: ignore[reportAttributeAccessIssue]
            raise error
        optimiser.step()
        return norm

    def temporal_mean(self, terms: Tensor) -> Tensor:
        """Mean over ``[time, ...]`` with every step into the future weighted by the temporal decay."""
        weights = self.config.temporal_decay ** torch.arange(len(terms), device=terms.device)
        return (terms.flatten(1).mean(1) * weights).mean()

    def model_loss(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        """Latent consistency, reward, value and termination (TD-MPC2, equation 3), along an open-loop rollout."""
        config, model = self.config, self.model
        observation, action = batch["observation"], batch["action"][:-1]
        state = model.encode(observation[0])
        with torch.no_grad():
            batch["encoded"] = torch.cat([state.detach().unsqueeze(0), model.encode(observation[1:])])
            target = self.value_target(batch)
        states = [state]
        for now in action:
            states.append(model.next(states[-1], now))
        states = torch.stack(states)
        error = (model.latent(states[1:]) - model.latent(batch["encoded"][1:])).square()
        reward = model.two_hot.cross_entropy(model.reward_logits(states[:-1], action), batch["reward"][:-1].squeeze(-1))
        losses = {"consistency_loss": self.temporal_mean(error), "reward_loss": self.temporal_mean(reward)}
        losses["value_loss"] = self.value_loss(states[:-1], action, target)
        value_loss = losses["value_loss"]
        if (virtual := self.virtual_batch(batch)) is not None:
            losses["virtual_loss"] = self.value_loss(virtual["state"], virtual["action"], virtual["target"])
            value_loss = torch.lerp(value_loss, losses["virtual_loss"], self.virtual_ratio.value)
        total = (
            config.consistency_weight * losses["consistency_loss"]
            + config.reward_weight * losses["reward_loss"]
            + config.value_weight * value_loss
        )
        if model.termination_head is not None:
            ended = batch["terminated"][:-1].squeeze(-1)
            logits = model.termination_logits(states[1:])
            losses["termination_loss"] = functional.binary_cross_entropy_with_logits(logits, ended)
            total = total + config.termination_weight * losses["termination_loss"]
        batch["state"] = states.detach()
        return total, {name: loss.detach() for name, loss in losses.items()}

    def value_loss(self, state: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of all heads with the targets ``[time, batch]``."""
        logits = self.critic.logits(self.critic_inputs(state, action))
        return self.temporal_mean(self.critic.two_hot.cross_entropy(logits, target).transpose(0, 1))

    def loss_weights(self) -> tuple[float, float]:
        """Of the return and of the planner's prior in the policy loss, from lambda: ``(1, lambda)``, or ``(0, 1)``."""
        weight = self.kl_weight.value
        return (0.0, 1.0) if math.isinf(weight) else (1.0, weight)

    def policy_loss(self, batch: TensorDictBase) -> tuple[Tensor, dict[str, Any]]:
        """``-w_Q Q / S_Q - entropy`` on all states of the rollout, ``+ w_KL KL / S_KL`` on those that have a plan.

        The two terms have running scales of their own; with infinite lambda only the second is left.
        """
        return_weight, kl_weight = self.loss_weights()
        states = batch["state"] if return_weight > 0 else batch["state"][:-1]
        sample = self.policy.sample(states)
        entropy = (
            -sample.num_actions * sample.gaussian_log_prob
        )  # as published, without the change of variables of tanh
        gain, metrics = self.config.entropy * entropy, {"entropy": entropy.detach().mean()}
        if return_weight > 0:
            value = self.critic.values(self.critic_inputs(states, sample.action), self.critic.draw()).mean(0)
            self.return_scale.update(value[0])
            gain = gain + return_weight * self.return_scale(value)
            metrics["return_scale"] = self.return_scale.value.clone()
        loss = -self.temporal_mean(gain)
        if kl_weight > 0:
            divergence = self.planner_prior(batch, sample)
            self.kl_scale.update(divergence[0])
            loss = loss + kl_weight * self.temporal_mean(self.kl_scale(divergence))
            metrics |= {"kl": divergence.detach().mean(), "kl_scale": self.kl_scale.value.clone()}
        return loss, metrics

    def planner_prior(self, batch: TensorDictBase, sample: PolicySample | None = None) -> Tensor:
        """``KL(policy || stored plan)`` of the states that have one ``[horizon, batch]``, averaged over the action."""
        sample = self.policy.sample(batch["state"]) if sample is None else sample
        return self.policy.divergence(sample[: self.horizon], batch["prior_mean"][:-1], batch["prior_std"][:-1])

    def move_dials(self, batch: TensorDictBase) -> None:
        """Advance both dials' schedules by the disagreement of the value heads, where one of them moves."""
        if self.kl_weight.fixed and self.virtual_ratio.fixed:
            return
        with torch.no_grad():
            values = self.critic.values(self.critic_inputs(batch["state"][0], batch["action"][0]))
        spread = values.var(0).mean() / (values.mean(0).var() + 1e-8)
        self.schedule(spread.item())

    # -- checkpoint --------------------------------------------------------------------------------------------------

    def training_state(self) -> dict[str, Any]:
        """Adds the replay and the counters of updates owed."""
        counters = {"transitions": self.transitions, "pretrain_left": self.pretrain_left, "owed": float(self.owed)}
        return {**super().training_state(), **counters, "replay": self.replay.state_dict()}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`training_state` returned; a state without replay is enough to act and evaluate."""
        super().load_training_state(state)
        self.transitions, self.pretrain_left, self.owed = (state[k] for k in ("transitions", "pretrain_left", "owed"))
        if "replay" in state:
            self.replay.load_state_dict(state["replay"])
