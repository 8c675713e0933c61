"""Runs as processes of this machine."""

from __future__ import annotations

import os
from pathlib import Path

from pompc.sweep.options import SweepConfig
from pompc.sweep.task import Task


class LocalLauncher:
    """Run tasks on this machine, as many at a time as it has cores.

    Args:
        options: of the sweep.
        folder: of the sweep.
    """

    def __init__(self, options: SweepConfig, folder: Path) -> None:
        affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
        self.jobs = len(affinity(0)) if affinity else os.cpu_count() or 1

    def run(self, task: Task) -> int:
        """See :class:`~pompc.sweep.launchers.Launcher`."""
        return task.run()

    def close(self) -> None:
        """See :class:`~pompc.sweep.launchers.Launcher`."""
