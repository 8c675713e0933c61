"""Score methods: one score per run, their interquartile mean and its interval (Agarwal et al. 2021)."""

from __future__ import annotations

import csv
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from pompc.errors import UserError

RESAMPLES = 10_000
FEWEST_RUNS = 5  # of a task for an interval: with fewer, a percentile bootstrap covers far less than 95 %
INTERVAL = "95 % interval"
RANGE = "range of runs"
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


def interquartile_mean(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """Average the middle half of the runs' scores (Agarwal et al. 2021): ``[..., run]`` -> ``[...]``."""
    return stats.trim_mean(scores, 0.25, axis=axis)


def bootstrap_interval(tasks: Sequence[np.ndarray], seed: int = 0) -> tuple[float, float]:
    """Bootstrap the 95 % percentile interval of the interquartile mean over all runs.

    The bootstrap resamples runs within each task (Agarwal et al. 2021, stratified), never episodes: episodes show how well
    one run's score is known, not how much runs differ.

    Args:
        tasks: scores ``[run]`` of every task, at least two runs each; normalised if there are several tasks.
        seed: seed of the resampling.

    Returns:
        Lower and upper end.
    """

    def pooled(*drawn: np.ndarray, axis: int) -> np.ndarray:
        return interquartile_mean(np.concatenate(drawn, axis=axis), axis=axis)

    found = stats.bootstrap(tasks, pooled, n_resamples=RESAMPLES, method="percentile", vectorized=True, rng=seed)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def interval_or_range(tasks: Sequence[np.ndarray]) -> dict[str, str | float]:
    """Bound the score of a method: ``low``, ``high`` and their meaning, ``extent``.

    The bounds are :func:`bootstrap_interval`, or with fewer than ``FEWEST_RUNS`` runs of a task the lowest and the highest
    run.

    Args:
        tasks: scores ``[run]`` of every task.
    """
    if min(map(len, tasks)) >= FEWEST_RUNS:
        low, high = bootstrap_interval(tasks)
        return {"low": low, "high": high, "extent": INTERVAL}
    scores = np.concatenate(tasks)
    return {"low": float(scores.min()), "high": float(scores.max()), "extent": RANGE}


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
        "iqm": float(interquartile_mean(scores)),
        **interval_or_range(tasks),
    }
