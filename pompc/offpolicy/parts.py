"""The parts an off-policy agent is built of: networks, optimizers, replay."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from pompc.data.replay import SliceReplay
from pompc.errors import UserError
from pompc.models.imagination import Imagination
from pompc.models.world_model import TaskEmbedding, WorldModel
from pompc.networks.critics import Critic, make_critic
from pompc.networks.layers import INITIALISERS, fuse_activations
from pompc.networks.policies import POLICIES, LatentPolicy
from pompc.networks.twohot import TwoHot
from pompc.planner import MPPI
from pompc.problem import Problem
from pompc.system.precision import warn_of_slow_products
from pompc.system.process import require_compiler, require_memory

if TYPE_CHECKING:
    from pompc.offpolicy.config import OffPolicyConfig


def make_world_model(config: OffPolicyConfig, problem: Problem) -> WorldModel:
    """Build the world model that fits an environment."""
    return WorldModel(
        problem.image_shape or (problem.observation_dim,),
        problem.action_dim,
        config.size,
        simnorm_group=config.simnorm_group,
        two_hot=TwoHot(config.num_bins, config.bin_low, config.bin_high),
        episodic=config.episodic_for(problem.terminates),
        tasks=_task_embedding(config, problem),
    )


def _task_embedding(config: OffPolicyConfig, problem: Problem) -> TaskEmbedding | None:
    if problem.tasks is None:
        return None
    columns = torch.arange(problem.action_dim)
    masks = torch.stack([(columns < dim).float() for dim in problem.tasks.action_dims])
    discounts = torch.tensor([config.discount_for(length) for length in problem.tasks.episode_lengths])
    return TaskEmbedding(masks, discounts, config.task_dim)


def make_policy(config: OffPolicyConfig, problem: Problem, model: WorldModel) -> LatentPolicy:
    """Build a policy over the states of a model."""
    return POLICIES[config.policy](
        model.input_dim,
        config.size.mlp_dim,
        problem.action_dim,
        log_std_min=config.log_std_min,
        log_std_max=config.log_std_max,
        tasks=model.tasks,
    )


def make_critic_of(config: OffPolicyConfig, model: WorldModel, input_dim: int) -> Critic:
    """Build the value ensemble over inputs of size ``input_dim``."""
    return make_critic(
        input_dim,
        config.size.mlp_dim,
        config.size.ensemble_size,
        model.two_hot,
        dropout=config.dropout,
        initialiser=INITIALISERS[config.critic_init],
        random_value_scale=config.random_value_scale,
    )


def make_planner(config: OffPolicyConfig, problem: Problem, model: WorldModel, discount: float) -> MPPI:
    """Make the planner over a world model."""
    iterations = config.iterations_for(problem.action_dim)
    options = dataclasses.replace(config.planner, discount=discount, num_iterations=iterations)
    warn_of_slow_products(options.matmul_precision, problem.device)
    imagination = Imagination(model)
    return MPPI(options, imagination, imagination, problem.action_dim, device=problem.device)


def fuse(agent: nn.Module, compiled: bool, device: torch.device) -> None:
    """Compile the activations of all networks into one kernel each, if asked to.

    Raises:
        UserError: there is no C++ compiler.
    """
    if not compiled:
        return
    if device.type == "cpu":
        require_compiler("algo.compile")
    fuse_activations(agent)


def model_optimizer(config: OffPolicyConfig, model: WorldModel, critic: Critic) -> torch.optim.Optimizer:
    """Make Adam for the world model and the value heads; the encoder learns more slowly."""
    encoder = list(model.encoder.parameters())
    slow = {id(parameter) for parameter in encoder}
    others = [p for p in (*model.parameters(), *critic.heads.parameters()) if id(p) not in slow]
    groups = [{"params": encoder, "lr": config.learning_rate * config.encoder_lr_scale}, {"params": others}]
    return torch.optim.Adam(groups, lr=config.learning_rate, fused=True)


def policy_optimizer(config: OffPolicyConfig, policy: nn.Module) -> torch.optim.Optimizer:
    """Make Adam as TD-MPC2 sets it for policies."""
    return torch.optim.Adam(policy.parameters(), lr=config.learning_rate, eps=1e-5, fused=True)


def make_replay(config: OffPolicyConfig, problem: Problem, horizon: int, extras: tuple[str, ...]) -> SliceReplay:
    """Make a replay of sequences of ``horizon`` transitions.

    An episode can be sampled after its end, so the replay must still hold its first steps then.

    Raises:
        UserError: the replay cannot hold an episode of every environment.
    """
    envs, length = problem.num_envs, problem.episode_length
    if length is not None and config.buffer_size // envs < length + 1:
        raise UserError(
            f"algo.buffer_size={config.buffer_size} cannot hold an episode of {length} steps of each of {envs} "
            f"environments: raise it to at least {envs * (length + 1)}"
        )
    return SliceReplay(config.buffer_size, envs, horizon, device=problem.device, extras=extras)


def require_replay_memory(config: OffPolicyConfig, problem: Problem) -> None:
    """Refuse a replay whose observations do not fit into the memory.

    Raises:
        UserError: the memory does not suffice; the message names the size and the option to change.
    """
    shape, count = problem.image_shape, config.buffer_size
    size = 4 * problem.observation_dim if shape is None else math.prod(shape)  # float32, or uint8
    require_memory(f"a replay of {count:,} observations", count * size, problem.device, "lower algo.buffer_size")
