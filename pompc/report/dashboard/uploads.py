"""Find what wandb does not have yet."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from pompc.report.runs import Run


def sync_commands(runs: Sequence[Run], *, project: str | None = None, entity: str | None = None) -> list[str]:
    """Write the commands that upload the offline parts of runs, one per run.

    A run that was resumed has a part per start. They belong into one command, which uploads them in their order. A part
    that was uploaded has a marker beside it.

    Args:
        runs: the runs.
        project: instead of the project that a run names.
        entity: instead of that of the login.
    """
    given = {"--project": project, "--entity": entity}
    options = [word for option, value in given.items() if value is not None for word in (option, value)]
    parts = [pending(run.path) for run in runs]
    return [shlex.join(["wandb", "sync", *options, *map(str, folders)]) for folders in parts if folders]


def pending(run: Path) -> list[Path]:
    """List the folders of offline parts of a run directory that were not uploaded, the first start first."""
    files = sorted((run / "wandb").glob("offline-run-*/run-*.wandb"))
    return [file.parent for file in files if not file.with_suffix(".wandb.synced").exists()]


def without_wandb(runs: Sequence[Run]) -> list[Path]:
    """List the runs that wandb has nothing of, neither here nor in its cloud."""
    return [run.path for run in runs if not any((run.path / "wandb").glob("*run-*/run-*.wandb"))]
