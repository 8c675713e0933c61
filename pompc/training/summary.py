"""Summarise a run from its files, whatever starts it was made in."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path

OUTCOME = ("reward", "success", "cost")
"""Columns of eval.csv that the summary has of the best and of the last evaluation."""


def run_summary(directory: Path, dials: Iterable[str]) -> dict[str, float]:
    """Find the best and the last evaluation, the speed, and the last values of the dials.

    Args:
        directory: the run directory.
        dials: columns of metrics.csv.

    Returns:
        Finite numbers by their names in :data:`pompc.training.metric_names.METRICS`; what the files do not know is absent.
    """
    evaluations, timing = _rows(directory / "eval.csv"), _rows(directory / "timing.csv")
    metrics = _rows(directory / "metrics.csv")
    found: dict[str, float] = {}
    scored = [row for row in evaluations if math.isfinite(row.get("reward", math.nan))]
    if scored:
        best = max(scored, key=lambda row: row["reward"])
        for group, row in (("best", best), ("final", evaluations[-1])):
            found |= {f"{group}/env_step": row["step"], **{f"{group}/{key}": row[key] for key in OUTCOME if key in row}}
    if timing:
        last = timing[-1]
        found |= {"final/wall_s": last["wall_s"], "final/model_steps": last["model_steps"]}
        found["final/env_steps_per_s"] = last["step"] / last["wall_s"]
    if metrics:
        found |= {f"final/{name}": metrics[-1][name] for name in dials if name in metrics[-1]}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _rows(file: Path) -> list[dict[str, float]]:
    """Read the rows of a CSV file of numbers; an empty cell is nan, and a file that is not there has no rows."""
    if not file.exists():
        return []
    with open(file, newline="", encoding="utf-8") as lines:
        return [{name: float(cell or "nan") for name, cell in row.items()} for row in csv.DictReader(lines)]
