"""Show a run in other programs while it trains; none of them can stop a training."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pompc.training.logger import Scalar


@dataclass(frozen=True)
class Axes:
    """Where a row lies.

    Attributes:
        step: environment steps so far.
        seconds: seconds of training so far.
        model_steps: steps of the planner's model so far.
    """

    step: int
    seconds: float
    model_steps: int


class Tracker(Protocol):
    """A program that shows runs; whatever it raises, the training continues without it."""

    def log(self, group: str, axes: Axes, numbers: Mapping[str, int | float]) -> None:
        """Take finite numbers by name; they appear as ``group/name``."""
        ...

    def media(self, name: str, axes: Axes, path: Path) -> None:
        """Take a picture (.png) or a film (.mp4)."""
        ...

    def close(self, summary: Mapping[str, float]) -> None:
        """Take the summary of the run so far, and end."""
        ...


class Trackers:
    """The trackers of a run. Each is used until its first failure, which is reported once.

    Args:
        makers: what starts each tracker, by its name for people.
    """

    def __init__(self, makers: Mapping[str, Callable[[], Tracker]]) -> None:
        self._open: dict[str, Tracker] = {}
        for name, make in makers.items():
            try:
                self._open[name] = make()
            except Exception as error:
                self._give_up(name, error)

    def log(self, group: str, axes: Axes, row: Mapping[str, Scalar]) -> None:
        """Log the finite numbers of a row, without its ``step``."""
        numbers = {k: v for k, v in row.items() if k != "step" and isinstance(v, int | float) and math.isfinite(v)}
        self._each(lambda tracker: tracker.log(group, axes, numbers))

    def media(self, name: str, axes: Axes, path: Path) -> None:
        """Log a picture (.png) or a film (.mp4)."""
        self._each(lambda tracker: tracker.media(name, axes, path))

    def close(self, summary: Callable[[], Mapping[str, float]]) -> None:
        """End all trackers; ``summary`` makes the summary of the run, if one of them is left to take it."""
        self._each(lambda tracker: tracker.close(summary()))
        self._open = {}

    def _each(self, action: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._open.items()):
            try:
                action(tracker)
            except Exception as error:  # no error of such a program or its service may cost a training
                self._open.pop(name)
                self._give_up(name, error)

    def _give_up(self, name: str, error: Exception) -> None:
        warnings.warn(
            f"{name} stopped ({type(error).__name__}: {error}); the training continues, the CSV files are complete"
        )
