"""Learning curves from evaluation files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

LABELS = {"reward": "return", "success": "success rate", "cost": "cost per episode", "length": "episode length"}


def read_eval(path: Path) -> dict[str, np.ndarray]:
    """The columns of an eval.csv ``[rows]`` as float64."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in (rows[0] if rows else ())}


def on_common_steps(runs: Sequence[dict[str, np.ndarray]], column: str) -> tuple[np.ndarray, np.ndarray]:
    """``steps [points]`` and ``values [runs, points]`` on the steps all runs cover, linear in between.

    The points are those of the run with the fewest evaluations in the common range.
    """
    end = min(run["step"].max() for run in runs)
    grids = [run["step"][run["step"] <= end] for run in runs]
    steps = min(grids, key=len)
    return steps, np.stack([np.interp(steps, run["step"], run[column]) for run in runs])


def plot_learning_curve(
    files: Sequence[Path] | dict[str, Sequence[Path]], output: Path, *, column: str = "reward", title: str = ""
) -> Path:
    """Draw the mean over seeds, with a band of one standard error, and write a PNG.

    Where a method ends before the longest one, its last value goes on as a dashed line.

    Args:
        files: the eval.csv files of one method's seeds, or label -> files for several methods.
        output: the PNG.
        column: which quantity.
        title: above the axes.

    Returns:
        ``output``.
    """
    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    ends: list[tuple[float, float]] = []
    groups = files if isinstance(files, dict) else {"": files}
    for label, paths in groups.items():
        runs = [run for run in map(read_eval, paths) if run]
        if not runs:
            continue
        steps, values = on_common_steps(runs, column)
        mean = values.mean(axis=0)
        ends.append((steps[-1], mean[-1]))
        (line,) = axes.plot(steps, mean, marker="o", markersize=3, label=label or None)
        if len(runs) > 1:
            error = values.std(axis=0, ddof=1) / np.sqrt(len(runs))
            axes.fill_between(steps, mean - error, mean + error, alpha=0.2, color=line.get_color(), linewidth=0)
    for (end, value), line in zip(ends, list(axes.lines), strict=True):
        if end < max(ends)[0]:
            axes.plot([end, max(ends)[0]], [value, value], "--", color=line.get_color(), alpha=0.7)
    axes.set(xlabel="environment steps", ylabel=f"evaluation {LABELS.get(column, column)}", title=title)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if value >= 1000 else f"{value:g}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if any(groups):
        axes.legend(frameon=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output)
    return output
