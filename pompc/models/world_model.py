"""The latent world model of TD-MPC2 (Hansen et al. 2024, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pompc.errors import UserError
from pompc.models.config import ModelSize
from pompc.models.heads import mean_of
from pompc.models.tasks import TaskEmbedding
from pompc.networks.encoders import PixelEncoder, StateEncoder
from pompc.networks.layers import initialise, mlp, simplices
from pompc.networks.twohot import TwoHot

IMAGE_SIZE = (64, 64)


class WorldModel(nn.Module):
    """Encoder, latent dynamics, reward and, for episodic tasks, termination.

    A state is the latent ``[..., latent]``. With several tasks its last entry is the task's index, so a planner carries the
    task along its rollouts.

    Args:
        observation_shape: shape of one observation; three dimensions mean stacked frames. Flat observations of a
            multi-task environment end in the task's index.
        action_dim: size of an action.
        size: widths and depths.
        simnorm_group: entries of a group of the simplicial normalisation; ``None`` leaves it out.
        two_hot: the encoding of rewards and values.
        episodic: predict terminations.
        tasks: the tasks; ``None`` for a single task.
        reward_layers: hidden layers of the reward head.
        reward_init: initialises the reward head's last weights.
        dynamics_heads: heads of the dynamics: networks of one shape that start from other weights.

    Attributes:
        input_dim: size of the networks' view of a state.
        dynamics_heads: heads of the dynamics.

    Raises:
        UserError: images are not 64 x 64 pixels.
    """

    def __init__(
        self,
        observation_shape: tuple[int, ...],
        action_dim: int,
        size: ModelSize,
        *,
        simnorm_group: int | None,
        two_hot: TwoHot,
        episodic: bool = False,
        tasks: TaskEmbedding | None = None,
        reward_layers: int = 2,
        reward_init: Callable[[Tensor], Tensor] = nn.init.zeros_,
        dynamics_heads: int = 1,
    ) -> None:
        super().__init__()
        self.two_hot = two_hot
        self.tasks = tasks
        self.latent_dim = size.latent_dim
        embedded = 0 if tasks is None else tasks.table.embedding_dim
        self.input_dim = size.latent_dim + embedded
        if len(observation_shape) == 3:
            if observation_shape[1:] != IMAGE_SIZE:
                raise UserError(f"images of {observation_shape[1:]} pixels: the encoder takes {IMAGE_SIZE}")
            self.encoder: nn.Module = PixelEncoder(observation_shape[0], size.latent_dim, simnorm_group)
        else:
            inputs = observation_shape[0] + (0 if tasks is None else embedded - 1)
            layers = (size.encoder_dim, size.encoder_layers, size.latent_dim, simnorm_group)
            self.encoder = StateEncoder(inputs, *layers)
        hidden = [size.mlp_dim] * 2
        widths = [self.input_dim + action_dim, *hidden, size.latent_dim]
        self.dynamics = mlp(widths, last=simplices(simnorm_group))
        self.reward_head = mlp([self.input_dim + action_dim, *[size.mlp_dim] * reward_layers, len(two_hot.bins)])
        self.termination_head = mlp([self.input_dim, *hidden, 1]) if episodic else None
        self.dynamics_heads = dynamics_heads
        others = (mlp(widths, last=simplices(simnorm_group)) for _ in range(dynamics_heads - 1))
        self.more_dynamics = nn.ModuleList(others)
        initialise(self)
        reward_init(self.reward_head[-1].weight)  # pyright: ignore[reportArgumentType]

    @property
    def terminates(self) -> bool:
        """Whether the model was built with terminations."""
        return self.termination_head is not None

    def encode(self, observation: Tensor) -> Tensor:
        """Encode ``[..., observation]`` into a state ``[..., state]``."""
        if self.tasks is None:
            return self.encoder(observation)
        return torch.cat([self.encoder(self.tasks(observation)), observation[..., -1:]], dim=-1)

    def inputs(self, state: Tensor) -> Tensor:
        """Convert a state to the networks' view of it: ``[..., latent (+ task vector)]``."""
        return state if self.tasks is None else self.tasks(state)

    def next(self, state: Tensor, action: Tensor) -> Tensor:
        """Take a latent step, the mean of the heads: ``[..., state]``, ``[..., action]`` -> ``[..., state]``."""
        return mean_of([self.next_by(head, state, action) for head in range(self.dynamics_heads)])

    def next_by(self, head: int, state: Tensor, action: Tensor) -> Tensor:
        """Take a latent step by one head: ``[..., state]``, ``[..., action]`` -> ``[..., state]``."""
        dynamics = self.more_dynamics[head - 1] if head else self.dynamics
        latent = dynamics(torch.cat([self.inputs(state), action], dim=-1))
        return latent if self.tasks is None else torch.cat([latent, state[..., -1:]], dim=-1)

    def roll_out(self, head: int, state: Tensor, actions: Tensor) -> Tensor:
        """Roll a head out from ``state [..., state]`` by ``actions [time, ..., action]``: ``[time + 1, ..., state]``."""
        states = [state]
        for action in actions:
            states.append(self.next_by(head, states[-1], action))
        return torch.stack(states)

    def outcome(self, state: Tensor, action: Tensor, next_state: Tensor) -> tuple[Tensor, Tensor]:
        """Judge a step: expected reward ``[...]`` and whether it ended the episode, bool ``[...]``.

        An episode ends if its termination is likelier than not. It never ends in a model without terminations.
        """
        reward = self.reward(state, action)
        if not self.terminates:
            return reward, torch.zeros_like(reward, dtype=torch.bool)
        return reward, self.termination_logits(next_state) > 0

    def transition(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take a step and judge it: next state ``[..., state]``, reward ``[...]``, ended, bool ``[...]``."""
        next_state = self.next(state, action)
        return next_state, *self.outcome(state, action, next_state)

    def latent(self, state: Tensor) -> Tensor:
        """Drop the task's index from a state: ``[..., latent]``."""
        return state[..., : self.latent_dim]

    def reward_logits(self, state: Tensor, action: Tensor) -> Tensor:
        """Predict the distribution of a step's reward: logits ``[..., bin]``."""
        return self.reward_head(torch.cat([self.inputs(state), action], dim=-1))

    def reward(self, state: Tensor, action: Tensor) -> Tensor:
        """Predict the expected reward of a step ``[...]``."""
        return self.two_hot.decode(self.reward_logits(state, action))

    def termination_logits(self, state: Tensor) -> Tensor:
        """Predict whether an episode has ended in ``state [..., state]``: logits ``[...]``.

        Raises:
            RuntimeError: the model was built without terminations.
        """
        if self.termination_head is None:
            raise RuntimeError("this world model predicts no terminations: build it with episodic=True")
        return self.termination_head(self.inputs(state)).squeeze(-1)
