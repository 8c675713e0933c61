"""A network that learns the error of an explicit model's dynamics (after Salzmann et al., RA-L 2023, arXiv 2203.07747)."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torch.nn import functional

from pompc.data.statistics import RunningMoments
from pompc.model_learning.config import ModelLearningConfig
from pompc.model_learning.part import LearnedPart, StandardisedNet
from pompc.models.known import observation_dim
from pompc.models.protocols import TaskModel

ROUNDING = 1e-6  # an error below this share of a state entry's standard deviation counts as rounding


class ResidualNetwork(StandardisedNet):
    """The network of a :class:`ResidualModel`, with the statistics that scale it.

    Args:
        task: the explicit model.
        hidden_sizes: widths of the hidden layers.

    Attributes:
        errors: moments of the absolute error of every state entry.
        states: moments of the states.
        scale: mean absolute error of every state entry ``[state]``, 0 for those that the task predicts up to rounding.
    """

    scale: Tensor

    def __init__(self, task: TaskModel, hidden_sizes: tuple[int, ...]) -> None:
        super().__init__(observation_dim(task), task.action_dim, task.state_dim, hidden_sizes)
        self.errors, self.states = RunningMoments(task.state_dim), RunningMoments(task.state_dim)
        self.register_buffer("scale", torch.zeros(task.state_dim))

    @torch.no_grad()
    def take_in(self, observation: Tensor, state: Tensor, error: Tensor) -> None:
        """Update the statistics by observations, states and the task's errors ``[transition, ...]``."""
        self.normaliser.update(observation)
        self.states.update(state)
        self.errors.update(error.abs())
        mean = self.errors.mean
        self.scale.copy_(torch.where(mean > ROUNDING * self.states.var.sqrt(), mean, 0.0))

    def in_units(self, error: Tensor) -> Tensor:
        """Divide errors ``[..., state]`` by their scale; entries without scale become 0."""
        return torch.where(self.scale > 0, error / self.scale.clamp_min(torch.finfo().tiny), 0.0)


class ResidualModel(LearnedPart):
    """The task's equations of motion plus a learned correction: ``step = task.step + S net(observe(x), u)``.

    ``S`` is the running mean of the task's absolute one-step error in every state entry. Entries that the task predicts
    exactly stay untouched, and before the first transition the model is the task's.

    Args:
        task: the explicit model. If its state has periodic entries it should be
            :class:`~pompc.models.protocols.Periodic`.
        options: how the network learns.
        num_envs: environments in the data.
    """

    name = "residual"
    network: ResidualNetwork

    def __init__(self, task: TaskModel, options: ModelLearningConfig, num_envs: int) -> None:
        network = ResidualNetwork(task, options.hidden_sizes)
        super().__init__(task, network, options, num_envs=num_envs, slice_steps=options.rollout_steps)

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """Predict one step: ``[..., state]``, ``[..., action]`` -> ``[..., state]``."""
        network = self.network
        return self.task.step(state, action) + network.scale * network(self.task.observe(state), action)

    def examine(self, fresh: TensorDictBase) -> dict[str, Tensor]:
        """Take statistics of the task's errors; compare the model's errors with them.

        A step that terminates an episode may be shorter than others, so it is left out here and in :meth:`loss`.

        Returns:
            ``residual_error``: mean absolute one-step error over that of the task alone, in units of :attr:`scale`; 1
            without learning, 0 for a perfect model.
        """
        fresh = fresh[~fresh["next", "terminated"].squeeze(-1)]
        if len(fresh) == 0:
            return {}
        state, action = self.task.state(fresh["observation"]), fresh["action"]
        then = self.task.state(fresh["next", "observation"])
        error = self.difference(then, self.task.step(state, action))
        left = self.difference(then, self.step(state, action))
        self.network.take_in(fresh["observation"], state, error)
        left, error = (self.network.in_units(x).abs().mean() for x in (left, error))
        return {"residual_error": left / error} if error > 0 else {}

    def loss(self, batch: TensorDictBase) -> Tensor:
        """Average the Huber loss of the errors along a rollout from an observed state, in units of :attr:`scale`.

        Args:
            batch: ``observation``, ``action`` and ``terminated`` ``[rollout_steps + 1, batch, ...]``.
        """
        states = self.task.state(batch["observation"])
        predicted, errors = states[0], []
        for action, then in zip(batch["action"][:-1], states[1:], strict=True):
            predicted = self.step(predicted, action)
            errors.append(self.network.in_units(self.difference(then, predicted)))
        error = torch.stack(errors)
        huber = functional.huber_loss(error, torch.zeros_like(error), reduction="none").sum(-1)
        whole = (batch["terminated"][:-1].squeeze(-1) == 0).float()
        entries = (self.network.scale > 0).sum().clamp_min(1)
        return (huber * whole).sum() / whole.sum().clamp_min(1.0) / entries
