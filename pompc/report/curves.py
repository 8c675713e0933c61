"""Draw learning curves."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pompc.report import matplotlib_backend  # noqa: F401
from pompc.report.labels import label as name_of
from pompc.report.learning_curves import Curve, read_curve
from pompc.report.published import Band
from pompc.report.runs import AXES

# isort: split
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS, MARKERS = 10, "osD^vPX"  # the eleventh method has the first colour again, with another marker
METADATA = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
"""Of a picture by its suffix: without a date, equal curves are equal files."""
SCALES: dict[str, tuple[str, dict[str, float]]] = {"linear": ("linear", {}), "log": ("symlog", {"linthresh": 1.0})}
"""Scales of the quantity and what matplotlib calls them; ``log`` is linear between -1 and 1, and shows both signs."""
WIDTH = 60  # characters of a line in the legend
MOST_DOTS = 50  # of a line
COLUMNS = 3  # panels side by side, at most


@dataclass(frozen=True)
class Look:
    """The colour and the marker of a label."""

    colour: str
    marker: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: above the axes.
        curves: label -> the curve of a method.
        bands: published curves of the same quantity, to show behind.
    """

    title: str
    curves: Mapping[str, Curve]
    bands: Sequence[Band] = ()


def plot_learning_curve(
    files: Sequence[Path] | dict[str, Sequence[Path]], output: Path, *, column: str = "reward", title: str = ""
) -> Path:
    """Draw one panel of :func:`plot_panels` from evaluation files.

    Args:
        files: the eval.csv files of one method's seeds, or label -> files for several methods.
        output: the picture.
        column: the quantity to draw.
        title: above the axes.

    Returns:
        ``output``.
    """
    groups = files if isinstance(files, dict) else {"": files}
    found = {label: read_curve(paths, column) for label, paths in groups.items()}
    curves = {label: curve for label, curve in found.items() if curve is not None}
    plot_panels([Panel(title=title, curves=curves)], output, column=column)
    return output


def plot_panels(
    panels: Sequence[Panel], *outputs: Path, column: str = "reward", axis: str = "step", scale: str = "linear"
) -> None:
    """Draw small multiples with one legend, and write them to every output, in the format of its suffix.

    A label has one look in all panels: a thin line per run, a line with dots for the interquartile mean, and its band
    (:func:`pompc.report.statistics.curve_band`). The mean is pale where not all runs are. An open dot ends the line of a
    run that goes on. If all runs of a method have ended before the longest curve, the last mean over all of them goes on,
    dashed, or dotted beside published curves, which are dashed. Published curves reach as far as the panel's own curves,
    and at least to their first point after step 0; alone in a panel they reach to their end.

    Args:
        panels: the panels in reading order.
        outputs: the pictures (.png, .svg, .pdf).
        column: the quantity that is drawn.
        axis: what it is drawn over, one of ``runs.AXES``.
        scale: of the quantity, one of ``SCALES``.
    """
    ours = [label for panel in panels for label in panel.curves]
    labels = list(dict.fromkeys([*ours, *(band.label for panel in panels for band in panel.bands)]))
    looks = {
        label: Look(f"C{index % COLOURS}", MARKERS[index // COLOURS % len(MARKERS)])
        for index, label in enumerate(labels)
    }
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
        axes.set_xlabel(AXES[axis])
    for axes in grid[::columns]:
        axes.set_ylabel(f"evaluation {name_of(column)}")
    for panel, axes in zip(panels, grid, strict=False):
        name, settings = SCALES[scale]
        axes.set_yscale(name, **settings)
        _draw(axes, panel, looks)
        handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True)) | handles
    named = {wrapped[label]: handles[label] for label in labels if label in handles}
    if outside:
        place = "outside lower center"
        figure.legend(named.values(), named.keys(), loc=place, ncols=columns, frameon=False, fontsize="small")
    elif named:
        figure.axes[0].legend(frameon=False)
    for output in outputs:
        output.parent.mkdir(parents=True, exist_ok=True)
        with rc_context({"svg.hashsalt": "pompc"}):
            figure.savefig(output, metadata=METADATA.get(output.suffix))


def _draw(axes: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
    """Draw one panel: published bands behind, then the methods, continued with their last values."""
    end = max((curve.places[-1] for curve in panel.curves.values()), default=0.0)
    shown_at_least = slice(1) if panel.curves else slice(None)
    limit = max([end, *(step for band in panel.bands for step in band.steps[band.steps > 0][shown_at_least])])
    for band in panel.bands:
        shown, colour = band.until(limit), looks[band.label].colour
        axes.fill_between(shown.steps, shown.low, shown.high, alpha=0.15, color=colour, linewidth=0)
        axes.plot(shown.steps, shown.mean, "--", color=colour, linewidth=1.2, label=band.label)
    for label, curve in panel.curves.items():
        _draw_curve(axes, curve, label, looks[label])
        whole = np.flatnonzero(curve.band.runs == len(curve.lines))
        if curve.places[-1] < end and len(whole) and not any(line.is_running for line in curve.lines):
            last, middle = curve.places[whole[-1]], curve.band.middle[whole[-1]]
            style = ":" if panel.bands else "--"
            axes.plot([last, end], [middle, middle], style, color=looks[label].colour, alpha=0.7)
    axes.set_title(panel.title)
    axes.xaxis.set_major_formatter(_thousands)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_curve(axes: Axes, curve: Curve, label: str, look: Look) -> None:
    """Draw a method: its runs, the interquartile mean, which is pale where not all runs are, and the band."""
    band, colour = curve.band, look.colour
    is_whole = band.runs == len(curve.lines)
    whole = np.where(is_whole, band.middle, np.nan)
    dots = look.marker if len(curve.places) <= MOST_DOTS else ""
    axes.plot(curve.places, whole, marker=dots, markersize=3, color=colour, label=label or None, zorder=3)
    if not is_whole.all():
        axes.plot(curve.places, band.middle, color=colour, alpha=0.4)
    if len(curve.lines) > 1:
        axes.fill_between(curve.places, band.low, band.high, alpha=0.2, color=colour, linewidth=0)
        for line in curve.lines:
            axes.plot(line.places, line.values, color=colour, alpha=0.35, linewidth=0.7)
    for line in curve.lines:
        if line.is_running:
            axes.plot(line.places[-1:], line.values[-1:], marker="o", markerfacecolor="none", color=colour)


def _thousands(value: float, _: int | None = None) -> str:
    sizes = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
    size, unit = next(((size, unit) for size, unit in sizes if abs(value) >= size), (1.0, ""))
    return f"{value / size:g}{unit}"
