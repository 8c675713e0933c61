"""Score methods: one score per run, their interquartile mean and its interval (Agarwal et al. 2021)."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pompc.errors import UserError
from pompc.report.runs import Run
from pompc.report.statistics import interval_or_range, iqm
from pompc.training.metric_names import METRICS

ALL = "all, normalised"  # the environment of a score over several
SHOWN = {"reward": "return", "success": "success", "cost": "cost", "length": "length"}
"""Quantities of an evaluation that a table has, and their names there."""


def better(metric: str) -> str | None:
    """Say which values of a column of eval.csv are better, ``higher`` or ``lower``; ``None`` if nothing is known of it."""
    known = METRICS.get(f"eval/{metric}")
    return None if known is None or known.best is None else {"max": "higher", "min": "lower"}[known.best]


def sign(metric: str) -> int:
    """Find the factor that makes higher values better: -1 if lower ones are, else 1."""
    return -1 if better(metric) == "lower" else 1


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Returns that normalise an environment's scores: ``low`` becomes 0 and ``high`` becomes 1.

    Attributes:
        pattern: the environments' names, as a shell writes them (``dmc-*``).
        low: return of score 0.
        high: return of score 1.
    """

    pattern: str
    low: float
    high: float

    @classmethod
    def parse(cls, text: str) -> Bounds:
        """Parse ``[ENV=]LOW:HIGH``; without ``ENV=`` the bounds hold for all environments.

        Raises:
            UserError: the text has another form, or the bounds are not finite and increasing.
        """
        pattern, _, numbers = text.rpartition("=")
        low, _, high = numbers.partition(":")
        try:
            bounds = cls(pattern=pattern or "*", low=float(low), high=float(high))
        except ValueError:
            raise UserError(f"--bounds {text}: write [ENV=]LOW:HIGH, such as '*-walk=0:1000'") from None
        if not -np.inf < bounds.low < bounds.high < np.inf:
            raise UserError(f"--bounds {text}: LOW must be below HIGH, and both finite")
        return bounds

    def normalised(self, scores: np.ndarray) -> np.ndarray:
        """Normalise scores ``[run]``: ``low`` to 0, ``high`` to 1, without a limit beyond them."""
        return (scores - self.low) / (self.high - self.low)


def bounds_of(env: str, bounds: Sequence[Bounds]) -> Bounds | None:
    """Find the last bounds whose pattern fits the environment."""
    fitting = [entry for entry in bounds if fnmatch.fnmatchcase(env, entry.pattern)]
    return fitting[-1] if fitting else None


def last_evaluation(run: Run) -> dict[str, np.ndarray]:
    """Select the columns ``[episode]`` of a run's last evaluation."""
    is_last = run.episodes["step"] == run.episodes["step"][-1]
    return {key: values[is_last] for key, values in run.episodes.items()}


def run_scores(runs: Sequence[Run]) -> dict[str, np.ndarray]:
    """Average the last evaluation of every run over its episodes; ``reward`` is the run's return.

    A quantity of the whole evaluation, which no episode has, comes from the last row of eval.csv.

    Returns:
        Columns ``[run]``, those that all runs have.
    """
    means = [
        {key: values[-1] for key, values in run.eval.items()}
        | {key: values.mean() for key, values in last_evaluation(run).items()}
        for run in runs
    ]
    shared = [key for key in means[0] if all(key in run for run in means)]
    return {key: np.array([run[key] for run in means]) for key in shared}


def summary(name: str, runs: Mapping[str, np.ndarray], metric: str = "reward") -> dict[str, str | float]:
    """Summarise a method on one environment in one row.

    Args:
        name: name of the method.
        runs: its :func:`run_scores`.
        metric: the column that scores a run.
    """
    scores = runs[metric]
    return {
        "algorithm": name,
        **_centre([scores], metric),
        "std": float(scores.std(ddof=1)) if len(scores) > 1 else float("nan"),
        "step": float(runs["step"].min()),
        "points": " ".join(f"{score:{'.1f' if metric == 'reward' else '.4g'}}" for score in scores),
        **{label: float(runs[key].mean()) for key, label in SHOWN.items() if key in runs and key != metric},
    }


def over_all(
    scores: Mapping[str, Mapping[str, np.ndarray]], bounds: Sequence[Bounds], metric: str = "reward"
) -> tuple[list[dict[str, str | float]], str]:
    """Score the methods over all environments.

    Args:
        scores: ``{environment: {method: scores [run]}}``.
        bounds: scores to normalise by.
        metric: the column that the scores are of.

    Returns:
        A row per method that ran on every environment, and a note on missing bounds or left-out methods, or an empty one.
    """
    within = {env: bounds_of(env, bounds) for env in scores}
    known = {env: entry for env, entry in within.items() if entry is not None}
    if missing := [env for env in scores if env not in known]:
        return [], f"no score over all environments: --bounds ENV=LOW:HIGH is missing for {', '.join(missing)}"
    methods = dict.fromkeys(name for groups in scores.values() for name in groups)
    whole = [name for name in methods if all(name in groups for groups in scores.values())]
    rows: list[dict[str, str | float]] = [
        {
            "environment": ALL,
            "algorithm": name,
            **_centre([known[env].normalised(groups[name]) for env, groups in scores.items()], metric),
        }
        for name in whole
    ]
    partial = [name for name in methods if name not in whole]
    return rows, f"not on every environment, so not in the score over all: {', '.join(partial)}" if partial else ""


def _centre(tasks: Sequence[np.ndarray], metric: str) -> dict[str, str | float]:
    """Count the runs; give their mean and their interquartile mean with its bounds. A task counts by its runs."""
    scores = np.concatenate(tasks)
    return {
        "runs": float(len(scores)),
        SHOWN.get(metric, metric): float(scores.mean()),
        "iqm": float(iqm(scores)),
        **interval_or_range(tasks),
    }
