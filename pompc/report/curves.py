"""Draw learning curves from evaluation files."""

from __future__ import annotations

import csv
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pompc.report import matplotlib_backend  # noqa: F401
from pompc.report.published import Band

# isort: split
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

LABELS = {"reward": "return", "success": "success rate", "cost": "cost per episode", "length": "episode length"}
WIDTH = 60  # characters of a line in the legend
COLUMNS = 3  # panels side by side, at most


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: above the axes.
        files: label -> the eval.csv files of a method's seeds.
        bands: published curves of the same quantity, to show behind.
    """

    title: str
    files: Mapping[str, Sequence[Path]]
    bands: Sequence[Band] = ()


def read_eval(path: Path) -> dict[str, np.ndarray]:
    """Read the columns of an eval.csv as float64 ``[row]``."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in (rows[0] if rows else ())}


def on_common_steps(runs: Sequence[dict[str, np.ndarray]], column: str) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate a column linearly on the steps that all runs cover.

    The steps are those of the run with the fewest evaluations in the common range.

    Returns:
        Steps ``[point]`` and values ``[run, point]``.
    """
    end = min(run["step"].max() for run in runs)
    grids = [run["step"][run["step"] <= end] for run in runs]
    steps = min(grids, key=len)
    return steps, np.stack([np.interp(steps, run["step"], run[column]) for run in runs])


def plot_learning_curve(
    files: Sequence[Path] | dict[str, Sequence[Path]], output: Path, *, column: str = "reward", title: str = ""
) -> Path:
    """Draw one panel with the mean over seeds and their range, and write a PNG.

    Args:
        files: the eval.csv files of one method's seeds, or label -> files for several methods.
        output: the PNG.
        column: the quantity to draw.
        title: above the axes.

    Returns:
        ``output``.
    """
    groups = files if isinstance(files, dict) else {"": files}
    return plot_panels([Panel(title=title, files=groups)], output, column=column)


def plot_panels(panels: Sequence[Panel], output: Path, *, column: str = "reward") -> Path:
    """Draw small multiples with one legend, and write a PNG.

    A label has one colour in all panels: a line with dots for the mean over its seeds, and a band from the lowest to the
    highest seed. A curve that ends before the longest one continues with its last value, dashed, or dotted beside
    published curves, which are dashed. Published curves reach as far as the panel's own curves, and at least to their
    first point after step 0.

    Args:
        panels: the panels in reading order.
        output: the PNG.
        column: the quantity to draw.

    Returns:
        ``output``.
    """
    ours = [label for panel in panels for label in panel.files]
    labels = list(dict.fromkeys([*ours, *(band.label for panel in panels for band in panel.bands)]))
    colours = {label: f"C{index}" for index, label in enumerate(labels)}
    wrapped = {label: textwrap.fill(label, WIDTH) for label in labels}
    outside = len(panels) > 1 or len(labels) > len(ours) or any(label != text for label, text in wrapped.items())
    rows = math.ceil(len(panels) / COLUMNS)
    columns = math.ceil(len(panels) / rows)
    size = (6.4, 4.0) if len(panels) == 1 else (4.2 * columns, 3.1 * rows)
    legend_rows = math.ceil(sum(text.count("\n") + 1 for text in wrapped.values()) / columns) if outside else 0
    figure = Figure(figsize=(size[0], size[1] + 0.2 * legend_rows), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    handles: dict[str, Artist] = {}
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes in grid[max(0, len(panels) - columns) : len(panels)]:  # those with no panel below
        axes.set_xlabel("environment steps")
    for axes in grid[::columns]:
        axes.set_ylabel(f"evaluation {LABELS.get(column, column)}")
    for panel, axes in zip(panels, grid, strict=False):
        _draw(axes, panel, column, colours)
        handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True)) | handles
    named = {wrapped[label]: handles[label] for label in labels if label in handles}
    if outside:
        place = "outside lower center"
        figure.legend(named.values(), named.keys(), loc=place, ncols=columns, frameon=False, fontsize="small")
    elif named:
        figure.axes[0].legend(frameon=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output)
    return output


def _draw(axes: Axes, panel: Panel, column: str, colours: Mapping[str, str]) -> None:
    """Draw one panel: published bands behind, then the methods, continued with their last values."""
    curves = _curves(panel, column)
    end = max((steps[-1] for steps, _ in curves.values()), default=0.0)
    limit = max([end, *(step for band in panel.bands for step in band.steps[band.steps > 0][:1])])
    for band in panel.bands:
        shown, colour = band.until(limit), colours[band.label]
        axes.fill_between(shown.steps, shown.low, shown.high, alpha=0.15, color=colour, linewidth=0)
        axes.plot(shown.steps, shown.mean, "--", color=colour, linewidth=1.2, label=band.label)
    for label, (steps, values) in curves.items():
        mean, colour = values.mean(axis=0), colours[label]
        axes.plot(steps, mean, marker="o", markersize=3, color=colour, label=label or None)
        if len(values) > 1:
            axes.fill_between(steps, values.min(axis=0), values.max(axis=0), alpha=0.2, color=colour, linewidth=0)
        if steps[-1] < end:
            style = ":" if panel.bands else "--"
            axes.plot([steps[-1], end], [mean[-1], mean[-1]], style, color=colour, alpha=0.7)
    axes.set_title(panel.title)
    axes.xaxis.set_major_formatter(_thousands)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _curves(panel: Panel, column: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read steps and values of every evaluated method (:func:`on_common_steps`) by its label."""
    runs = {label: [run for run in map(read_eval, paths) if run] for label, paths in panel.files.items()}
    return {label: on_common_steps(seeds, column) for label, seeds in runs.items() if seeds}


def _thousands(value: float, _: int | None = None) -> str:
    sizes = ((1e6, "M"), (1e3, "k"))
    size, unit = next(((size, unit) for size, unit in sizes if abs(value) >= size), (1.0, ""))
    return f"{value / size:g}{unit}"
