"""Options of the parts of an explicit model that are learned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pompc.config.options import NonNegativeFloat, Options, PositiveFloat, PositiveInt
from pompc.dials import AgentConfig


@dataclass(frozen=True, kw_only=True)
class ModelLearningConfig(Options):
    """Options of :class:`~pompc.model_learning.part.LearnedPart`, one set for all parts of a model.

    Attributes:
        hidden_sizes: widths of the network's hidden layers; the planner evaluates the network in every model step.
        learning_rate: of Adam.
        batch_size: sequences of transitions per update.
        buffer_size: observations that a part keeps, over all environments.
        update_to_data: updates per transition.
        rollout_steps: model steps from an observed state in which the residual's errors count.
        max_grad_norm: largest gradient norm.
        violation_weight: weight of a violation in the learned margin's loss, in which another step weighs 1; null
            gives both kinds the same weight in total, up to 100 for a violation.
    """

    section = "algo.model_learning"

    hidden_sizes: tuple[PositiveInt, ...] = (64, 64)
    learning_rate: PositiveFloat = 3e-3
    batch_size: PositiveInt = 256
    buffer_size: PositiveInt = 100_000
    update_to_data: NonNegativeFloat = 0.1
    rollout_steps: PositiveInt = 2
    max_grad_norm: PositiveFloat = 1.0
    violation_weight: PositiveFloat | None = None


@dataclass(frozen=True, kw_only=True)
class LearnedPartsConfig(AgentConfig):
    """The parts of an explicit model that may be learned.

    Attributes:
        margins: ``task`` (the constraints that the model states, if it states any) or ``learned`` (in their place a
            classifier of the agent's own violations).
        model_learning: options of what is learned of the model: of ``algo.model=residual`` and ``algo.margins=learned``.
    """

    margins: Literal["task", "learned"] = "task"
    model_learning: ModelLearningConfig = field(default_factory=ModelLearningConfig)


@dataclass(frozen=True, kw_only=True)
class ExplicitModelConfig(LearnedPartsConfig):
    """How an agent that needs an explicit model takes it.

    Attributes:
        model: ``known`` (the environment's explicit model as it is) or ``residual`` (a network learns its error).
    """

    model: Literal["known", "residual"] = "known"
