"""Curves of runs and of methods over environment steps, time or model steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pompc.report.runs import Columns, Run, read_columns
from pompc.report.statistics import Band, curve_band

MOST_POINTS = 200  # of a method's band


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """The curve of one run.

    Attributes:
        places: increasing places on the axis ``[point]``.
        values: finite values ``[point]``.
        run: the run; ``None`` for a file alone.
    """

    places: np.ndarray
    values: np.ndarray
    run: Run | None = None

    @property
    def is_running(self) -> bool:
        """Whether the run goes on."""
        return self.run is not None and self.run.is_running


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """The curves of a method's runs and their interquartile mean.

    Attributes:
        lines: a line per run that has a point.
        places: places ``[point]`` of the band.
        band: over the runs that are there at each place: ``band.runs`` counts them.
    """

    lines: Sequence[Line]
    places: np.ndarray
    band: Band


def line(run: Run, table: Columns, column: str, axis: str = "step") -> Line | None:
    """Take a column of a run's table as a curve over an axis.

    Args:
        run: the run.
        table: ``run.eval`` or ``run.metrics``.
        column: the quantity.
        axis: one of ``runs.AXES``.

    Returns:
        The finite points; ``None`` without any, or if the axis stands still (the model steps of a run without a model).
    """
    if column not in table:
        return None
    places, values = run.axis(axis, table["step"]), table[column]
    is_there = np.isfinite(places) & np.isfinite(values)
    places, values = places[is_there], values[is_there]
    stands_still = len(places) > 1 and places[0] == places[-1]
    return Line(places=places, values=values, run=run) if len(places) and not stands_still else None


def curve(runs: Sequence[Run], column: str, axis: str = "step") -> Curve | None:
    """Make the curve of a method from its runs' eval.csv; ``None`` if no run has the column on this axis."""
    lines = [line(run, run.eval, column, axis) for run in runs]
    return of_lines([entry for entry in lines if entry is not None])


def read_curve(files: Sequence[Path], column: str = "reward") -> Curve | None:
    """Make the curve of a method over environment steps from eval.csv files; ``None`` without an evaluation."""
    tables = [table for table in map(read_columns, files) if column in table]
    return of_lines([Line(places=table["step"], values=table[column]) for table in tables])


def of_lines(lines: Sequence[Line]) -> Curve | None:
    """Join the lines of runs; ``None`` without one."""
    if not lines:
        return None
    places = np.unique(np.concatenate([entry.places for entry in lines]))
    if len(places) > MOST_POINTS:
        places = np.linspace(places[0], places[-1], MOST_POINTS)
    return Curve(lines=lines, places=places, band=curve_band(on_places(lines, places)))


def on_places(lines: Sequence[Line], places: np.ndarray) -> np.ndarray:
    """Interpolate lines linearly, each within its own range only: ``[run, point]``, nan outside of it."""
    return np.stack([np.interp(places, entry.places, entry.values, left=np.nan, right=np.nan) for entry in lines])
