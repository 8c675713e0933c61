"""Runs as tasks of Ray."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from pompc.errors import UserError
from pompc.sweep.options import SweepConfig
from pompc.sweep.task import Task


class RayLauncher:
    """Run each task where Ray finds room for it. Every node has pompc and the file system of this machine.

    Args:
        options: of the sweep.
        folder: of the sweep.

    Raises:
        UserError: there is no cluster at the address, or no room for a run anywhere in it.
    """

    def __init__(self, options: SweepConfig, folder: Path) -> None:
        self._ray: Any = importlib.import_module("ray")
        asked = options.ray
        try:
            self._ray.init(address=asked.address, log_to_driver=False, include_dashboard=False, logging_level="ERROR")
        except (ConnectionError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"ray.address={asked.address}: {reason}") from error
        there = self._ray.cluster_resources()
        rooms = {"CPU": asked.cpus, "GPU": asked.gpus}
        for kind, need in rooms.items():
            if need > there.get(kind, 0):
                self.close()
                raise UserError(f"ray.{kind.lower()}s={need:g}: the cluster has {there.get(kind, 0):g}")
        self.jobs = max(1, int(min(there[kind] // need for kind, need in rooms.items() if need > 0)))
        memory = None if asked.memory_gb is None else int(asked.memory_gb * 1e9)
        needs = {"num_cpus": asked.cpus, "num_gpus": asked.gpus, "memory": memory, "max_retries": 3}
        self._run = self._ray.remote(**needs)(_run)

    def run(self, task: Task) -> int:
        """See :class:`~pompc.sweep.launchers.Launcher`."""
        return self._ray.get(self._run.remote(task))

    def close(self) -> None:
        """See :class:`~pompc.sweep.launchers.Launcher`."""
        self._ray.shutdown()


def _run(task: Task) -> int:
    return task.run()
