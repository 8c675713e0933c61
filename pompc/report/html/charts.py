"""The data of the charts, as plain containers for JSON: numbers have six digits, what is missing is ``None``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pompc.report import learning_curves
from pompc.report.comparison import TRACES
from pompc.report.runs import AXES, Run
from pompc.report.scores import last_evaluation
from pompc.report.statistics import iqm

if TYPE_CHECKING:
    from pompc.report.comparison import EnvironmentComparison, Method, Profiles
    from pompc.report.learning_curves import Line

DIGITS = 6
MOST_POINTS, FEWEST_POINTS, ALL_POINTS = 200, 40, 6000
"""Points of a run's training metric: the most, the fewest, and how many all runs of an environment share."""
NO_TRACES = ("step", "episodes")
"""Columns of metrics.csv that count along with the axis."""


def numbers(values: Iterable[float]) -> list[float | None]:
    """Round numbers for JSON; what is not finite becomes ``None``."""
    return [_number(float(value)) for value in values]


def _number(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def environment_data(entry: EnvironmentComparison) -> dict[str, Any]:
    """Collect what the charts of an environment draw."""
    most = max(FEWEST_POINTS, min(MOST_POINTS, ALL_POINTS // len(entry.runs)))
    pairs = [(name, run) for name, method in entry.methods.items() for run in method.runs]
    return {
        "name": entry.name,
        "runs": [_run(name, run, metrics(entry), most) for name, run in pairs],
        "bands": {metric: _bands(entry, metric) for metric in metrics(entry)},
        "middles": {column: _middles(entry, column) for column in columns(entry)},
        "published": _published(entry),
        "profile": profile_data(entry.profiles),
        "episodes": [_episodes(name, run) for name, run in pairs],
        "without": {axis: without(entry, axis) for axis in AXES},
    }


def _published(entry: EnvironmentComparison) -> list[dict[str, Any]]:
    """Cut published curves where the runs end, but not before their first point after step 0."""
    end = max(float(run.eval["step"].max()) for run in entry.runs)
    limit = max([end, *(step for band in entry.published for step in band.steps[band.steps > 0][:1])])
    cut = [band.until(limit) for band in entry.published]
    return [
        {"name": band.label, "x": numbers(band.steps)}
        | {key: numbers(values) for key, values in (("middle", band.mean), ("low", band.low), ("high", band.high))}
        for band in cut
    ]


def constants(entry: EnvironmentComparison) -> dict[str, float]:
    """Find the columns of metrics.csv that have one value in all runs, and the value."""
    found = {}
    for column in columns(entry):
        values = np.concatenate([run.metrics[column] for run in entry.runs if column in run.metrics])
        known = np.unique(values[np.isfinite(values)])
        if len(known) == 1:
            found[column] = float(known[0])
    return found


def metrics(entry: EnvironmentComparison) -> list[str]:
    """List the columns of eval.csv with a finite number."""
    return [key for key in entry.metrics if any(np.isfinite(run.eval.get(key, np.nan)).any() for run in entry.runs)]


def columns(entry: EnvironmentComparison) -> list[str]:
    """List the columns of metrics.csv with a finite number: first those of the dials, then the others by name."""
    found = {
        column
        for run in entry.runs
        for column, values in run.metrics.items()
        if column not in NO_TRACES and np.isfinite(values).any()
    }
    return [column for column in TRACES if column in found] + sorted(found - set(TRACES))


def without(entry: EnvironmentComparison, axis: str) -> str:
    """Say which methods cannot be drawn over an axis, and why; empty if all can."""
    unknown = [name for name, method in entry.methods.items() if not any(_has_axis(run, axis) for run in method.runs)]
    still = [name for name in entry.methods if name not in unknown and not _moves(entry.methods[name], axis)]
    words = [f"{'; '.join(unknown)} (no timing.csv)"] if unknown else []
    words += [f"{'; '.join(still)} (makes none)"] if still else []
    return f"Not over {AXES[axis]}: {', '.join(words)}." if words else ""


def _has_axis(run: Run, axis: str) -> bool:
    return bool(np.isfinite(run.axis(axis, run.eval["step"])).any())


def _moves(method: Method, axis: str) -> bool:
    """Whether any run of a method gets beyond 0 on an axis; a method without a planner makes no model steps."""
    return any(np.nan_to_num(run.axis(axis, run.eval["step"])).max() > 0 for run in method.runs)


def _run(name: str, run: Run, shown: Sequence[str], most: int) -> dict[str, Any]:
    kept = _thinned(len(run.metrics.get("step", ())), most)
    steps = run.metrics["step"][kept] if run.metrics else np.array([])
    return {
        "method": name,
        "seed": run.seed,
        "x": _places(run, run.eval["step"]),
        "eval": {metric: numbers(run.eval[metric]) for metric in shown if metric in run.eval},
        "trace_x": _places(run, steps),
        "traces": {
            column: numbers(values[kept])
            for column, values in run.metrics.items()
            if column not in NO_TRACES and np.isfinite(values).any()
        },
    }


def _thinned(count: int, most: int) -> np.ndarray:
    """Choose evenly spaced rows, the first and the last among them: indices ``[at most most]``."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)) if count else np.array([], int)


def _places(run: Run, steps: np.ndarray) -> dict[str, list[float | None]]:
    return {axis: numbers(run.axis(axis, steps)) for axis in AXES}


def _bands(entry: EnvironmentComparison, metric: str) -> dict[str, dict[str, Any]]:
    """Compute the bands of a metric: ``{axis: {method: its band}}``."""
    found: dict[str, dict[str, Any]] = {}
    for axis in AXES:
        for name, curve in entry.curves(metric, axis).items():
            if axis == "step" or _moves(entry.methods[name], axis):
                band = curve.band
                found.setdefault(axis, {})[name] = {
                    "x": numbers(curve.places),
                    "middle": numbers(band.middle),
                    "low": numbers(band.low),
                    "high": numbers(band.high),
                    "runs": band.runs.tolist(),
                }
    return found


def _middles(entry: EnvironmentComparison, column: str) -> dict[str, dict[str, Any]]:
    """Compute the interquartile means of a training metric over the runs: ``{axis: {method: its line}}``."""
    found: dict[str, dict[str, Any]] = {}
    for axis in AXES:
        for name, method in entry.methods.items():
            lines = [learning_curves.line(run, run.metrics, column, axis) for run in method.runs]
            there = [line for line in lines if line is not None and line.places[-1] > 0]
            if there:
                places, middle = _middle(there)
                found.setdefault(axis, {})[name] = {"x": numbers(places), "middle": numbers(middle)}
    return found


def _middle(lines: Sequence[Line]) -> tuple[np.ndarray, np.ndarray]:
    """Average lines where all of them are: places and interquartile means ``[point]``."""
    start, end = max(line.places[0] for line in lines), min(line.places[-1] for line in lines)
    shortest = min((line.places for line in lines), key=len)
    places = np.linspace(start, end, min(len(shortest), MOST_POINTS)) if start <= end else np.array([])
    return places, iqm(learning_curves.on_places(lines, places), axis=0)


def profile_data(profiles: Profiles) -> dict[str, Any]:
    """Collect performance profiles."""
    return {
        "x": numbers(profiles.thresholds),
        "bands": {
            name: {key: numbers(values) for key, values in _ends(band).items()}
            for name, band in profiles.bands.items()
        },
    }


def _ends(band: Any) -> Mapping[str, np.ndarray]:
    return {"middle": band.middle, "low": band.low, "high": band.high}


def _episodes(name: str, run: Run) -> dict[str, Any]:
    values = {
        key: column
        for key, column in last_evaluation(run).items()
        if key not in ("step", "seed", "episode") and np.isfinite(column).any()
    }
    return {"method": name, "seed": run.seed, "values": {key: numbers(column) for key, column in values.items()}}
