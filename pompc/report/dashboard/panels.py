"""The panels of a dashboard, by section."""

# wandb-workspaces is an extra, and does not list what it exports.
# pyright: reportMissingImports=false, reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import wandb_workspaces.reports.v2 as wr

from pompc.training.metric_names import DIALS, DRIVERS, MEDIA, METRICS, MODEL_STEPS, SECONDS, STEP

LEARNING = "Learning curves"
SECTIONS: dict[str, tuple[str, ...]] = {
    LEARNING: ("eval/reward", "eval/success", "eval/cost", "train/return", "train/success"),
    "Dials": tuple(f"train/{name}" for name in DIALS),
    "Uncertainty": ("eval/value_error", *(f"train/{name}" for name in DRIVERS)),
    "Planner and policy": (
        "eval/policy_reward",
        "eval/policy_gap",
        "eval/planner_kl",
        "train/kl",
        "train/expert_share",
    ),
    "Speed": ("time/env_steps_per_s", SECONDS, MODEL_STEPS),
}
"""Names of metrics by the sections of a workspace."""
VIDEOS = "Videos"
OTHER_AXES = (SECONDS, MODEL_STEPS)
"""Axes over which the returns of evaluations are shown too."""


def sections(names: Collection[str]) -> Mapping[str, list[Any]]:
    """Make the panels of the metrics that runs have logged, by section; a section without any is left out.

    Args:
        names: what at least one run has logged.
    """
    found = {title: [curve(name) for name in metrics if name in names] for title, metrics in SECTIONS.items()}
    found[LEARNING] += [curve("eval/reward", axis) for axis in OTHER_AXES if {"eval/reward", axis} <= set(names)]
    found[VIDEOS] = [media(name) for name in reversed(MEDIA)]
    return {title: panels for title, panels in found.items() if panels}


def curve(name: str, axis: str = STEP) -> wr.LinePlot:
    """Draw a metric over an axis: the mean of a group of runs, and its range."""
    metric = METRICS[name]
    return wr.LinePlot(
        title=f"{name}: {metric.meaning}",
        x=axis,
        y=[name],
        title_x=f"{axis} [{METRICS[axis].unit}]",
        title_y=metric.unit,
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        max_runs_to_show=100,
    )


def media(name: str) -> wr.MediaBrowser:
    """Show pictures or films."""
    return wr.MediaBrowser(title=f"{name}: {MEDIA[name]}", media_keys=[name], num_columns=3)
