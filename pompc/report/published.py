"""Read published learning curves and compare runs with them."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pompc.errors import UserError

COLUMNS = ("method", "task", "env_steps", "seed", "return")
INTERVAL, DEVIATION = ("mean", "ci_lo", "ci_hi"), ("mean", "std")
UNTAGGED_SOURCE = "TD-MPC2 repository"  # of a method without ``@source``
SHORT_DOMAINS = {"ball-in-cup": "cup", "point-mass": "pointmass"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Band:
    """A published curve: one method on one task.

    Attributes:
        method: the tag in the file, ``tdmpc2`` or ``bmpc@bmpc-repo-dmc1M``.
        extent: meaning of the band from ``low`` to ``high``, in words.
        steps: environment frames ``[point]``, increasing.
        mean: mean return ``[point]``.
        low: lower end of the band ``[point]``.
        high: upper end of the band ``[point]``.
    """

    method: str
    extent: str
    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def label(self) -> str:
        """Method, source and meaning of the band, for a legend."""
        name, _, source = self.method.partition("@")
        return f"{name} ({source or UNTAGGED_SOURCE}: {self.extent})"

    def until(self, limit: float) -> Band:
        """Cut the band at step ``limit``, linear between points, so that it reaches the edge of its axes."""
        end = min(limit, self.steps[-1])
        steps = np.append(self.steps[self.steps < end], end)
        columns = {name: np.interp(steps, self.steps, getattr(self, name)) for name in ("mean", "low", "high")}
        return Band(method=self.method, extent=self.extent, steps=steps, **columns)

    def place(self, steps: np.ndarray, values: np.ndarray) -> dict[str, str | float]:
        """Compare another curve with the band at the last published step that it reaches.

        Args:
            steps: environment frames of the other curve ``[other]``, increasing.
            values: its returns ``[other]``, taken as linear in between.

        Returns:
            ``published_step`` (never 0, before any learning), ``ours``, ``published_mean``, ``published_low``,
            ``published_high`` and ``place``: ``inside``, ``above`` or ``below`` the band. Without a shared step the
            numbers are nan and the place is ``not reached``.
        """
        shared = np.flatnonzero((self.steps > 0) & (self.steps >= steps[0]) & (self.steps <= steps[-1]))
        if not len(shared):
            row: dict[str, str | float] = dict.fromkeys(
                ("published_step", "ours", "published_mean", "published_low", "published_high"), float("nan")
            )
            return {**row, "place": "not reached"}
        last = shared[-1]
        low, high = float(self.low[last]), float(self.high[last])
        ours = float(np.interp(self.steps[last], steps, values))
        return {
            "published_step": float(self.steps[last]),
            "ours": ours,
            "published_mean": float(self.mean[last]),
            "published_low": low,
            "published_high": high,
            "place": "below" if ours < low else "above" if ours > high else "inside",
        }


def task_key(task: str) -> str:
    """Spell a task in one way: ``ball_in_cup-catch`` and ``cup-catch`` -> ``cup-catch``."""
    key = task.lower().replace("_", "-")
    for domain, short in SHORT_DOMAINS.items():
        if key.startswith(f"{domain}-"):
            return short + key.removeprefix(domain)
    return key


def read_published(path: Path) -> dict[str, list[Band]]:
    """Read the bands of every task from a CSV with the columns ``method,task,env_steps,seed,return``.

    A method's seeds are numbers (the band goes from the lowest to the highest), ``mean``, ``ci_lo`` and ``ci_hi``, or
    ``mean`` and ``std`` (the band is one standard deviation to either side).

    Returns:
        Bands by :func:`task_key`, in the file's order of methods.

    Raises:
        UserError: the file cannot be read or has another form.
    """
    points: dict[tuple[str, str], dict[float, dict[str, float]]] = {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise UserError(f"{path} lacks the column {missing[0]}: published curves have {','.join(COLUMNS)}")
            for row in reader:
                step, value = (_number(path, reader, row, name) for name in ("env_steps", "return"))
                task, method, seed = (row[name] or "" for name in ("task", "method", "seed"))
                values = points.setdefault((task_key(task), method), {}).setdefault(step, {})
                if seed in values:
                    raise UserError(
                        f"{path}, line {reader.line_num}: {method} on {task} has seed {seed} twice at {step:g}"
                    )
                values[seed] = value
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no CSV text: published curves have {','.join(COLUMNS)}") from error
    bands: dict[str, list[Band]] = {}
    for (task, method), curve in points.items():
        bands.setdefault(task, []).append(_band(path, task, method, curve))
    return bands


def matching(tasks: Collection[str], bands: Mapping[str, Sequence[Band]], path: Path) -> dict[str, Sequence[Band]]:
    """Select the bands of our tasks.

    Args:
        tasks: our tasks, as the configurations write them.
        bands: bands of :func:`read_published`.
        path: the file, for the error.

    Returns:
        Bands of every task that the file has.

    Raises:
        UserError: the file has none of the tasks.
    """
    found = {task: bands[task_key(task)] for task in tasks if task_key(task) in bands}
    if not found:
        if not tasks:
            raise UserError(
                f"no run learns a single task from its state, and {path} has curves of such runs: leave out --published"
            )
        near = [name for task in tasks for name in difflib.get_close_matches(task_key(task), bands, n=4, cutoff=0.5)]
        known = ", ".join(dict.fromkeys(near or sorted(bands)))
        raise UserError(f"{path} has no curve for {', '.join(tasks)}: it has {known or 'no task at all'}")
    return found


def _number(path: Path, reader: csv.DictReader, row: dict[str, str], name: str) -> float:
    try:
        value = float(row[name])
    except (TypeError, ValueError):
        value = float("nan")
    if not np.isfinite(value):
        raise UserError(f"{path}, line {reader.line_num}: {name} is no finite number but {row[name]!r}")
    return value


def _band(path: Path, task: str, method: str, curve: dict[float, dict[str, float]]) -> Band:
    """Build the band of ``{step: {seed: return}}``; a numbered seed may be missing at a step."""
    steps = sorted(curve)
    seeds = {seed for values in curve.values() for seed in values}
    if seeds.isdisjoint(INTERVAL) and all(seed.isdecimal() for seed in seeds):
        rows = [(np.mean(list(values)), min(values), max(values)) for values in (curve[s].values() for s in steps)]
        extent = "mean, range of seeds"
    elif all(values.keys() == set(INTERVAL) for values in curve.values()):
        rows = [tuple(curve[step][name] for name in INTERVAL) for step in steps]
        extent = "mean, interval"
    elif all(values.keys() == set(DEVIATION) for values in curve.values()):
        rows = [(at["mean"], at["mean"] - at["std"], at["mean"] + at["std"]) for at in (curve[step] for step in steps)]
        extent = "mean, standard deviation"
    else:
        raise UserError(
            f"{path}: the seeds of {method} on {task} are {', '.join(sorted(seeds))}, but they must be whole numbers, or "
            f"{', '.join(INTERVAL)} at every step, or {', '.join(DEVIATION)}"
        )
    mean, low, high = np.array(rows, dtype=float).T
    return Band(method=method, extent=extent, steps=np.array(steps), mean=mean, low=low, high=high)
