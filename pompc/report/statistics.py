"""Statistics over runs: interquartile mean, bootstrap, probability of improvement, profiles (Agarwal et al. 2021).

"Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021. The bootstrap resamples runs within
each task, never episodes: episodes show how well one run's score is known, not how much runs differ. Higher scores are
better everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CONFIDENCE, RESAMPLES, FEWER_RESAMPLES = 0.95, 10_000, 2000  # fewer for what is drawn, or computed for many pairs
FEWEST_RUNS = 5  # of a task for an interval: with fewer, a percentile bootstrap covers far less than 95 %
INTERVAL = "95 % interval"
RANGE = "range of runs"
_TAIL = (1 - CONFIDENCE) / 2


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A number and its bootstrap interval, whose ends are nan with fewer than ``FEWEST_RUNS`` runs on a side."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Band:
    """A curve over runs.

    Attributes:
        middle: the interquartile mean of the runs that are there ``[point]``; nan without a run.
        low: lower end of the interval ``[point]``, or the lowest of fewer than ``FEWEST_RUNS`` runs.
        high: upper end of the interval ``[point]``, or the highest run.
        runs: number of runs that are there ``[point]``.
    """

    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray
    runs: np.ndarray

    @property
    def extent(self) -> str:
        """Meaning of ``low`` and ``high`` at the points with the most runs: ``INTERVAL`` or ``RANGE``."""
        return INTERVAL if self.runs.max(initial=0) >= FEWEST_RUNS else RANGE


def iqm(scores: np.ndarray, axis: int = -1) -> Any:
    """Average the middle half of the runs' scores: ``[..., run]`` -> ``[...]``, and ``[run]`` -> a number.

    A quarter of the runs, rounded down, leaves each side.
    """
    ordered = np.sort(np.moveaxis(np.asarray(scores, dtype=float), axis, -1))
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)


def bootstrap_interval(tasks: Sequence[np.ndarray], seed: int = 0) -> tuple[float, float]:
    """Bootstrap the 95 % percentile interval of the interquartile mean over all runs.

    Runs are drawn within each task (stratified).

    Args:
        tasks: scores ``[run]`` of every task, at least two runs each; normalised if there are several tasks.
        seed: seed of the resampling.

    Returns:
        Lower and upper end.
    """

    def pooled(*drawn: np.ndarray, axis: int) -> np.ndarray:
        return iqm(np.concatenate(drawn, axis=axis), axis=axis)

    low, high = _bootstrap(tasks, pooled, seed=seed)
    return float(low), float(high)


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


def curve_band(
    curves: np.ndarray, confidence: float = CONFIDENCE, resamples: int = FEWER_RESAMPLES, seed: int = 0
) -> Band:
    """Bootstrap the interquartile mean of learning curves, point by point; whole runs are drawn.

    Args:
        curves: curves ``[run, point]``, nan where a run is not there.
        confidence: level of the interval.
        resamples: draws of the bootstrap.
        seed: seed of the resampling.
    """
    there = np.isfinite(curves)
    shape = curves.shape[1]
    middle, low, high = (np.full(shape, np.nan) for _ in range(3))
    for pattern in np.unique(there, axis=1).T:  # the same runs are there
        if not pattern.any():
            continue
        points = np.flatnonzero((there == pattern[:, None]).all(axis=0))
        scores = curves[np.ix_(pattern, points)].T  # [point, run]
        middle[points] = iqm(scores)
        if pattern.sum() < FEWEST_RUNS:
            low[points], high[points] = scores.min(axis=1), scores.max(axis=1)
        else:
            low[points], high[points] = _bootstrap([scores], iqm, seed=seed, confidence=confidence, resamples=resamples)
    return Band(middle=middle, low=low, high=high, runs=there.sum(axis=0))


def probability_of_improvement(a: np.ndarray, b: np.ndarray, seed: int = 0) -> Interval:
    """Estimate the probability that a run of ``a`` scores higher than a run of ``b``: :func:`mean_probability`."""
    return mean_probability([a], [b], seed=seed)


def mean_probability(a: Sequence[np.ndarray], b: Sequence[np.ndarray], seed: int = 0) -> Interval:
    """Average the probability of improvement, P(A > B), over tasks.

    On a task it is the share of pairs of runs in which A has the higher score, a tie counting half: the statistic of Mann
    and Whitney over the number of pairs. Runs of both are drawn within each task.

    Args:
        a: scores ``[run]`` of A on every task.
        b: scores ``[run]`` of B on the same tasks.
        seed: seed of the resampling.
    """

    def share(*drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.mean([_wins(*pair) for pair in zip(drawn[: len(a)], drawn[len(a) :], strict=True)], axis=0)

    return _interval([*a, *b], share, seed)


def _wins(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Share of the pairs in which ``a`` is higher: ``[..., run]``, ``[..., other]`` -> ``[...]``."""
    one, other = a[..., :, None], b[..., None, :]
    return ((one > other) + 0.5 * (one == other)).mean(axis=(-2, -1))


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Compute the share of runs that score above each threshold: ``[..., run]``, ``[n]`` -> ``[..., n]``."""
    return (scores[..., None, :] > thresholds[:, None]).mean(axis=-1)


def profile_band(tasks: Sequence[np.ndarray], thresholds: np.ndarray, seed: int = 0) -> Band:
    """Bootstrap a performance profile over all runs, drawn within each task.

    Args:
        tasks: scores ``[run]`` of every task.
        thresholds: scores ``[n]``.
        seed: seed of the resampling.

    Returns:
        The share of runs above each threshold; with fewer than ``FEWEST_RUNS`` runs of a task the band has no width.
    """

    def share(*drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.moveaxis(performance_profile(np.concatenate(drawn, axis=-1), thresholds), -1, 0)

    middle = share(*tasks)
    low = high = middle
    if min(map(len, tasks)) >= FEWEST_RUNS:
        low, high = _bootstrap(tasks, share, seed=seed, resamples=FEWER_RESAMPLES)
    return Band(middle=middle, low=low, high=high, runs=np.full(len(thresholds), sum(map(len, tasks))))


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What a method gains over a baseline.

    Attributes:
        points: difference of the mean scores; of success, 0.01 is a percentage point.
        relative: the difference over the size of the baseline's mean; infinite over a mean of 0, nan between two.
    """

    points: Interval
    relative: Interval


def gain(scores: np.ndarray, baseline: np.ndarray, seed: int = 0) -> Gain:
    """Compare the mean scores of a method's runs ``[run]`` with those of a baseline ``[other]``; both are resampled."""
    rng = np.random.default_rng(seed)
    draws = [runs[rng.integers(len(runs), size=(RESAMPLES, len(runs)))] for runs in (scores, baseline)]
    points, relative = _gains(scores[None], baseline[None])
    if min(len(scores), len(baseline)) < FEWEST_RUNS:
        ends = [(np.nan, np.nan)] * 2
    else:
        ends = [_ends(drawn) for drawn in _gains(*draws)]
    (low, high), (relative_low, relative_high) = ends
    return Gain(
        points=Interval(value=float(points[0]), low=low, high=high),
        relative=Interval(value=float(relative[0]), low=relative_low, high=relative_high),
    )


def _ends(drawn: np.ndarray) -> tuple[float, float]:
    """Find the ends of an interval among draws, of which some may be infinite: between them and a number lies nothing."""
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [_TAIL, 1 - _TAIL], method="inverted_cdf")
    return float(low), float(high)


def _gains(scores: np.ndarray, baseline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute differences of the means, and those over the size of the baseline's: ``[n, run]`` -> ``[n]``."""
    own, other = scores.mean(axis=-1), baseline.mean(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return own - other, (own - other) / np.abs(other)


def _interval(samples: Sequence[np.ndarray], statistic: Callable[..., Any], seed: int) -> Interval:
    low = high = np.nan
    if min(map(len, samples)) >= FEWEST_RUNS:
        low, high = _bootstrap(samples, statistic, seed=seed, resamples=FEWER_RESAMPLES)
    return Interval(value=float(statistic(*samples, axis=-1)), low=float(low), high=float(high))


def _bootstrap(
    samples: Sequence[np.ndarray],
    statistic: Callable[..., Any],
    *,
    seed: int,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap the percentile interval of a statistic of samples ``[..., run]``, each drawn by itself."""
    from scipy.stats import bootstrap  # here, because a training draws its one curve without it

    found = bootstrap(
        samples,
        statistic,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        vectorized=True,
        axis=-1,
        rng=seed,
    )
    return found.confidence_interval.low, found.confidence_interval.high
