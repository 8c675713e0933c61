"""The figure and the text of bound.csv."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

Table = list[dict[str, str]]


def read(path: Path) -> Table:
    """Rows of the table."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def pick(table: Table, column: str, **wanted: float | str) -> np.ndarray:
    """A column of the rows with these values."""
    rows = [r for r in table if all(_same(r[name], value) for name, value in wanted.items())]
    return np.array([float(row[column]) for row in rows])


def levels(table: Table, column: str, **wanted: float | str) -> list[str]:
    """The values that a column takes in these rows, in order."""
    rows = [r for r in table if all(_same(r[name], value) for name, value in wanted.items())]
    return list(dict.fromkeys(row[column] for row in rows))


def draw(table: Table, path: Path) -> None:
    """Three panels: chains, schedules, linear system."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    for horizon, colour in zip(levels(table, "horizon", part="chains"), ("C0", "C1", "C2"), strict=True):
        where = {"part": "chains", "horizon": horizon, "ratio": 0.3}
        for column, style in (("error", "-"), ("bound", "--")):
            y = [np.median(pick(table, column, model=m, **where)) for m in levels(table, "model", **where)[1:]]
            x = [np.median(pick(table, "alpha_p", model=m, **where)) for m in levels(table, "model", **where)[1:]]
            left.loglog(x, y, style, color=colour, label=f"H = {horizon}" if column == "error" else None)
    _labels(left, "random chains, rho = 0.3", "total variation of the model", "value error (dashed: bound)")
    for schedule in levels(table, "schedule", part="schedules"):
        where = {"part": "schedules", "model": 0.3, "schedule": schedule}
        updates = levels(table, "update", **where)
        error = [pick(table, "error", update=update, **where).mean() for update in updates]
        middle.semilogy([int(u) for u in updates], error, label=f"rho = {schedule}")
    _labels(middle, "learned from samples, model 30 % wrong", "update", "RMSE of the values")
    for ratio, colour in zip(levels(table, "ratio", part="linear"), ("C0", "C1"), strict=True):
        columns = (("error", "-"), ("learned", "o"), ("bound", "--"))
        for column, style in columns:
            x, y = (pick(table, name, part="linear", ratio=ratio) for name in ("model", column))
            right.semilogy(x, y, style, color=colour, label=f"rho = {ratio}" if column == "error" else None)
    _labels(right, "linear system (dots: learned)", "planner_offset", "value error (dashed: bound)")
    figure.savefig(path, dpi=90)


def text(table: Table) -> str:
    """What the table says, in Markdown."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    head = ["# The bound and measured errors", "", f"Made at commit `{commit.stdout.strip()}` by"]
    head += ["`python results/adaptive_hrl/bound.py`.", ""]
    return "\n".join([*head, *_chains(table), *_schedules(table), *_linear(table)])


def _chains(table: Table) -> list[str]:
    error, bound = (pick(table, name, part="chains") for name in ("error", "bound"))
    shares = error[bound > 0] / bound[bound > 0]
    lines = [
        f"Fixed points of {len(error):,} mixed backups: {int((error > bound + 1e-9).sum())} lie above the bound. "
        f"Median and largest error / bound: {np.median(shares):.2f}, {shares.max():.2f}.",
        "",
        "| rho | H = 1 | H = 5 | H = 20 |",
        "|---|---|---|---|",
    ]
    for ratio in levels(table, "ratio", part="chains"):
        cells = []
        for horizon in levels(table, "horizon", part="chains"):
            where = {"part": "chains", "ratio": ratio, "horizon": horizon, "model": 0.1}
            cells.append(
                f"{np.median(pick(table, 'error', **where)):.2f} / {np.median(pick(table, 'bound', **where)):.2f}"
            )
        lines.append(f"| {ratio} | " + " | ".join(cells) + " |")
    return [*lines, "", "Median error / median bound, model wrong by 10 %.", ""]


def _schedules(table: Table) -> list[str]:
    names = levels(table, "schedule", part="schedules")
    updates = levels(table, "update", part="schedules")
    chosen = (updates[4], updates[12], updates[-1])
    lines = [
        "RMSE of learned values after " + ", ".join(chosen) + " updates (mean of the seeds), and the last rho:",
        "",
    ]
    lines += [
        "| model wrong by | " + " | ".join(f"rho {name}" for name in names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for model in levels(table, "model", part="schedules"):
        cells = []
        for name in names:
            where = {"part": "schedules", "model": model, "schedule": name}
            errors = " / ".join(f"{pick(table, 'error', update=u, **where).mean():.3f}" for u in chosen)
            cells.append(f"{errors} ({pick(table, 'ratio', update=chosen[-1], **where).mean():.3f})")
        lines.append(f"| {float(model):.0%} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _linear(table: Table) -> list[str]:
    lines = [
        "Linear system: errors of the model, true / online, and of the values at rho = 0.3, exact / learned / bound:",
        "",
        "| offset | alpha_W | alpha_P | alpha_r | value error |",
        "|---|---|---|---|---|",
    ]
    for row in table:
        if row["part"] == "linear" and float(row["ratio"]) == 0.3:
            pairs = (
                f"{float(row[n]):.4f} / {float(row[n + '_online']):.4f}" for n in ("alpha_w", "alpha_p", "alpha_r")
            )
            errors = " / ".join(f"{float(row[name]):.3f}" for name in ("error", "learned", "bound"))
            lines.append(f"| {row['model']} | " + " | ".join(pairs) + f" | {errors} |")
    return [*lines, ""]


def _labels(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)


def _same(cell: str, value: float | str) -> bool:
    return cell == value if isinstance(value, str) else cell != "" and float(cell) == value
