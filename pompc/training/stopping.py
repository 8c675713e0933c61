"""Answer Ctrl-C and termination at once; obey them at the next point that loses nothing."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType


class Stopped(Exception):
    """A stop was requested during work that can be given up and repeated."""


@dataclass(frozen=True)
class Phase:
    """The answers to signals during one kind of work.

    Attributes:
        first: effect of the first signal, in words.
        again: effect of another Ctrl-C, in words.
        held: answer another Ctrl-C before obeying the next one: the work is short, and an interruption loses it.
    """

    first: str
    again: str = "Ctrl-C again stops now"
    held: bool = False


SETTING_UP = Phase("stopping as soon as the run is set up")
TRAINING = Phase(
    "stopping after this batch, which is saved", "Ctrl-C again stops now and goes back to the last checkpoint"
)
EVALUATING = Phase("stopping after this step of the evaluation, which is repeated when the run continues")
RECORDING = Phase("stopping after this evaluation", "it is being written: a moment", held=True)
SAVING = Phase("stopping when the checkpoint is written", "the checkpoint is being written: a moment", held=True)
FILMING = Phase("stopping after this frame: the training is done; the same command makes the film")


class StopRequest:
    """Turn SIGINT and SIGTERM into a request that the run obeys at a safe point; a second SIGINT stops at once.

    Each signal is answered on the standard error in the words of the current :class:`Phase`.

    Attributes:
        received: whether a stop was requested.
    """

    def __init__(self) -> None:
        self.received = False
        self._phase = SETTING_UP
        self._answered = False  # a second Ctrl-C in a held phase

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle both signals inside the block. Outside the main thread this is impossible and does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Answer signals inside the block in the words of ``phase``."""
        before, self._phase, self._answered = self._phase, phase, False
        try:
            yield
        finally:
            self._phase, self._answered = before, False

    def check(self) -> None:
        """Stop if a stop was requested.

        Raises:
            Stopped: it was.
        """
        if self.received:
            raise Stopped

    def _handle(self, number: int, frame: FrameType | None) -> None:
        phase = self._phase
        if not self.received:
            self.received = True
            _say(f"{phase.first}; {phase.again}" if not phase.held else phase.first)
        elif number != signal.SIGINT:
            return
        elif phase.held and not self._answered:
            self._answered = True
            _say(phase.again)
        else:
            raise KeyboardInterrupt


def _say(text: str) -> None:
    """Write a line to the standard error over a progress bar, past python's buffers, which the signal may interrupt."""
    clear = "\r\x1b[2K" if os.isatty(2) else ""
    with suppress(OSError):  # the terminal may be closed
        os.write(2, f"{clear}pompc: {text}\n".encode())
