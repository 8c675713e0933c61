"""A run for every combination of values."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pompc.sweep.plan import plan
from pompc.sweep.words import Request

if TYPE_CHECKING:
    from pompc.sweep.execute import Sweep


class Grid:
    """All combinations of a request, checked.

    Args:
        request: the words of the sweep.

    Raises:
        UserError: something is wrong with a combination.
    """

    most_jobs: int | None = None

    def __init__(self, request: Request) -> None:
        lines = request.combinations()
        self._request = request
        self._planned = plan(request, lines)
        self._equal = len(lines) - len(self._planned)

    def work(self, sweep: Sweep) -> list[Callable[[], None]]:
        """Enter all runs on the board and list those that are to do."""
        entries = [sweep.enter(planned) for planned in self._planned]
        sweep.describe(self._request)
        return [partial(sweep.perform, entry) for entry in entries if entry.state != "done"]

    def title(self) -> str:
        """Say how many runs there are."""
        count = len(self._planned)
        text = f"{count} run{'s' * (count != 1)}"
        return f"{text} ({self._equal} combinations mean the same as others)" if self._equal else text

    def lines(self) -> list[str]:
        """List the runs, each as its command."""
        return [f"pompc run {shlex.join(run.words)}  # {run.directory}" for run in self._planned]

    def result(self) -> list[str]:
        """Say what was found: nothing but the runs."""
        return []
