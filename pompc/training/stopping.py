"""Ctrl-C and termination: answered at once, obeyed where nothing is lost by it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType


class Stopped(Exception):
    """A stop was asked for while something went on that can be given up and made again."""


@dataclass(frozen=True)
class Phase:
    """What a run is doing when a signal comes.

    Attributes:
        first: what the first signal does, in words.
        again: what another Ctrl-C does, in words.
        held: another Ctrl-C is answered before the next one is obeyed: what goes on is short, and lost where it is cut.
    """

    first: str
    again: str = "Ctrl-C again stops now"
    held: bool = False


SETTING_UP = Phase("stopping as soon as the run is set up")
TRAINING = Phase(
    "stopping after this batch, which is saved", "Ctrl-C again stops now and goes back to the last checkpoint"
)
EVALUATING = Phase("stopping after this step of the evaluation, which is made anew when the run continues")
RECORDING = Phase("stopping after this evaluation", "it is being written: a moment", held=True)
SAVING = Phase("stopping when the checkpoint is written", "the checkpoint is being written: a moment", held=True)
FILMING = Phase("stopping after this frame: the training is done, the film is made when the same command is run again")


class StopRequest:
    """SIGINT or SIGTERM ask for a stop, which the run obeys where it loses nothing; a second SIGINT stops at once.

    Each signal is answered on the standard error as it comes, in the words of the :class:`Phase` the run is in.

    Attributes:
        received: whether a stop was asked for.
    """

    def __init__(self) -> None:
        self.received = False
        self._phase = SETTING_UP
        self._answered = False  # that the phase is held

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle both signals inside the block; outside the main thread, where that is impossible, do nothing."""
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
        """A block in which the run is in ``phase``."""
        before, self._phase, self._answered = self._phase, phase, False
        try:
            yield
        finally:
            self._phase, self._answered = before, False

    def check(self) -> None:
        """Go on unless a stop was asked for.

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
    """A line on the standard error, in the place of a progress bar; past python's buffers, which the signal may be in."""
    clear = "\r\x1b[2K" if os.isatty(2) else ""
    with suppress(OSError):  # the terminal may have gone
        os.write(2, f"{clear}pompc: {text}\n".encode())
