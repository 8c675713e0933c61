"""A constraint learned from the agent's own violations (after Jacquet and Alexis, ICRA 2024, arXiv 2402.13038)."""

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

MAX_WEIGHT = 100.0  # of a violation, if the weight follows their share
START = -2.0  # logit of the new network: nothing is forbidden


class MarginNetwork(StandardisedNet):
    """The classifier of a :class:`LearnedMargin`.

    Args:
        task: the explicit model.
        hidden_sizes: widths of the hidden layers.

    Attributes:
        violations: moments of the labels.
    """

    def __init__(self, task: TaskModel, hidden_sizes: tuple[int, ...]) -> None:
        super().__init__(observation_dim(task), 0, 1, hidden_sizes, start=START)
        self.violations = RunningMoments(1)


class LearnedMargin(LearnedPart):
    """The task with one learned constraint in the place of its own: ``margins = 1/2 - p(violation | observe(x'))``.

    A step is a violation if the environment reports a positive ``cost``. The probability is that of a classifier, so the
    constraint is kept (at least 0) up to a probability of 1/2, and lies in [-1/2, 1/2].

    Args:
        task: the explicit model.
        options: how the network learns.
        num_envs: environments in the data.
    """

    name = "margin"
    labels = ("violated",)
    network: MarginNetwork

    def __init__(self, task: TaskModel, options: ModelLearningConfig, num_envs: int) -> None:
        network = MarginNetwork(task, options.hidden_sizes)
        super().__init__(task, network, options, num_envs=num_envs, slice_steps=1)
        self.margins = self.learned  # in the place of the task's

    def learned(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Compute ``margins`` (:class:`~pompc.models.protocols.Constrained`) of the next state alone: ``[..., 1]``."""
        return 0.5 - torch.sigmoid(self.network(self.task.observe(next_state)))

    def labelled(self, data: TensorDictBase) -> TensorDictBase:
        """Add ``violated``: 1 if the step's cost is positive, nan if the environment reported none."""
        cost = data["next", "cost"]
        violated = torch.where(cost.isnan(), cost, (cost > 0).to(cost.dtype))
        return data.copy().set("violated", violated.float())

    def examine(self, fresh: TensorDictBase) -> dict[str, Tensor]:
        """Take statistics of the labels; compare the classifier with them.

        Returns:
            ``margin_missed``, the share of violations that the margin allows, and ``margin_refused``, the share of other
            steps that it does not.
        """
        fresh = fresh[~fresh["violated"].squeeze(-1).isnan()]
        if len(fresh) == 0:
            return {}
        observation, violated = fresh["next", "observation"], fresh["violated"]
        allowed = self.network(observation) <= 0
        self.network.normaliser.update(observation)
        self.network.violations.update(violated)
        shares = {"margin_missed": allowed[violated > 0], "margin_refused": ~allowed[violated == 0]}
        return {name: found.float().mean() for name, found in shares.items() if len(found)}

    def loss(self, batch: TensorDictBase) -> Tensor:
        """Compute the weighted binary cross-entropy of violations.

        Args:
            batch: ``observation`` and ``violated`` ``[2, batch, ...]``.
        """
        violated = batch["violated"][0]
        known = ~violated.isnan()
        logits = self.network(batch["observation"][1])
        terms = functional.binary_cross_entropy_with_logits(
            logits, violated.nan_to_num(), reduction="none", pos_weight=self.violation_weight
        )
        return (terms * known).sum() / known.sum().clamp_min(1)

    @property
    def violation_weight(self) -> Tensor:
        """Weight of a violation in the loss, a scalar."""
        share = self.network.violations.mean
        if self.options.violation_weight is not None:
            return torch.full_like(share, self.options.violation_weight)
        return ((1 - share) / share).clamp(1.0, MAX_WEIGHT)
