"""A stand-in in another process; a thread would not do, because CARLA's client holds the interpreter's lock."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import pompc

from . import control

START_LIMIT = 120.0  # s, for a busy machine
STOP_LIMIT = 10.0  # s
READY = re.compile(r"carla stand-in ready on (\S+):(\d+) ")


class StandIn:
    """A running stand-in.

    Args:
        flags: of ``pompc carla standin``, without the port.
    """

    host = "127.0.0.1"

    def __init__(self, *flags: str) -> None:
        self.port = 0
        self._flags = flags
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-m", "pompc", "carla", "standin", "--port", str(self.port), "--watch-stdin"]
        # The child finds the same package, from a bare checkout too.
        paths = [str(Path(pompc.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [*command, *self._flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )
        guard = Timer(START_LIMIT, self._process.kill)
        guard.start()
        assert self._process.stdout is not None
        self.ready_line = self._process.stdout.readline().rstrip("\n")
        guard.cancel()
        match = READY.match(self.ready_line)
        if match is None:
            raise RuntimeError(f"the CARLA stand-in did not start: exit code {self.stop()}")
        self.port = int(match[2])

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code of the process; ``None`` while it runs."""
        return self._process.poll()

    def fault(self, name: str, value: float | int | str) -> None:
        """Switch a fault, see ``faults.Faults``; ``kill`` 0 ends the process."""
        with contextlib.suppress(ConnectionError):
            control.set_fault(self.host, self.port, name, value)

    def state(self) -> dict[str, Any]:
        """Ask for the server's state, see ``control.state``."""
        return control.state(self.host, self.port)

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._close()

    def stop(self, number: int = signal.SIGINT) -> int:
        """Ask the process to end; return its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._close()

    def _close(self) -> int:
        try:
            code = self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        return code

    def restart(self) -> None:
        """Kill the process and start it again on the same port."""
        self.kill()
        self._start()


@contextlib.contextmanager
def running(*flags: str) -> Iterator[StandIn]:
    """Run a stand-in on a free loopback port within a ``with`` block.

    Args:
        flags: of ``pompc carla standin``, without the port.
    """
    server = StandIn(*flags)
    try:
        yield server
    finally:
        server.stop()
