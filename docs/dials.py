"""Draw docs/dials.svg, the algorithms as points of the two dials, from the registry and the defaults of their configs::

    python docs/dials.py

A dial that moves by a schedule is an arrow from its first value to its floor.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from pompc.registry import ALGORITHMS
from pompc.schedules import SCHEDULES

INFINITY = 300.0  # where the axis shows it
WINGS = {"pompc.offpolicy": ("learns from a replay", "#0b6fa4"), "pompc.onpolicy": ("PPO-based", "#c2410c")}
OTHER = ("plans without learning", "#57534e")
INK, FAINT = "#1c1917", "#a8a29e"


@dataclass(frozen=True)
class Point:
    """One algorithm in the plane: where its dials start and where they end, as ``(lambda, rho)``."""

    name: str
    start: tuple[float, float]
    end: tuple[float, float]
    wing: tuple[str, str]


def algorithms() -> list[Point]:
    """Read the built-in algorithms and their default dials; their named settings are left out."""
    found = []
    for name in ALGORITHMS.classes:
        cls = ALGORITHMS.resolve(name)
        config = cls.Config()
        ends = [ends_of(dial) for dial in (config.kl_weight, config.virtual_ratio)]
        start, end = ((ends[0][i], ends[1][i]) for i in range(2))
        found.append(Point(name, start, end, wing_of(cls)))
    return found


def ends_of(dial: Any) -> tuple[float, float]:
    """First and last value of a dial: a number, a schedule that falls to its floor, or one that goes to a value."""
    if not hasattr(dial, "schedule"):
        return (dial, dial)
    return (dial.initial, dial.to if SCHEDULES[dial.schedule].rises else dial.minimum)


def wing_of(cls: type) -> tuple[str, str]:
    """Label and colour of the wing whose agent an algorithm extends."""
    for wing, style in WINGS.items():
        if any(base.__module__.startswith(wing) for base in cls.__mro__):
            return style
    return OTHER


def described(points: list[Point]) -> str:
    """What the figure shows, in words; the file carries it, so that a test can say whether it is of today."""
    return "; ".join(f"{p.name}: {p.start} -> {p.end}" if p.start != p.end else f"{p.name}: {p.start}" for p in points)


def place(point: tuple[float, float]) -> tuple[float, float]:
    """A point of the dials on the axes."""
    return min(point[0], INFINITY), point[1]


def draw(points: list[Point]) -> plt.Figure:
    """The figure."""
    figure, axes = plt.subplots(figsize=(8.4, 4.0), layout="constrained")
    _frame(axes)
    stacked: dict[tuple[float, float], int] = {}
    for point in points:
        start, end = place(point.start), place(point.end)
        label, colour = point.wing
        if start != end:
            arrow = {"arrowstyle": "-|>", "color": colour, "lw": 1.8, "mutation_scale": 15, "shrinkA": 5, "shrinkB": 7}
            axes.annotate("", end, start, arrowprops=arrow, zorder=3)
        shared = len({other.wing for other in points if place(other.start) == start}) > 1
        fill = INK if shared else colour
        axes.plot(*start, "o", ms=9, color=fill, mec="white", mew=1.2, zorder=4, clip_on=False)
        line = stacked[start] = stacked.get(start, -1) + 1
        axes.annotate(
            point.name,
            start,
            (10, 7 + 13 * line),
            textcoords="offset points",
            color=colour,
            family="monospace",
            size=10,
        )
    for label, colour in [*WINGS.values(), OTHER]:
        axes.plot([], [], "o", ms=8, color=colour, label=label)
    axes.legend(loc="upper right", frameon=False, fontsize=9, labelcolor=INK)
    return figure


def _frame(axes: Axes) -> None:
    axes.set_xscale("symlog", linthresh=0.1, linscale=0.7)
    axes.set_xlim(-0.012, INFINITY * 3.2)
    axes.set_yscale("function", functions=(lambda rho: np.sqrt(np.maximum(rho, 0)), np.square))
    axes.set_ylim(0, 1)
    ticks = {0: "0", 0.1: "0.1", 1: "1", 10: "10", INFINITY: "∞"}
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xticks([], minor=True)
    axes.set_yticks([0, 0.3, 1], ["0", "0.3", "1"])
    axes.set_xlabel("λ, kl_weight:  0, the policy ignores the planner  →  ∞, it imitates the planner", color=INK)
    axes.set_ylabel("ρ, virtual_ratio:\nreal data  →  the planner's rollouts", color=INK)  # noqa: RUF001
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(FAINT)
    axes.grid(color="#e7e5e4", lw=0.8)
    axes.set_axisbelow(True)
    between = axes.get_xaxis_transform()  # the axis breaks before infinity
    axes.text(60, 0, "//", ha="center", va="center", color=INK, size=13, transform=between, zorder=5)
    axes.set_title("Defaults of the algorithms; an arrow is a dial that moves", loc="left", size=10, color=INK)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".svg")
    plt.rcParams["svg.hashsalt"] = "pompc"  # the same bytes each time
    points = algorithms()
    about = {"Date": None, "Description": described(points)} if target.suffix == ".svg" else None
    draw(points).savefig(target, metadata=about, dpi=110)
