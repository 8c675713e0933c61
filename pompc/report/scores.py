"""Score methods: one score per run, their interquartile mean and its interval (Agarwal et al. 2021)."""

from __future__ import annotations

import csv
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pompc.errors import UserError
from pompc.report.statistics import interval_or_range, iqm

ALL = "all, normalised"  # the environment of a score over several


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


def last_evaluation(path: Path) -> dict[str, np.ndarray]:
    """Read the columns ``[episode]`` of the last evaluation from a run's eval_episodes.csv."""
    with open(path / "eval_episodes.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows = [row for row in rows if row["step"] == rows[-1]["step"]]
    return {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}


def run_scores(runs: Sequence[Path]) -> dict[str, np.ndarray]:
    """Average the last evaluation of every run over its episodes; ``reward`` is the run's score.

    Returns:
        Columns ``[run]``, those that all runs have.
    """
    means = [{key: values.mean() for key, values in last_evaluation(path).items()} for path in runs]
    shared = [key for key in means[0] if all(key in run for run in means)]
    return {key: np.array([run[key] for run in means]) for key in shared}


def summary(name: str, runs: Mapping[str, np.ndarray]) -> dict[str, str | float]:
    """Summarise a method on one environment in one row.

    Args:
        name: name of the method.
        runs: its :func:`run_scores`.
    """
    scores = runs["reward"]
    return {
        "algorithm": name,
        **_centre([scores]),
        "std": float(scores.std(ddof=1)) if len(scores) > 1 else float("nan"),
        "step": float(runs["step"].min()),
        "points": " ".join(f"{score:.1f}" for score in scores),
        **{key: float(runs[key].mean()) for key in ("success", "cost", "length") if key in runs},
    }


def over_all(
    scores: Mapping[str, Mapping[str, np.ndarray]], bounds: Sequence[Bounds]
) -> tuple[list[dict[str, str | float]], str]:
    """Score the methods over all environments.

    Args:
        scores: ``{environment: {method: scores [run]}}``.
        bounds: returns to normalise by.

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
            **_centre([known[env].normalised(groups[name]) for env, groups in scores.items()]),
        }
        for name in whole
    ]
    partial = [name for name in methods if name not in whole]
    return rows, f"not on every environment, so not in the score over all: {', '.join(partial)}" if partial else ""


def _centre(tasks: Sequence[np.ndarray]) -> dict[str, str | float]:
    """Count the runs; give their mean and their interquartile mean with its bounds. A task counts by its runs."""
    scores = np.concatenate(tasks)
    return {
        "runs": float(len(scores)),
        "return": float(scores.mean()),
        "iqm": float(iqm(scores)),
        **interval_or_range(tasks),
    }
