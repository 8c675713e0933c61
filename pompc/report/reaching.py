"""How soon methods reach a score, and how many of their runs do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pompc.report.statistics import CONFIDENCE, FEWER_RESAMPLES, FEWEST_RUNS


@dataclass(frozen=True, kw_only=True)
class Reaching:
    """When the runs of a method reach a threshold; a run that does not is censored at its end, and counted.

    Attributes:
        threshold: the score to reach.
        steps: first step ``[run]`` at which each run is there; infinite for those that never are.
        reached: number of runs that reach it.
        at_first: number of runs that are there at their first evaluation, so that they may have reached it before.
        runs: number of runs.
        median: median of ``steps``: infinite if half of the runs never reach the threshold.
        low: lower end of the 95 % bootstrap interval of the median, or the first of fewer than five runs.
        high: upper end, or the last run; it may be infinite.
        censored_at: the first step at which a run ended without having reached it; nan if all reach it. An infinite median
            is above it.
    """

    threshold: float
    steps: tuple[float, ...]
    reached: int
    at_first: int
    runs: int
    median: float
    low: float
    high: float
    censored_at: float

    @property
    def is_bound(self) -> bool:
        """Whether the median is only an upper bound: half of the runs are there at their first evaluation."""
        return 2 * self.at_first >= self.runs and self.median > 0


def steps_to(steps: np.ndarray, curve: np.ndarray, threshold: float) -> float:
    """Find the first step at which a curve reaches a threshold, linear between evaluations.

    Args:
        steps: increasing steps ``[point]``.
        curve: scores ``[point]``; nan where there is none.
        threshold: the score to reach.

    Returns:
        The step; nan if the curve stays below.
    """
    there = np.isfinite(curve) & np.isfinite(steps)
    steps, curve = steps[there], curve[there]
    above = np.flatnonzero(curve >= threshold)
    if not len(above):
        return float("nan")
    after = above[0]
    if after == 0:
        return float(steps[0])
    before = after - 1
    share = (threshold - curve[before]) / (curve[after] - curve[before])
    return float(steps[before] + share * (steps[after] - steps[before]))


def threshold_of(curves: Mapping[str, np.ndarray], share: float = 0.95, origin: float | None = None) -> float:
    """Compute the score that is a share of the best mean over all methods.

    The best mean is the highest point of any method's mean curve, at the steps that all its runs cover. The threshold lies
    below it by ``(1 - share)`` of its size, or of its distance from ``origin``: for a best mean above 0 that is the share
    of it, and returns below 0 have a threshold too.

    Args:
        curves: curves ``[run, step]`` of every method; nan where a run is not there.
        share: the share.
        origin: the score that counts as nothing; 0 by default.

    Returns:
        The threshold; nan without a step that all runs of some method cover.
    """
    means = np.concatenate([runs.mean(axis=0) for runs in curves.values()])
    best = float(np.max(means, initial=-np.inf, where=np.isfinite(means)))
    if np.isinf(best):
        return float("nan")
    return best - (1 - share) * abs(best - (origin or 0.0))


def steps_to_best(
    steps: np.ndarray, curves: Mapping[str, np.ndarray], share: float = 0.95, origin: float | None = None
) -> dict[str, Reaching]:
    """Find when each method reaches a share of the best mean over all methods: :func:`threshold_of`.

    Args:
        steps: increasing steps ``[step]``, the same for all.
        curves: curves ``[run, step]`` of every method; nan where a run is not there.
        share: share of the best mean.
        origin: see :func:`threshold_of`.
    """
    threshold = threshold_of(curves, share, origin)
    return {name: reaching([steps] * len(runs), list(runs), threshold) for name, runs in curves.items()}


def reaching(steps: Sequence[np.ndarray], curves: Sequence[np.ndarray], threshold: float, seed: int = 0) -> Reaching:
    """Find when the runs of a method reach a threshold.

    Args:
        steps: increasing places ``[point]`` of every run, on any axis; nan where the run is not there.
        curves: scores ``[point]`` of every run; nan where it is not there.
        threshold: the score to reach.
        seed: seed of the bootstrap.
    """
    pairs = list(zip(steps, curves, strict=True))
    first = np.array([steps_to(places, curve, threshold) for places, curve in pairs])
    ranges = [_range(places, curve) for places, curve in pairs]
    never = np.isnan(first)
    first[never] = np.inf
    low, high = _interval_of_median(first, seed) if len(first) >= FEWEST_RUNS else (first.min(), first.max())
    censored = [end for (_, end), is_censored in zip(ranges, never, strict=True) if is_censored]
    return Reaching(
        threshold=threshold,
        steps=tuple(map(float, first)),
        reached=int((~never).sum()),
        at_first=sum(place == start for place, (start, _) in zip(first, ranges, strict=True)),
        runs=len(first),
        median=float(np.median(first)),
        low=float(low),
        high=float(high),
        censored_at=min(censored, default=float("nan")),
    )


def _range(places: np.ndarray, curve: np.ndarray) -> tuple[float, float]:
    """Find the first and the last place at which a curve is there; zeros if it is nowhere."""
    places = places[np.isfinite(places) & np.isfinite(curve)]
    return (float(places.min()), float(places.max())) if len(places) else (0.0, 0.0)


def _interval_of_median(first: np.ndarray, seed: int) -> tuple[float, float]:
    """Bootstrap the median of steps, some infinite; the ends are draws, since between a step and infinity lies nothing."""
    draws = np.random.default_rng(seed).integers(len(first), size=(FEWER_RESAMPLES, len(first)))
    medians = np.median(first[draws], axis=1)
    tail = (1 - CONFIDENCE) / 2
    return float(np.quantile(medians, tail, method="lower")), float(np.quantile(medians, 1 - tail, method="higher"))
