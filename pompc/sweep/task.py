"""One run as a process of its own, watched from where a launcher has put it. Torch-free, and the same for all launchers."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pompc.system.locking import InUse, exclusive

INTERRUPTED = 130
LOOK_EVERY_S = 0.3
PROGRAM = ("-m", "pompc.sweep.child", "run")


@dataclass(frozen=True)
class Task:
    """A run to do. All paths lie on a file system that the machine of the sweep and the machine of the run share.

    Attributes:
        words: arguments of ``pompc run``.
        folder: the working directory, absolute.
        directory: of the run.
        log: file of its output, absolute.
        stop: file that asks the run to stop, by as many bytes as there were requests; absolute.
        program: arguments of the interpreter before the words.
    """

    words: Sequence[str]
    folder: Path
    directory: Path
    log: Path
    stop: Path
    program: Sequence[str] = PROGRAM

    def run(self, started: Callable[[subprocess.Popen], None] | None = None) -> int:
        """Run until the end or until asked to stop, and return the exit code; 130 if stopped.

        A run directory that another process uses is waited for: that process may do the same run. Another process that
        takes the directory while this run starts is waited for, too.

        Args:
            started: is given the process of the run.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab", buffering=0) as log:
            while self._wait_until_free(log):
                code = self._start(log, started)
                if code in (0, INTERRUPTED) or self._user() is None:
                    return code
            return INTERRUPTED

    @property
    def asked(self) -> int:
        """How often a stop was asked for."""
        try:
            return self.stop.stat().st_size
        except FileNotFoundError:
            return 0

    def _start(self, log: io.FileIO, started: Callable[[subprocess.Popen], None] | None) -> int:
        log.write(f"$ pompc run {shlex.join(self.words)}\n".encode())
        command = [sys.executable, *self.program, *self.words]
        environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=self.folder,
            env=environment,
            start_new_session=True,
        ) as process:
            if started is not None:
                started(process)
            return self._attend(process)

    def _wait_until_free(self, log: io.FileIO) -> bool:
        """Wait while another process uses the run directory; return whether the run may start."""
        said = False
        while not self.asked:
            pid = self._user()
            if pid is None:
                return True
            if not said:
                log.write(f"waiting for process {pid}, which uses {self.directory}\n".encode())
                said = True
            time.sleep(LOOK_EVERY_S)
        return False

    def _attend(self, process: subprocess.Popen) -> int:
        """Wait for the end; pass requests to stop on, an interruption of this process among them.

        Requests that come together are passed on one at a time: signals that wait for a process become one.

        Any other exception closes the child's standard input, so that it stops too.
        """
        passed = 0
        while True:
            try:
                return process.wait(LOOK_EVERY_S)
            except subprocess.TimeoutExpired:
                asked = self.asked
            except KeyboardInterrupt:
                asked = passed + 1
            if asked > passed:
                process.send_signal(signal.SIGINT)
                passed += 1

    def _user(self) -> str | None:
        """Find the process that uses the run directory; ``None`` if nothing does."""
        lock = self.folder / self.directory / ".lock"
        if not lock.exists():
            return None
        try:
            with exclusive(lock):
                return None
        except InUse as error:
            return error.pid
