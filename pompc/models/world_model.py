"""The latent world model of TD-MPC2 (Hansen et al. 2024, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pompc.errors import UserError
from pompc.models.config import ModelSize
from pompc.networks.encoders import PixelEncoder, StateEncoder
from pompc.networks.layers import initialise, mlp, simplices
from pompc.networks.twohot import TwoHot

IMAGE_SIZE = (64, 64)


class TaskEmbedding(nn.Module):
    """A learned vector, an action mask and a discount for each task of a multi-task model.

    Args:
        action_masks: 1 for the actions a task has ``[task, action]``.
        discounts: discount of each task ``[task]``.
        dim: size of the vector.
    """

    action_masks: Tensor
    discounts: Tensor

    def __init__(self, action_masks: Tensor, discounts: Tensor, dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(len(discounts), dim)
        self.register_buffer("action_masks", action_masks, persistent=False)
        self.register_buffer("discounts", discounts, persistent=False)

    def forward(self, state: Tensor) -> Tensor:
        """Replace the last entry, the task's index, by its vector: ``[..., latent + 1]`` -> ``[..., latent + dim]``."""
        return torch.cat([state[..., :-1], self.table(self.index(state))], dim=-1)

    @torch.no_grad()
    def bound(self) -> None:
        """Shorten vectors to length one at most, after a step of their optimizer (TD-MPC2's ``max_norm``)."""
        self.table.weight.copy_(torch.renorm(self.table.weight, 2, 0, 1.0))

    def index(self, state: Tensor) -> Tensor:
        """Read the task of a state ``[..., latent + 1]``: integers ``[...]``."""
        return state[..., -1].long()


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

    Attributes:
        input_dim: size of the networks' view of a state.

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
        self.dynamics = mlp([self.input_dim + action_dim, *hidden, size.latent_dim], last=simplices(simnorm_group))
        self.reward_head = mlp([self.input_dim + action_dim, *[size.mlp_dim] * reward_layers, len(two_hot.bins)])
        self.termination_head = mlp([self.input_dim, *hidden, 1]) if episodic else None
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
        """Take a latent step: ``[..., state]``, ``[..., action]`` -> ``[..., state]``."""
        latent = self.dynamics(torch.cat([self.inputs(state), action], dim=-1))
        return latent if self.tasks is None else torch.cat([latent, state[..., -1:]], dim=-1)

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
