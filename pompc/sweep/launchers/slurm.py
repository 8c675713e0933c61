"""Runs as jobs of Slurm, by submitit."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import submitit  # pyright: ignore[reportMissingImports]
from submitit.helpers import DelayedSubmission  # pyright: ignore[reportMissingImports]

from pompc.errors import UserError
from pompc.sweep.options import SlurmConfig, SweepConfig
from pompc.sweep.task import INTERRUPTED, Task

LOOK_EVERY_S = 0.5
GRACE_S = 120
"""Seconds that an interrupted run waits for its cluster to take its job away and to queue it again."""


class SlurmTask:
    """A task as a job that may be queued again.

    submitit calls the object on the node. When the cluster takes the node back or the time limit is near, it calls
    :meth:`checkpoint`, and queues what that returns; the same task continues from the run's checkpoint.

    Args:
        task: the task.
        patience_s: seconds that the run has to save itself.
    """

    def __init__(self, task: Task, patience_s: float) -> None:
        self.task = task
        self.patience_s = patience_s
        self._process: subprocess.Popen | None = None

    def __call__(self) -> int:
        """Run, and return the exit code."""
        code = self.task.run(self._keep)
        if code == INTERRUPTED and not self.task.asked:
            time.sleep(GRACE_S)  # the cluster's signal came to the run first; its next one queues this job again
        return code

    def checkpoint(self) -> DelayedSubmission:
        """Let the run save itself, and return the task to queue again."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):  # then it continues from its last checkpoint
                self._process.wait(self.patience_s)
        return DelayedSubmission(SlurmTask(self.task, self.patience_s))

    def _keep(self, process: subprocess.Popen) -> None:
        self._process = process


class SlurmLauncher:
    """Submit a job per task and wait for it.

    Args:
        options: of the sweep.
        folder: of the sweep, on a file system that all nodes share.

    Raises:
        UserError: there is no Slurm here, or it does not know a parameter.
    """

    jobs = 100

    def __init__(self, options: SweepConfig, folder: Path) -> None:
        asked = options.slurm
        if asked.cluster == "slurm" and shutil.which("srun") is None:
            raise UserError("launcher=slurm: there is no srun here; start the sweep on a machine that submits jobs")
        limit = {f"{asked.cluster}_max_num_timeout": asked.timeouts}
        self._executor = submitit.AutoExecutor((folder / "submitit").resolve(), cluster=asked.cluster, **limit)
        try:
            self._executor.update_parameters(**_parameters(asked))
        except (NameError, AssertionError) as error:
            raise UserError(f"slurm.extra: {str(error).splitlines()[0]}") from error
        self._patience_s = 0.8 * asked.warning_s
        self._lock = threading.Lock()  # submitit's list of jobs is shared by all

    def run(self, task: Task) -> int:
        """See :class:`~pompc.sweep.launchers.Launcher`."""
        with self._lock:
            job = self._executor.submit(SlurmTask(task, self._patience_s))
        while True:
            with self._lock:
                if job.done():
                    return job.result()
                if task.asked and job.state == "PENDING":
                    job.cancel()
                    return INTERRUPTED
            time.sleep(LOOK_EVERY_S)

    def close(self) -> None:
        """See :class:`~pompc.sweep.launchers.Launcher`; every job has ended."""


def _parameters(asked: SlurmConfig) -> dict:
    """Write the options as parameters of submitit."""
    common = {"name": "pompc", "timeout_min": asked.minutes, "cpus_per_task": asked.cpus, "mem_gb": asked.memory_gb}
    common |= {"gpus_per_node": asked.gpus, "stderr_to_stdout": True}
    own = {"partition": asked.partition, "constraint": asked.constraint, "signal_delay_s": asked.warning_s}
    own |= asked.extra
    return common | {f"slurm_{name}": value for name, value in own.items() if value is not None}
