"""The parts an off-policy agent is built of: networks, optimizers, replay."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from pompc.data.replay import SliceReplay
from pompc.errors import UserError
from pompc.model_learning.make import explicit_model
from pompc.models.imagination import HeadImagination, Imagination
from pompc.models.known import KnownModel
from pompc.models.protocols import Model
from pompc.models.tasks import TaskEmbedding
from pompc.models.world_model import WorldModel
from pompc.networks.critics import Critic, make_critic
from pompc.networks.layers import INITIALISERS, LAST_WEIGHTS, fuse_activations
from pompc.networks.policies import POLICIES, LatentPolicy
from pompc.networks.twohot import TwoHot
from pompc.offpolicy import losses
from pompc.offpolicy.optimism import HeadMean, OptimisticHeads
from pompc.offpolicy.proposals import PolicyRollouts
from pompc.offpolicy.targets import OneStep, StoredReturn
from pompc.planner import MPPI
from pompc.planner.ensemble import EnsembleMPPI
from pompc.problem import Problem
from pompc.system.precision import warn_of_slow_products
from pompc.system.process import require_compiler, require_memory

if TYPE_CHECKING:
    from pompc.offpolicy.agent import OffPolicyAgent
    from pompc.offpolicy.config import OffPolicyConfig


def make_world_model(config: OffPolicyConfig, problem: Problem) -> WorldModel:
    """Build the world model that fits an environment.

    Raises:
        UserError: latent states are to be normalised in groups that do not fit.
    """
    normalised = config.simnorm_for(problem.action_dim)
    if normalised:
        config.check_simplices(config.size.latent_dim)
    return WorldModel(
        problem.image_shape or (problem.observation_dim,),
        problem.action_dim,
        config.size,
        simnorm_group=config.simnorm_group if normalised else None,
        two_hot=_two_hot(config),
        episodic=config.episodic_for(problem.terminates),
        tasks=_task_embedding(config, problem),
        reward_layers=config.reward_layers,
        reward_init=LAST_WEIGHTS[config.reward_init],
        dynamics_heads=config.dynamics_heads,
    )


def _task_embedding(config: OffPolicyConfig, problem: Problem) -> TaskEmbedding | None:
    if problem.tasks is None:
        return None
    columns = torch.arange(problem.action_dim)
    masks = torch.stack([(columns < dim).float() for dim in problem.tasks.action_dims])
    discounts = torch.tensor([config.discount_for(length) for length in problem.tasks.episode_lengths])
    return TaskEmbedding(masks, discounts, config.task_dim)


def _two_hot(config: OffPolicyConfig) -> TwoHot:
    return TwoHot(config.num_bins, config.bin_low, config.bin_high)


def make_known_model(config: OffPolicyConfig, problem: Problem) -> KnownModel:
    """Take the environment's explicit model, with the learned parts that the config asks for.

    Raises:
        UserError: there is none, or observations are images.
    """
    if problem.image_shape is not None:
        raise UserError(
            f"algo.model={config.model} reads flat observations, not images {problem.image_shape}: take "
            "algo.model=learned, or the environment without images"
        )
    try:
        return KnownModel(explicit_model(config, config.model, problem))
    except UserError as error:
        raise UserError(f"algo.model={config.model}: {error}, or algo.model=learned") from error


@dataclass(frozen=True)
class ModelKind:
    """How an off-policy agent gets its model, and learns it.

    Attributes:
        make: builds the model that fits an environment.
        loss: of the model and of the values on a batch, as :func:`pompc.offpolicy.losses.world_model_loss`.
    """

    make: Callable[[OffPolicyConfig, Problem], Model]
    loss: Callable[[OffPolicyAgent, TensorDictBase], tuple[Tensor, dict[str, Tensor]]]


MODELS = {
    "learned": ModelKind(make_world_model, losses.world_model_loss),
    "known": ModelKind(make_known_model, losses.known_model_loss),
    "residual": ModelKind(make_known_model, losses.known_model_loss),
}
"""Kinds of models by the name that ``algo.model`` takes."""


def make_policy(config: OffPolicyConfig, problem: Problem, model: Model) -> LatentPolicy:
    """Build a policy over the states of a model."""
    return POLICIES[config.policy](
        model.input_dim,
        config.size.mlp_dim,
        problem.action_dim,
        log_std_min=config.log_std_min,
        log_std_max=config.log_std_max,
        tasks=model.tasks,
        inputs=model.inputs,
    )


def make_critic_of(config: OffPolicyConfig, input_dim: int) -> Critic:
    """Build the value ensemble over inputs of a size."""
    return make_critic(
        input_dim,
        config.size.mlp_dim,
        config.size.ensemble_size,
        _two_hot(config),
        dropout=config.dropout,
        initialiser=INITIALISERS[config.critic_init],
        random_value_scale=config.random_value_scale,
    )


def make_optimism(config: OffPolicyConfig) -> HeadMean | OptimisticHeads:
    """Make what the planner takes for the value of a state."""
    return OptimisticHeads(config.optimism, config.scale_rate) if config.optimism else HeadMean()


def make_targets(config: OffPolicyConfig) -> OneStep:
    """Make the source of value targets."""
    return OneStep() if config.target_steps is None else StoredReturn(config.target_steps)


def make_proposals(config: OffPolicyConfig) -> PolicyRollouts:
    """Make what proposes action sequences to the planner."""
    return PolicyRollouts(config.num_proposals, config.proposal_noise, config.proposals_after)


def make_planner(
    config: OffPolicyConfig,
    problem: Problem,
    imagination: Imagination,
    discount: float,
    optimism: HeadMean | OptimisticHeads,
) -> MPPI:
    """Make the planner over a model and a cost; ``optimism`` joins the returns through several heads of the dynamics."""
    discount = discount if imagination.ends_in_value else config.cost_discount
    iterations = config.iterations_for(problem.action_dim)
    options = dataclasses.replace(config.planner, discount=discount, num_iterations=iterations)
    warn_of_slow_products(options.matmul_precision, problem.device)
    given = (options, imagination, imagination, problem.action_dim)
    if not isinstance(imagination.model, WorldModel) or imagination.model.dynamics_heads == 1:
        return MPPI(*given, device=problem.device)
    heads = [HeadImagination(imagination.model, head) for head in range(imagination.model.dynamics_heads)]
    return EnsembleMPPI(*given, members=heads, join=optimism.join, device=problem.device)


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


def model_optimizer(config: OffPolicyConfig, model: nn.Module, critic: Critic) -> torch.optim.Optimizer:
    """Make Adam for the model and the value heads; the model's ``encoder``, if it has one, learns more slowly."""
    encoder = [parameter for name, parameter in model.named_parameters() if name.startswith("encoder.")]
    slow = {id(parameter) for parameter in encoder}
    others = [p for p in (*model.parameters(), *critic.heads.parameters()) if id(p) not in slow]
    groups = [{"params": encoder, "lr": config.learning_rate * config.encoder_lr_scale}, {"params": others}]
    return torch.optim.Adam([group for group in groups if group["params"]], lr=config.learning_rate, fused=True)


def policy_optimizer(config: OffPolicyConfig, policy: nn.Module) -> torch.optim.Optimizer:
    """Make Adam as TD-MPC2 sets it for policies."""
    return torch.optim.Adam(policy.parameters(), lr=config.learning_rate, eps=1e-5, fused=True)


def make_replay(config: OffPolicyConfig, problem: Problem, extras: tuple[str, ...]) -> SliceReplay:
    """Make a replay of sequences of ``config.sequence_steps`` transitions.

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
    return SliceReplay(config.buffer_size, envs, config.sequence_steps, device=problem.device, extras=extras)


def require_replay_memory(config: OffPolicyConfig, problem: Problem) -> None:
    """Refuse a replay whose observations do not fit into the memory.

    Raises:
        UserError: the memory does not suffice; the message names the size and the option to change.
    """
    shape, count = problem.image_shape, config.buffer_size
    size = 4 * problem.observation_dim if shape is None else math.prod(shape)  # float32, or uint8
    require_memory(f"a replay of {count:,} observations", count * size, problem.device, "lower algo.buffer_size")
