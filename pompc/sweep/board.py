"""How far the runs of a sweep are, from their files."""

from __future__ import annotations

import csv
import json
import math
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pompc.sweep.plan import Planned

State = Literal["waiting", "running", "done", "stopped", "failed"]
STATES: tuple[State, ...] = ("waiting", "running", "done", "stopped", "failed")
TAIL = 8192  # bytes; a row of eval.csv or timing.csv has a few hundred


@dataclass
class Entry:
    """A run of a sweep.

    Attributes:
        planned: the run.
        log: file of its output.
        state: what it does.
        code: its exit code; ``None`` before its end.
        step: environment steps so far.
        score: mean return of its last evaluation; nan before the first.
        rate: environment steps per second.
        doing: is held while the run is done: two trials of a search may ask for the same run.
    """

    planned: Planned
    log: Path
    state: State = "waiting"
    code: int | None = None
    step: int = 0
    score: float = math.nan
    rate: float = math.nan
    doing: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def seconds_left(self) -> float:
        """Time to the end at the present speed; nan if that is unknown."""
        left = self.planned.steps - self.step
        return left / self.rate if self.state == "running" and self.rate > 0 and left > 0 else math.nan

    def look(self) -> None:
        """Read step, speed and return from the run directory."""
        timing, evaluation = (last_row(self.planned.directory / f"{name}.csv") for name in ("timing", "eval"))
        self.step = int(number(timing, "step", self.step))
        self.rate = number(timing, "env_steps_per_s", math.nan)
        self.score = number(evaluation, "reward", math.nan)

    def is_finished(self) -> bool:
        """Say whether ``run.json`` tells of this run's end."""
        try:
            known = json.loads((self.planned.directory / "run.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return False
        same = all(known.get(key) == value for key, value in self.planned.identity.items())
        return same and known.get("status") == "finished" and known.get("step", 0) >= self.planned.steps

    def last_words(self) -> str:
        """Read the last line of the log."""
        lines = [line.strip() for line in _tail(self.log).splitlines() if line.strip()]
        return lines[-1] if lines else "no output"

    def row(self) -> dict[str, Any]:
        """Write the run as a row of ``status.csv``."""
        planned = self.planned
        return {
            "run": planned.label,
            "state": self.state,
            "exit_code": "" if self.code is None else self.code,
            "step": self.step,
            "steps": planned.steps,
            "return": _cell(self.score),
            "steps_per_s": _cell(self.rate),
            "seconds_left": _cell(self.seconds_left),
            "directory": planned.directory,
            "log": self.log,
        }


@dataclass
class Board:
    """All runs of a sweep, in order; threads add and change them.

    Attributes:
        entries: the runs.
        problems: what could not become a run, a line each.
    """

    entries: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, entry: Entry) -> Entry:
        """Add a run, unless one of its directory is there, which is returned then."""
        with self._lock:
            directory = entry.planned.directory
            known = next((one for one in self.entries if one.planned.directory == directory), None)
            if known is None:
                self.entries.append(entry)
            return known or entry

    def in_state(self, state: State) -> list[Entry]:
        """List the runs in a state."""
        return [entry for entry in list(self.entries) if entry.state == state]

    def counts(self) -> str:
        """Count the runs by their state, in words."""
        found = Counter(entry.state for entry in list(self.entries))
        return ", ".join(f"{found[state]} {state}" for state in STATES if found[state])


def last_row(path: Path) -> dict[str, str]:
    """Read the last whole row of a CSV; empty without one."""
    try:
        with open(path, "rb") as file:
            head = file.readline().decode()
            begin = file.tell()
            file.seek(max(begin, file.seek(0, 2) - TAIL))
            lines = file.read().split(b"\n")[:-1]  # half a row, as a running process leaves it, does not count
    except FileNotFoundError:
        return {}
    return next(csv.DictReader([head, lines[-1].decode()])) if lines else {}


def number(row: Mapping[str, str], name: str, default: float) -> float:
    """Read a number of a row; ``default`` if the cell is empty or missing."""
    return float(row.get(name) or default)


def _tail(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _cell(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""
