"""Compare finished or running runs: ``pompc compare``."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pompc.report.comparison import CompareOptions, Comparison, EnvironmentComparison, Method
from pompc.report.compute import make_comparison
from pompc.report.curves import Panel, plot_panels
from pompc.report.html.page import write
from pompc.report.scores import ALL
from pompc.report.statistics import Interval
from pompc.report.tables import show
from pompc.system.files import require_writable

PICTURES = (".png", ".svg")
PAIRS = "-pairs.csv"
"""End of the name of the table of pairs of methods."""


def compare(
    paths: Sequence[Path],
    output: Path,
    options: CompareOptions | None = None,
    axis: str = "step",
    scale: str = "linear",
) -> int:
    """Print tables of the last evaluations; write the page (HTML), the curves (PNG, SVG) and the numbers (CSV).

    Runs of the same algorithm, environment and configuration are seeds of one method. A run's score is its mean over the
    episodes of its last evaluation (:mod:`pompc.report.scores`). Every environment has a panel and its tables. Several
    environments also share a table of normalised scores, if the bounds cover them. With published curves the CSV has a
    row per method and published method.

    Args:
        paths: run directories, folders above them, sweeps and patterns (:func:`pompc.report.runs.search`).
        output: one of the files; all have its stem.
        options: what to compare by.
        axis: what the pictures are drawn over, one of ``runs.AXES``.
        scale: of the metric in the pictures, one of ``curves.SCALES``.

    Returns:
        The exit code 0.

    Raises:
        UserError: see :func:`pompc.report.compute.make_comparison`; or a file cannot be written.
    """
    pictures = [output.with_suffix(suffix) for suffix in PICTURES]
    page, table, pairs = (
        output.with_suffix(".html"),
        output.with_suffix(".csv"),
        output.with_name(f"{output.stem}{PAIRS}"),
    )
    require_writable(output)
    for file in (page, *pictures, table, pairs):
        require_writable(file)
    comparison = make_comparison(paths, options)
    console = Console()
    show(console, comparison)
    written = [page, *pictures, table]
    _write(table, _rows(comparison))
    if rows := list(_pairs(comparison)):
        _write(pairs, rows)
        written.append(pairs)
    plot_panels(_panels(comparison, axis), *pictures, column=comparison.options.metric, axis=axis, scale=scale)
    write(comparison, page)
    console.print(f"written: {', '.join(map(str, written))}", highlight=False, soft_wrap=True)
    return 0


def _panels(comparison: Comparison, axis: str) -> list[Panel]:
    """Make a panel per environment; published curves are of the return over environment steps."""
    has_published = axis == "step" and comparison.options.metric == "reward"
    return [
        Panel(title=env, curves=entry.curves(axis=axis), bands=entry.published if has_published else ())
        for env, entry in comparison.environments.items()
    ]


def _rows(comparison: Comparison) -> list[dict[str, str | float]]:
    """List the rows of the CSV: every method on every environment, then the scores over all."""
    rows: list[dict[str, str | float]] = []
    for entry in comparison.environments.values():
        for method in entry.methods.values():
            row = {"environment": entry.name, **method.row, **_until(entry, method)}
            rows += [{**row, **place} for place in method.places] or [row]
    return rows + [dict(row) for row in (comparison.overall.rows if comparison.overall else ())]


def _until(entry: EnvironmentComparison, method: Method) -> dict[str, str | float]:
    """List when the method reaches the threshold, on every axis."""
    row: dict[str, str | float] = {}
    for axis, methods in entry.reaching.items():
        if (reaching := methods.get(method.name)) is not None:
            row |= {"threshold": reaching.threshold, "reached": float(reaching.reached)}
            values = {"": reaching.median, "_low": reaching.low, "_high": reaching.high}
            row |= {f"to_threshold_{axis}{end}": value for end, value in values.items()}
            row[f"censored_{axis}"] = reaching.censored_at
    return row


def _pairs(comparison: Comparison) -> Iterable[dict[str, str | float]]:
    """Yield a row per environment and ordered pair of methods; gains are over the baseline alone."""
    for entry in comparison.environments.values():
        for (a, b), probability in entry.improvement.items():
            row = {"environment": entry.name, "a": a, "b": b, **_columns("probability", probability)}
            if b == entry.baseline:
                gain = entry.gains[a]
                row |= {**_columns("gain", gain.points), **_columns("relative_gain", gain.relative)}
            yield row
    if comparison.overall is not None:
        for (a, b), probability in comparison.overall.improvement.items():
            yield {"environment": ALL, "a": a, "b": b, **_columns("probability", probability)}


def _columns(name: str, interval: Interval) -> dict[str, Any]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _write(path: Path, rows: Sequence[Mapping[str, str | float]]) -> None:
    """Write rows as a CSV file; environments report different quantities."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
