"""Place runs among published curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pompc.errors import UserError
from pompc.registry import ENVIRONMENTS
from pompc.report.grouping import Methods
from pompc.report.published import Band, matching, read_published
from pompc.report.runs import Run


def published_bands(environments: Mapping[str, Methods], file: Path) -> dict[str, Sequence[Band]]:
    """Find the published curves of every environment that has some.

    Args:
        environments: the runs as ``{environment: {method: runs}}``.
        file: a file of published curves.

    Raises:
        UserError: the file is damaged or of other tasks, or a run does not say its task.
    """
    tasks: dict[str, str] = {}
    for env, methods in environments.items():
        found = {suite_task(run) for runs in methods.values() for run in runs}
        if len(found) == 1 and (task := found.pop()) is not None:
            tasks[env] = task
    bands = matching(tasks.values(), read_published(file), file)
    return {env: bands[task] for env, task in tasks.items() if task in bands}


def suite_task(run: Run) -> str | None:
    """Read the task of a run by which published curves name it (``walker-walk``).

    Returns:
        The task; ``None`` for a run whose environment has no published curves, or that observes pixels.

    Raises:
        UserError: the run has no config.yaml.
    """
    if not run.config:
        raise UserError(
            f"{run.path} has no config.yaml, which says its task: leave it out, or compare without --published"
        )
    family = ENVIRONMENTS.builtin.get(run.config.get("env.name", ""))
    key = None if family is None or run.config.get("env.pixels", False) else family.published
    return None if key is None else run.config[f"env.{key}"]


def against_published(runs: Sequence[Run], bands: Sequence[Band]) -> list[dict[str, str | float]]:
    """Compare the mean over the seeds with each band at the last shared step: :meth:`Band.place` and the method."""
    if not bands:
        return []
    seeds = [run.eval for run in runs]
    steps = np.unique(np.concatenate([seed["step"] for seed in seeds]))  # of all seeds, so that no evaluation is lost
    steps = steps[steps <= min(seed["step"].max() for seed in seeds)]
    mean = np.mean([np.interp(steps, seed["step"], seed["reward"]) for seed in seeds], axis=0)
    return [{"published": band.method, **band.place(steps, mean)} for band in bands]
