"""Give an explicit model the learned parts that a config asks for."""

from __future__ import annotations

from collections.abc import Callable

from pompc.errors import UserError
from pompc.model_learning.config import LearnedPartsConfig, ModelLearningConfig
from pompc.model_learning.margin import LearnedMargin
from pompc.model_learning.residual import ResidualModel
from pompc.models.protocols import TaskModel
from pompc.problem import Problem

Part = Callable[[TaskModel, ModelLearningConfig, Problem], TaskModel]
"""Adds a part to a model."""


def as_it_is(task: TaskModel, options: ModelLearningConfig, problem: Problem) -> TaskModel:
    """Add nothing."""
    return task


def residual(task: TaskModel, options: ModelLearningConfig, problem: Problem) -> ResidualModel:
    """Learn the error of the dynamics.

    Raises:
        UserError: no episode is long enough to learn from.
    """
    if problem.episode_length is not None and options.rollout_steps > problem.episode_length:
        raise UserError(
            f"algo.model_learning.rollout_steps={options.rollout_steps} is more than an episode of "
            f"{problem.episode_length} steps: lower it"
        )
    return ResidualModel(task, options, problem.num_envs)


def learned_margin(task: TaskModel, options: ModelLearningConfig, problem: Problem) -> LearnedMargin:
    """Learn a constraint.

    Raises:
        UserError: the environment reports no violations.
    """
    if "cost" not in problem.info_keys:
        raise UserError(
            "algo.margins=learned learns from info['cost'], which the environment does not report: take algo.margins=task"
        )
    return LearnedMargin(task, options, problem.num_envs)


DYNAMICS: dict[str, Part] = {"known": as_it_is, "residual": residual}
"""Explicit dynamics by the name that ``algo.model`` takes."""
MARGINS: dict[str, Part] = {"task": as_it_is, "learned": learned_margin}
"""Constraints by the name that ``algo.margins`` takes."""


def explicit_model(config: LearnedPartsConfig, model: str, problem: Problem) -> TaskModel:
    """Take the environment's explicit model, with the learned parts of a config.

    Args:
        config: options of the agent.
        model: a name in :data:`DYNAMICS`.
        problem: the environment.

    Raises:
        UserError: the environment has no explicit model, or no violations to learn a margin from.
    """
    task = problem.task_model()
    for part in (DYNAMICS[model], MARGINS[config.margins]):
        task = part(task, config.model_learning, problem)
    return task
