"""Draw docs/obstacles.png from the program of docs/planner_robots.md::

python docs/obstacles.py
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from pompc.report import matplotlib_backend  # noqa: F401

DOCS = Path(__file__).parent
SHOWN = (5, 30, 55)
"""Steps whose samples are drawn."""
COLOURS = ("#0b6fa4", "#c2410c", "#4d7c0f")


def course() -> dict[str, Any]:
    """Run the program of the page and return its names."""
    page = (DOCS / "planner_robots.md").read_text()
    found = re.search(r"<!-- example: obstacles -->\n```python\n(.*?)```", page, re.S)
    assert found, "docs/planner_robots.md has no example 'obstacles'"
    names: dict[str, Any] = {}
    exec(found[1], names)
    return names


def draw(names: dict[str, Any]) -> Figure:
    """Draw obstacles, goal, ways and samples."""
    figure = Figure(figsize=(6.4, 4.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for x, y, radius in names["OBSTACLES"].tolist():
        axes.add_patch(Circle((x, y), radius, color="#a8a29e"))
    ways = torch.stack(names["ways"])
    for robot, colour in enumerate(COLOURS):
        for step in SHOWN:
            plan = names["plans"][step][robot]
            alpha = (plan.weights / plan.weights.max()).clamp(min=0.04)
            for sample in plan.weights.argsort()[-40:].tolist():
                places = plan.states[sample, :, :2]
                axes.plot(*places.T, color=colour, alpha=0.5 * alpha[sample].item(), linewidth=0.6)
        axes.plot(*ways[:, robot, :2].T, color=colour, linewidth=2)
        axes.plot(*ways[0, robot, :2], "o", color=colour)
    axes.plot(*names["GOAL"], "*", color="#1c1917", markersize=14)
    axes.set_aspect("equal")
    axes.set_xlabel("x / m")
    axes.set_ylabel("y / m")
    return figure


if __name__ == "__main__":
    draw(course()).savefig(DOCS / "obstacles.png", metadata={"Software": None})
