"""The tables of the page, as texts and positions; the template writes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pompc.report.html.words import censored
from pompc.report.labels import label
from pompc.report.runs import AXES
from pompc.report.scores import sign
from pompc.report.statistics import FEWEST_RUNS, INTERVAL
from pompc.report.tables import UNITS, readable, until

if TYPE_CHECKING:
    from pompc.report.comparison import EnvironmentComparison
    from pompc.report.statistics import Interval

Slots = Mapping[str, int]
"""The place of every method in the page's list, which gives it its colour."""
WIDE = ("extent", "points")
"""Columns of texts, which stand last."""
MOST_BESIDE = 6
"""Methods of a matrix that has another figure beside it."""
MARK_WIDTH, MARK_EDGE = 150, 5
"""Of the picture of a method's runs in the final table, in pixels."""


def final_table(
    rows: Sequence[Mapping[str, Any]], scores: Mapping[str, np.ndarray], slots: Slots, metric: str = "reward"
) -> dict[str, Any]:
    """Lay out the final table: all columns of the CSV, and a picture of the runs.

    Args:
        rows: a row per method.
        scores: ``{method: scores [run]}``; empty for scores over several environments, which have no picture.
        slots: places of the methods.
        metric: the column of eval.csv that scores a run.
    """
    known = dict.fromkeys(key for row in rows for key in row if key not in ("environment", "algorithm"))
    columns = sorted(known, key=lambda column: column in WIDE)  # the others keep their order
    best = _supported_best(rows, metric)
    return {
        "columns": columns,
        "has_marks": bool(scores),
        "note": _note(rows, best, metric),
        "rows": [
            {
                "method": row["algorithm"],
                "slot": slots[row["algorithm"]],
                "mark": _mark(row, scores[row["algorithm"]], rows, scores) if scores else None,
                "cells": [
                    {
                        "text": readable(row.get(column, math.nan)),
                        "is_best": column == "iqm" and row["algorithm"] == best,
                    }
                    for column in columns
                ],
            }
            for row in rows
        ],
    }


def _supported_best(rows: Sequence[Mapping[str, Any]], metric: str) -> str | None:
    """Find the method whose interval is better than the intervals of all others: no point of them overlaps."""
    if len(rows) < 2 or any(row["extent"] != INTERVAL for row in rows):
        return None
    factor = sign(metric)
    worst, best = (
        {row["algorithm"]: pick(factor * row["low"], factor * row["high"]) for row in rows} for pick in (min, max)
    )
    first = max(worst, key=lambda name: worst[name])
    return first if worst[first] > max(value for name, value in best.items() if name != first) else None


def _note(rows: Sequence[Mapping[str, Any]], best: str | None, metric: str) -> str:
    few = [row["algorithm"] for row in rows if row["extent"] != INTERVAL]
    if few:
        which = "" if len(few) == len(rows) else f" ({'; '.join(few)})"
        words = (
            f"Of fewer than {FEWEST_RUNS} runs there is no interval: low and high are the lowest and the highest "
            f"run{which}."
        )
        return words if len(rows) < 2 else f"{words} So no method is marked as the best."
    words = "Low and high bound the interquartile mean (iqm): 95 % bootstrap interval over the runs."
    if len(rows) < 2:
        return words
    if best:
        return f"{words} The best is marked: its interval lies {'above' if sign(metric) > 0 else 'below'} all others."
    return f"{words} No method is marked as the best: the best intervals overlap."


def _mark(
    row: Mapping[str, Any], scores: np.ndarray, rows: Iterable[Mapping[str, Any]], all_scores: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Place the runs of a method, their interquartile mean and its bounds on a line that all methods share."""
    known = np.concatenate([*all_scores.values(), [entry[end] for entry in rows for end in ("low", "high")]])
    low, high = float(known.min()), float(known.max())

    def place(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(MARK_EDGE + share * (MARK_WIDTH - 2 * MARK_EDGE), 1)

    return {
        "low": place(row["low"]),
        "high": place(row["high"]),
        "middle": place(row["iqm"]),
        "points": [place(float(score)) for score in scores],
    }


def improvement_table(found: Mapping[tuple[str, str], Interval], slots: Slots) -> dict[str, Any] | None:
    """Lay out the probabilities that a run of the row beats a run of the column; ``None`` for a single method."""
    names = list(dict.fromkeys(a for a, _ in found))
    if not names:
        return None
    has_interval = any(not math.isnan(entry.low) for entry in found.values())
    note = "The probability that a run of the row is better than a run of the column."
    if has_interval:
        note += " Below it the 95 % bootstrap interval; bold: the interval leaves out 0.5."
    if any(math.isnan(entry.low) for entry in found.values()):
        note += f" With fewer than {FEWEST_RUNS} runs on a side there is no interval."
    rows = [
        {
            "method": a,
            "slot": slots[a],
            "cells": [None if a == b else {"other": b, **_probability(found[a, b])} for b in names],
        }
        for a in names
    ]
    return {"names": names, "rows": rows, "note": note, "is_wide": len(names) > MOST_BESIDE}


def _probability(entry: Interval) -> dict[str, Any]:
    has_ends = not math.isnan(entry.low)
    return {
        "value": "-" if math.isnan(entry.value) else f"{entry.value:.2f}",
        "ends": f"{entry.low:.2f} \u2013 {entry.high:.2f}" if has_ends else "",
        "side": "above" if entry.value >= 0.5 else "below",
        "strength": 0 if math.isnan(entry.value) else round(80 * abs(entry.value - 0.5)),
        "is_supported": has_ends and not entry.low <= 0.5 <= entry.high,
    }


def reaching_table(entry: EnvironmentComparison, share: float | None, slots: Slots) -> dict[str, Any] | None:
    """Lay out when the methods reach the threshold, on every axis that is known; ``None`` without a threshold.

    Args:
        entry: the environment.
        share: the share of the best mean that the threshold is; ``None`` if the threshold was given.
        slots: places of the methods.
    """
    axes = [axis for axis in AXES if entry.reaching.get(axis)]
    if not axes:
        return None
    threshold = f"{label(entry.metric)} {readable(entry.threshold)}"
    origin = "as given" if share is None else f"{share:.0%} of the best mean over all methods"
    rows = []
    for name in entry.methods:
        found = {axis: entry.reaching[axis].get(name) for axis in axes}
        known = next(((axis, one) for axis, one in found.items() if one is not None), None)
        if known is None:
            continue
        rows.append(
            {
                "method": name,
                "slot": slots[name],
                "reached": f"{known[1].reached} of {known[1].runs}",
                "places": ["-" if one is None else until(one) for one in found.values()],
                "words": censored(known[1], UNITS[known[0]]),
            }
        )
    return {
        "note": f"Until a run reaches {threshold} ({origin}): the median over the runs, and its bounds in brackets.",
        "axes": [AXES[axis] for axis in axes],
        "rows": rows,
    }


def gain_table(entry: EnvironmentComparison, slots: Slots) -> dict[str, Any] | None:
    """Lay out what the methods gain over the baseline; ``None`` without a baseline."""
    if not entry.gains:
        return None

    def bounded(interval: Interval, factor: float = 1.0, unit: str = "") -> str:
        value, low, high = (readable(factor * number) for number in (interval.value, interval.low, interval.high))
        return f"{value}{unit}" if math.isnan(interval.low) else f"{value}{unit} [{low}, {high}]"

    rows = [
        {"method": name, "slot": slots[name], "cells": [bounded(gain.points), bounded(gain.relative, 100, " %")]}
        for name, gain in entry.gains.items()
    ]
    return {"baseline": entry.baseline, "metric": label(entry.metric), "rows": rows}


def difference_table(entry: EnvironmentComparison) -> dict[str, Any]:
    """Lay out the options in which the methods differ; a value that is not the most common one of its row is marked."""
    rows = []
    for option, values in entry.differences.items():
        known = list(values.values())
        usual = max(known, key=known.count)
        rows.append(
            {
                "key": option,
                "cells": [
                    {
                        "method": name,
                        "text": values.get(name, "-"),
                        "is_other": name in values and values[name] != usual and known.count(usual) > 1,
                    }
                    for name in entry.methods
                ],
            }
        )
    unknown = [name for name, method in entry.methods.items() if not method.runs[0].config]
    note = "Only options that differ. Bold: not the most common value. A dash: the method has no such option."
    if unknown:
        note = f"No config.yaml of {'; '.join(unknown)}. {note}"
    if not rows:
        note = f"{'; '.join(unknown)}: no config.yaml." if unknown else "The configurations do not differ."
    return {"name": entry.name, "methods": list(entry.methods), "rows": rows, "note": note}
