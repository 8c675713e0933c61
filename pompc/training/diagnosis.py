"""What an evaluation finds out about its agent: the error of its values, and its bare policy beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from pompc.config.run_options import EvalConfig
from pompc.errors import UserError

if TYPE_CHECKING:
    from pompc.agent import MPPIRL
    from pompc.environment import EnvironmentFamily

VALUE, REWARD, DISCOUNT = "value", "reward", "discount"
"""Entries of :meth:`MPPIRL.diagnose <pompc.agent.MPPIRL.diagnose>` from which :func:`value_errors` are computed."""

DETAILS = (
    *("value", "value_error_rms", "value_error_start", "planner_kl"),
    *("policy_reward", "policy_success", "policy_value_error"),
)
"""Columns that the line of an evaluation leaves out; ``eval.csv`` and ``pompc eval`` have them."""


class DiagnosedEpisodes:
    """Collect what an agent says of the steps of an evaluation."""

    def __init__(self) -> None:
        self._steps: list[dict[str, np.ndarray]] = []

    def add(self, found: Mapping[str, Tensor]) -> None:
        """Add a step of all environments, each entry ``[num_envs]``; every step has the same entries."""
        self._steps.append({name: column.double().cpu().numpy() for name, column in found.items()})

    def of(self, env: int, *, terminated: bool) -> dict[str, float]:
        """Summarise the steps of an environment so far, which is in its first episode.

        Args:
            env: index of the environment.
            terminated: whether the episode terminated; otherwise it goes on unseen.

        Returns:
            The entries of :func:`value_errors` if the agent has values, and the mean of every other entry over the steps
            that know it.
        """
        series = {name: np.array([step[name][env] for step in self._steps]) for name in self._steps[0]}
        valued = [series.pop(name) for name in (VALUE, REWARD, DISCOUNT)] if VALUE in series else None
        errors = {} if valued is None else value_errors(*valued, terminated=terminated)
        return errors | {name: _mean(column) for name, column in series.items()}


def value_errors(value: np.ndarray, reward: np.ndarray, discount: np.ndarray, *, terminated: bool) -> dict[str, float]:
    """Compare the values of an episode with its discounted returns.

    After a termination the returns are known. An episode that was truncated or cut goes on unseen: its last value stands
    for its last return. That value errs too, so of an error ``e`` that all its values share, only the part
    ``1 - discount^n`` shows n steps before the end. The differences are divided by this part, which weighs them in the
    means: an error that is the same everywhere is found exactly, and exact values have error 0.

    Args:
        value: value of the decision in every step ``[step]``, in units of the reward.
        reward: ``[step]``.
        discount: discount from every step to the next ``[step]``.
        terminated: whether the last step terminated the episode.

    Returns:
        ``value`` (mean over steps), and of value minus return: ``value_error`` (mean; positive is overestimation),
        ``value_error_rms`` (root mean square) and ``value_error_start`` (of the first step). An error is nan if no return
        is known: in a truncated episode of one step, or without a discount.
    """
    returned, unseen = (0.0, 0.0) if terminated else (value[-1], 1.0)
    differences, shown = np.zeros(len(value)), np.zeros(len(value))
    for step in range(len(value) - 1 if terminated else len(value) - 2, -1, -1):
        returned, unseen = reward[step] + discount[step] * returned, discount[step] * unseen
        differences[step], shown[step] = value[step] - returned, 1.0 - unseen
    errors = np.divide(differences, shown, out=np.zeros(len(value)), where=shown > 0)
    total = shown.sum()
    return {
        "value": value.mean(),
        "value_error": differences.sum() / total if total else math.nan,
        "value_error_rms": math.sqrt((shown * errors**2).sum() / total) if total else math.nan,
        "value_error_start": errors[0] if shown[0] else math.nan,
    }


def compares_policy(agent: MPPIRL, family: EnvironmentFamily, options: EvalConfig) -> bool:
    """Decide whether evaluations also play their episodes by the bare policy; see ``eval.compare_policy``.

    Raises:
        UserError: the option asks for it, and the agent has no policy over actions, or no planner.
    """
    possible = agent.planner is not None and agent.has_policy(agent.config)
    if options.compare_policy and not possible:
        raise UserError(
            f"eval.compare_policy=true is not applicable to {type(agent).__name__}, which lacks a planner or a learned "
            "policy over actions: leave it out"
        )
    if options.compare_policy is None:
        return possible and options.diagnose and not options.policy and family.max_envs is None
    return options.compare_policy


@contextmanager
def bare_policy(agent: MPPIRL) -> Iterator[None]:
    """Let evaluations inside the block act by the policy alone."""
    before, agent.policy_alone = agent.policy_alone, True
    try:
        yield
    finally:
        agent.policy_alone = before


def with_policy(planned: Sequence[dict[str, float]], alone: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """Add to every episode what the bare policy reached in the same one.

    Args:
        planned: episodes of the agent.
        alone: the same episodes of the bare policy.

    Returns:
        The episodes with ``policy_reward``, ``policy_gap`` (the agent's return minus the policy's), ``policy_success`` and,
        if the agent has values, ``policy_value_error``.
    """
    return [episode | _beside(episode, bare) for episode, bare in zip(planned, alone, strict=True)]


def _beside(episode: Mapping[str, float], bare: Mapping[str, float]) -> dict[str, float]:
    known = [name for name in ("reward", "success", "value_error") if name in bare]
    if math.isnan(bare["success"]):  # the environment does not say
        known.remove("success")
    return {**{f"policy_{name}": bare[name] for name in known}, "policy_gap": episode["reward"] - bare["reward"]}


def _mean(column: np.ndarray) -> float:
    """Average the finite entries; nan without any."""
    known = column[np.isfinite(column)]
    return known.mean() if known.size else math.nan
