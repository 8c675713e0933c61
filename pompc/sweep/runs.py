"""Which runs a sweep does. Nothing here imports torch before all of them are composed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from pompc.sweep.grid import Grid
from pompc.sweep.words import Request

if TYPE_CHECKING:
    from pompc.sweep.execute import Sweep


class Runs(Protocol):
    """Which runs a sweep does: all combinations, or those that a search asks for."""

    most_jobs: int | None

    def title(self) -> str:
        """Say what is done in half a line."""
        ...

    def lines(self) -> list[str]:
        """Say it in detail, for ``--dry-run``."""
        ...

    def work(self, sweep: Sweep) -> list[Callable[[], None]]:
        """Enter the known runs on the board and list the pieces of work that are left."""
        ...

    def result(self) -> list[str]:
        """Say what was found, a line each."""
        ...


def check(request: Request) -> Runs:
    """Check all runs of a request.

    Raises:
        UserError: something is wrong with one.
    """
    if request.options.search is None:
        return Grid(request)
    from pompc.sweep.search import Search  # imports Optuna

    return Search(request)
