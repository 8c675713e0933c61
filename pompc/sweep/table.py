"""Show a sweep: a live table on a terminal, a line per event elsewhere."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pompc.sweep.board import STATES, Board, Entry, State
from pompc.training.progress import RunConsole

LINE_EVERY_S = 60.0
STYLES: dict[State, str] = {"waiting": "dim", "running": "cyan", "done": "green", "stopped": "yellow", "failed": "red"}
SHOWN_FIRST: tuple[State, ...] = ("failed", "running", "stopped", "waiting", "done")
FRAME = 8  # lines of the terminal that are no rows


class View:
    """Show the runs of a sweep.

    Args:
        board: the runs.
        console: where to; the standard output by default.
    """

    def __init__(self, board: Board, console: Console | None = None) -> None:
        self._board = board
        self._console = console or RunConsole()
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._said = {id(entry): entry.state for entry in board.entries}
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        self.show()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self) -> None:
        """Show the present state."""
        if self._live is not None:
            self._live.update(make_table(self._board, self._console.height - FRAME), refresh=True)
            return
        for entry in list(self._board.entries):
            if entry.state != self._said.get(id(entry), "waiting"):
                self._said[id(entry)] = entry.state
                self._say(f"{entry.state:<8} {entry.planned.label}{_facts(entry)}")
        if time.monotonic() - self._last_line > LINE_EVERY_S:
            self._say(self._board.counts())
            for entry in self._board.in_state("running"):
                self._say(f"  {entry.planned.label}{_facts(entry)}")

    def _say(self, text: str) -> None:
        self._last_line = time.monotonic()
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)


def make_table(board: Board, most: int) -> Table:
    """Make the table of the runs: what needs attention first, and the rest as far as ``most`` rows have room."""
    table = Table(caption=board.counts(), caption_justify="left", box=None, pad_edge=False)
    table.add_column("run", overflow="ellipsis", no_wrap=True, ratio=1)
    table.add_column("state", no_wrap=True, min_width=max(map(len, STATES)))
    for name in ("step", "return", "steps/s", "time left"):
        table.add_column(name, justify="right", no_wrap=True)
    entries = [entry for state in SHOWN_FIRST for entry in board.in_state(state)]
    most = max(most, 1)
    for entry in entries[:most]:
        table.add_row(Text(entry.planned.label), Text(entry.state, style=STYLES[entry.state]), *cells(entry))
    if len(entries) > most:
        table.add_row(Text(f"and {len(entries) - most} more", style="dim"))
    return table


def cells(entry: Entry) -> tuple[str, str, str, str]:
    """Write step, return, speed and time left of a run; what is unknown stays empty."""
    speed = f"{entry.rate:,.0f}" if entry.state == "running" and math.isfinite(entry.rate) else ""
    score = f"{entry.score:.4g}" if math.isfinite(entry.score) else ""
    return f"{entry.step:,} / {entry.planned.steps:,}", score, speed, clock(entry.seconds_left)


def clock(seconds: float) -> str:
    """Write a duration as ``1:02:03``; empty if it is unknown."""
    if not math.isfinite(seconds):
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _facts(entry: Entry) -> str:
    step, score, speed, left = cells(entry)
    known = {"step": step if entry.step else "", "return": score, "steps/s": speed, "left": left}
    return "".join(f"  {name} {value}" for name, value in known.items() if value)
