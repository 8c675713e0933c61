"""Summarise a run from its files, whatever starts it was made in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pompc.report.runs import Columns, read_columns

OUTCOME = ("reward", "success", "cost")
"""Columns of eval.csv that the summary has of the best and of the last evaluation."""


def run_summary(directory: Path, dials: Mapping[str, float]) -> dict[str, float]:
    """Find the best and the last evaluation, the speed, and the values of the dials.

    Args:
        directory: the run directory.
        dials: today's values of the dials by name.

    Returns:
        Finite numbers by their names in :data:`pompc.training.metric_names.METRICS`; what the files do not know is absent.
    """
    evaluations, timing = read_columns(directory / "eval.csv"), read_columns(directory / "timing.csv")
    found: dict[str, float] = {}
    if "reward" in evaluations and np.isfinite(evaluations["reward"]).any():
        found |= _outcome("best", evaluations, int(np.nanargmax(evaluations["reward"])))
        found |= _outcome("final", evaluations, -1)
    if timing:
        seconds, steps = timing["wall_s"][-1], timing["step"][-1]
        found |= {"final/wall_s": seconds, "final/env_steps_per_s": steps / seconds}
        found["final/model_steps"] = timing["model_steps"][-1]
    found |= {f"final/{name}": value for name, value in dials.items()}
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def _outcome(group: str, evaluations: Columns, row: int) -> dict[str, float]:
    columns = {name: evaluations[name][row] for name in OUTCOME if name in evaluations}
    return {f"{group}/{name}": value for name, value in {"env_step": evaluations["step"][row], **columns}.items()}
