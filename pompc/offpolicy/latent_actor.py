"""The latent family: acting by planning in the latent space of a world model (TD-MPC2 and its descendants)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.agent import MPPIRL, Problem
from pompc.data.replay import SliceReplay
from pompc.dials import start_of
from pompc.errors import UserError
from pompc.models.imagination import Imagination
from pompc.models.protocols import TerminalValue
from pompc.models.world_model import TaskEmbedding, WorldModel
from pompc.networks.critics import make_critic
from pompc.networks.layers import INITIALISERS, fuse_activations
from pompc.networks.policies import POLICIES
from pompc.networks.twohot import TwoHot
from pompc.offpolicy.config import LatentConfig
from pompc.offpolicy.range_watch import RangeWatch
from pompc.offpolicy.scale import RunningScale
from pompc.offpolicy.virtual import virtual_sequences
from pompc.planner import MPPI, Plan
from pompc.planner.weights import systematic_resample
from pompc.system.precision import warn_of_slow_products
from pompc.system.process import require_compiler, require_memory

NEGLIGIBLE = 1e-3  # a smaller share of virtual data is none: a decaying ratio never reaches zero


class LatentActor(MPPIRL):
    """The networks of the latent family, how they act through the planner, and what their values say.

    Args:
        config: options.
        problem: the environment.

    Raises:
        UserError: the replay cannot hold an episode of every environment; ``compile`` or ``planner.compile`` finds no C++
            compiler.
    """

    Config = LatentConfig
    takes_images = True

    def __init__(self, config: LatentConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        size, two_hot = config.size, TwoHot(config.num_bins, config.bin_low, config.bin_high)
        tasks = self._tasks(problem)
        self.ranges = RangeWatch(two_hot)
        self.greedy = config.greedy_evaluation
        self.discount = config.discount_for(problem.episode_length)
        self.seed_steps = config.seed_steps_for(problem.episode_length)
        self.model = WorldModel(
            problem.image_shape or (problem.observation_dim,),
            problem.action_dim,
            size,
            simnorm_group=config.simnorm_group,
            two_hot=two_hot,
            episodic=config.episodic_for(problem.terminates),
            tasks=tasks,
        )
        spread = {"log_std_min": config.log_std_min, "log_std_max": config.log_std_max}
        policy = POLICIES[config.policy]
        self.policy = policy(self.model.input_dim, size.mlp_dim, problem.action_dim, **spread, tasks=tasks)
        self.critic = make_critic(
            self.critic_dim,
            size.mlp_dim,
            size.ensemble_size,
            two_hot,
            dropout=config.dropout,
            initialiser=INITIALISERS[config.critic_init],
            prior=config.random_value_scale,
        )
        self.return_scale = RunningScale(config.scale_rate)
        self.kl_scale = RunningScale(config.scale_rate, config.kl_scale_min)
        imagination = Imagination(self.model)
        options = dataclasses.replace(
            config.planner, discount=self.discount, num_iterations=config.iterations_for(problem.action_dim)
        )
        warn_of_slow_products(options.matmul_precision, problem.device)
        self.planner = MPPI(options, imagination, imagination, problem.action_dim, device=problem.device)
        self.horizon = options.horizon
        extras = ("plan_mean", "plan_std", *(("planned",) if self.uses_virtual else ()))
        self._require_room_for_an_episode()
        self.replay = SliceReplay(
            config.buffer_size, problem.num_envs, self.horizon, device=problem.device, extras=extras
        )
        self._make_optimizers()
        self.transitions, self.pretrain_left, self.owed = 0, -1, 0.0
        self.settle()

    def _require_room_for_an_episode(self) -> None:
        """An episode can be sampled when it has ended: its first steps must still be there."""
        envs, length = self.problem.num_envs, self.problem.episode_length
        if length is not None and self.config.buffer_size // envs < length + 1:
            raise UserError(
                f"algo.buffer_size={self.config.buffer_size} cannot hold an episode of {length} steps of each of {envs} "
                f"environments: raise it to at least {envs * (length + 1)}"
            )

    def require_memory(self) -> None:
        """Of the replay, which observations fill; see :meth:`~pompc.agent.MPPIRL.require_memory`."""
        shape, count = self.problem.image_shape, self.config.buffer_size
        size = 4 * self.problem.observation_dim if shape is None else math.prod(shape)  # float32, or uint8
        what = f"a replay of {count:,} observations"
        require_memory(what, count * size, self.problem.device, "lower algo.buffer_size")

    def settle(self) -> None:
        """After networks were built: their activations fused where asked, everything in evaluation mode."""
        if self.config.compile:
            if self.problem.device.type == "cpu":
                require_compiler("algo.compile")
            fuse_activations(self)
        self.eval()

    def _tasks(self, problem: Problem) -> TaskEmbedding | None:
        if problem.tasks is None:
            return None
        columns = torch.arange(problem.action_dim)
        masks = torch.stack([(columns < dim).float() for dim in problem.tasks.action_dims])
        discounts = torch.tensor([self.config.discount_for(length) for length in problem.tasks.episode_lengths])
        return TaskEmbedding(masks, discounts, self.config.task_dim)

    def _make_optimizers(self) -> None:
        config = self.config
        encoder = list(self.model.encoder.parameters())
        slow = {id(parameter) for parameter in encoder}
        others = [p for p in (*self.model.parameters(), *self.critic.heads.parameters()) if id(p) not in slow]
        groups = [{"params": encoder, "lr": config.learning_rate * config.encoder_lr_scale}, {"params": others}]
        self.optimizers["model"] = torch.optim.Adam(groups, lr=config.learning_rate, fused=True)
        self.optimizers["policy"] = self.policy_optimizer(self.policy)

    def policy_optimizer(self, policy: torch.nn.Module) -> torch.optim.Optimizer:
        """Adam as TD-MPC2 sets it for policies."""
        return torch.optim.Adam(policy.parameters(), lr=self.config.learning_rate, eps=1e-5, fused=True)

    # -- acting ------------------------------------------------------------------------------------------------------

    def act(self, tensordict: TensorDictBase, explore: bool) -> TensorDictBase:
        """Plan; at random until more than ``seed_steps`` transitions are there, and an episode has ended.

        Entries of an action that the task ignores are zero.
        """
        planned = not explore or self.pretrain_left >= 0
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
        tensordict["plan_mean"], tensordict["plan_std"] = self.random_plan(sequences[:, 0, 0])
        if self.uses_virtual:
            tensordict["planned"] = sequences
        tensordict["next", "planner_mean"] = torch.zeros_like(warm_start)
        return tensordict

    def overlay(self, tensordict: TensorDictBase) -> None:
        """Latent states cannot be drawn into a picture."""

    def random_plan(self, action: Tensor) -> tuple[Tensor, Tensor]:
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
        state = state.unsqueeze(1).expand(-1, self.config.num_proposals, -1)
        actions = [self.policy.sample(state, log_std_range).action]
        while len(actions) < self.horizon:
            state = self.model.next(state, actions[-1])
            actions.append(self.policy.sample(state, log_std_range).action)
        return torch.stack(actions, dim=-2).unsqueeze(1)

    def terminal_value(self) -> TerminalValue | None:
        """The value of the policy: mean of two heads."""
        return self.state_value

    def explore(self, tensordict: TensorDictBase, action: Tensor, std: Tensor) -> Tensor:
        """The planned action with noise of the plan's spread; both are kept as the policy's prior."""
        tensordict["plan_mean"], tensordict["plan_std"] = action, std
        return action + torch.randn_like(std) * std

    def record(self, tensordict: TensorDictBase, plan: Plan, candidates: Any, chosen: Tensor) -> None:
        """Sequences of the plan, drawn by weight, for virtual value targets."""
        if self.uses_virtual:
            drawn = systematic_resample(plan.weights[:, 0], self.config.virtual_count)
            tensordict["planned"] = plan.actions[:, 0][torch.arange(len(drawn), device=drawn.device)[:, None], drawn]

    @property
    def uses_virtual(self) -> bool:
        """Whether the planner's rollouts can take part in value learning."""
        return start_of(self.config.virtual_ratio) > 0

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

    def policy_value(self, state: Tensor, action: Tensor) -> Tensor:
        """What the policy maximises ``[...]``: the value of its action, mean of two heads."""
        return self.critic.values(self.critic_inputs(state, action), self.critic.draw()).mean(0)

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
        return self.bootstrapped(data, self.target_value(data["encoded"][1:]))

    def bootstrapped(self, data: TensorDictBase, value: Tensor) -> Tensor:
        """Stored reward plus the discounted ``value`` of what came next, none at terminations ``[horizon, batch]``."""
        going_on = 1 - data["terminated"][:-1].squeeze(-1)
        return data["reward"][:-1].squeeze(-1) + self.discount_of(data["encoded"][1:]) * going_on * value

    def virtual_batch(self, data: TensorDictBase) -> TensorDictBase | None:
        """States, actions and value targets along the sequences the planner drew, rolled out by today's model."""
        if self.virtual_ratio.value < NEGLIGIBLE:
            return None
        return virtual_sequences(self, data["encoded"][0], data["planned"][0])
