"""A part of an explicit model that learns from the agent's own transitions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from pompc.data.broken import intact
from pompc.data.replay import SliceReplay
from pompc.data.statistics import RunningMoments
from pompc.model_learning.config import ModelLearningConfig
from pompc.model_learning.wrapper import TaskWrapper
from pompc.models.protocols import TaskModel
from pompc.networks.actor_critic import tanh_mlp
from pompc.networks.optimizer_step import optimizer_step


class StandardisedNet(nn.Module):
    """A tanh network on standardised observations; all its outputs are ``start`` until it learns.

    Args:
        observation_dim: size of an observation, which is standardised.
        further_dim: size of the other inputs, which are not.
        output_dim: size of the output.
        hidden_sizes: widths of the hidden layers.
        start: the outputs of the new network.
    """

    def __init__(
        self,
        observation_dim: int,
        further_dim: int,
        output_dim: int,
        hidden_sizes: tuple[int, ...],
        start: float = 0.0,
    ) -> None:
        super().__init__()
        self.normaliser = RunningMoments(observation_dim)
        self.net = tanh_mlp([observation_dim + further_dim, *hidden_sizes, output_dim], last_gain=0.0)
        nn.init.constant_(self.net[-1].bias, start)

    def forward(self, observation: Tensor, *further: Tensor) -> Tensor:
        """Map ``observation [..., observation]`` and further inputs ``[..., n]`` to ``[..., output]``."""
        return self.net(torch.cat([self.normaliser(observation), *further], -1))


class LearnedPart(TaskWrapper, ABC):
    """An explicit model with a learned part, its replay and its optimizer.

    A subclass replaces methods of the model by means of its network. The agent calls :meth:`learn` and saves the network
    with its weights (:class:`~pompc.model_learning.parts.LearnedParts`). Parts stack: ``task`` may have learned parts.

    Args:
        task: the explicit model.
        network: what learns.
        options: how it learns.
        num_envs: environments in the data.
        slice_steps: transitions of the sequences that :meth:`loss` gets.

    Attributes:
        name: prefix of the part's metrics, and its name in a checkpoint.
        labels: entries that :meth:`labelled` adds to the transitions.
        transitions: transitions learned from so far.
        updates: gradient steps so far.
    """

    name: ClassVar[str]
    labels: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, task: TaskModel, network: nn.Module, options: ModelLearningConfig, *, num_envs: int, slice_steps: int
    ) -> None:
        super().__init__(task)
        self.options = options
        self.network = network.to(task.nominal.device)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=options.learning_rate)
        device = task.nominal.device
        self.replay = SliceReplay(options.buffer_size, num_envs, slice_steps, device=device, extras=self.labels)
        self.transitions, self.updates = 0, 0

    def learn(self, data: TensorDictBase) -> dict[str, Tensor]:
        """Take in new transitions ``[num_envs, time]``, then make the updates that are due; nothing comes of broken ones.

        Returns:
            Metrics by name: those of :meth:`examine`, and the mean ``<name>_loss`` of the updates.

        Raises:
            NonFiniteError: a loss or a gradient is not finite.
        """
        data = self.labelled(data)
        good = intact(data)
        fresh = data.flatten(0, 1) if good is None else data[good]
        with torch.no_grad():
            metrics = self.examine(fresh) if len(fresh) else {}
        self.replay.extend(data)
        self.transitions += data.numel()
        losses = [self.update() for _ in range(self._due)]
        return {**metrics, **({f"{self.name}_loss": torch.stack(losses).mean()} if losses else {})}

    @property
    def _due(self) -> int:
        """Updates to make now; none until an episode has ended."""
        due = int(self.options.update_to_data * self.transitions) - self.updates
        return due if self.replay.num_starts else 0

    def update(self) -> Tensor:
        """Take one gradient step on a batch of the replay; return its loss."""
        batch, _ = self.replay.sample(self.options.batch_size)
        loss = self.loss(batch)
        name, norm = f"{self.name} of the model", self.options.max_grad_norm
        optimizer_step(self.optimizer, loss, max_grad_norm=norm, name=name, batch=batch)
        self.updates += 1
        return loss.detach()

    def labelled(self, data: TensorDictBase) -> TensorDictBase:
        """Add the :attr:`labels` to transitions ``[num_envs, time]``; the default has none."""
        return data

    @abstractmethod
    def examine(self, fresh: TensorDictBase) -> dict[str, Tensor]:
        """Take statistics of new transitions ``[transition]``, and measure the part on them before it learns from them."""

    @abstractmethod
    def loss(self, batch: TensorDictBase) -> Tensor:
        """Compute the loss on sequences of the replay ``[slice_steps + 1, batch]``, time first: a scalar."""

    def training_state(self, *, replay: bool = True) -> dict[str, Any]:
        """Return the state of learning beside the network; ``replay`` includes the stored transitions."""
        kept = {"replay": self.replay.state_dict()} if replay else {}
        counts = {"transitions": self.transitions, "updates": self.updates}
        return {**counts, "optimizer": self.optimizer.state_dict(), **kept}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`training_state` returned, with or without stored transitions."""
        self.transitions, self.updates = state["transitions"], state["updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        if "replay" in state:
            self.replay.load_state_dict(state["replay"])
