"""Tables of a comparison for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from pompc.report.comparison import Comparison, EnvironmentComparison, Overall
from pompc.report.reaching import Reaching
from pompc.report.runs import AXES
from pompc.report.statistics import FEWEST_RUNS, RANGE, Gain, Interval

LONGEST_NAME = 30  # characters of a method in a table; longer ones are numbered
MOST_COLUMNS = 6  # methods side by side
LEFT_OUT = ("points", "extent", "std", "length")  # of a table with a line per method
UNITS = {"step": "steps", "seconds": "s", "model_steps": "model steps"}


def show(console: Console, comparison: Comparison) -> None:
    """Print everything that is no picture."""
    for environment in comparison.environments.values():
        _show_environment(console, environment, comparison)
    if comparison.overall is not None:
        _show_overall(console, comparison.overall)
    if comparison.waiting:
        _say(console, f"without an evaluation yet, so left out: {', '.join(map(str, comparison.waiting))}")


def _show_environment(console: Console, entry: EnvironmentComparison, comparison: Comparison) -> None:
    methods, short = entry.methods.values(), short_names(list(entry.methods))
    for name, sign in short.items():
        if name != sign:
            _say(console, f"{sign} is {name}")
    _show_final(console, f"last evaluation on {entry.name}", [method.row for method in methods], short)
    places = [{**method.row, **place} for method in methods for place in method.places]
    if places:
        console.print(_places(entry.name, places, short))
    elif comparison.options.published is not None:
        _say(console, f"{comparison.options.published} has no curve for {entry.name}")
    _show_improvement(
        console, f"probability that a run of the line beats one of the column, on {entry.name}", entry, short
    )
    if entry.gains:
        console.print(_gains(entry, short))
    if not np.isnan(entry.threshold):
        console.print(_reaching(entry, short))
    for note in entry.notes:
        _say(console, note)


def _show_overall(console: Console, overall: Overall) -> None:
    short = short_names([str(row["algorithm"]) for row in overall.rows])
    _show_final(console, "normalised scores over all environments", overall.rows, short)
    title = "probability that a run of the line beats one of the column, mean over the environments"
    _show_improvement(console, title, overall, short)
    if overall.note:
        _say(console, overall.note)


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Number the methods of algorithms whose names are long: ``{name: what stands in tables}``."""
    heads = [name.split(" (")[0] for name in names]
    numbers = [f"{head} {heads[: place + 1].count(head)}" for place, head in enumerate(heads)]
    long = {head for head, name in zip(heads, names, strict=True) if len(name) > LONGEST_NAME}
    return {
        name: number if head in long and heads.count(head) > 1 else name
        for name, head, number in zip(names, heads, numbers, strict=True)
    }


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def _show_final(
    console: Console, title: str, rows: Sequence[Mapping[str, str | float]], short: Mapping[str, str]
) -> None:
    """Print a table of a few methods as columns, of many as lines, and a note on ranges that are no intervals."""
    if not rows:
        return
    names = [short[str(row["algorithm"])] for row in rows]
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in ("environment", "algorithm")]
    cells = {key: [readable(row.get(key, float("nan"))) for row in rows] for key in keys}
    if len(rows) > MOST_COLUMNS:
        table = _table(title, ["", *(key for key in keys if key not in LEFT_OUT)])
        for place, name in enumerate(names):
            table.add_row(name, *(values[place] for key, values in cells.items() if key not in LEFT_OUT))
    else:
        table = _table(title, ["", *names])
        for key, values in cells.items():
            table.add_row(key, *values)
    console.print(table)
    few = [name for name, row in zip(names, rows, strict=True) if row["extent"] == RANGE]
    if few:
        _say(
            console,
            f"fewer than {FEWEST_RUNS} runs, so low and high are the lowest and the highest run, and no confidence "
            f"interval: {', '.join(few)}",
        )


def _table(title: str, columns: Sequence[str]) -> Table:
    """Begin a table whose first column has names and whose others have numbers."""
    table = Table(title=title)
    for name in columns:
        table.add_column(name, justify="right" if name else "left", overflow="fold")
    return table


def _places(env: str, rows: Sequence[Mapping[str, str | float]], short: Mapping[str, str]) -> Table:
    """Build a table with one line per method and published method."""
    table = Table(title=f"published curves on {env}")
    for name in ("", "published", "step", "ours", "mean", "band", "ours is"):
        table.add_column(name, justify="left" if name in ("", "published", "ours is") else "right", overflow="fold")
    for row in rows:
        keys = ("published_step", "ours", "published_mean", "published_low", "published_high")
        step, ours, mean, low, high = (readable(row[key]) for key in keys)
        band = low if low == high else f"{low} to {high}"
        cells = (short[str(row["algorithm"])], row["published"], step, ours, mean, band, row["place"])
        table.add_row(*map(str, cells))
    return table


def _show_improvement(
    console: Console, title: str, entry: EnvironmentComparison | Overall, short: Mapping[str, str]
) -> None:
    """Print the matrix of probabilities with their intervals, if it fits."""
    names = list(dict.fromkeys(a for a, _ in entry.improvement))
    if len(names) > MOST_COLUMNS:
        _say(console, f"{title}: {len(entry.improvement)} pairs of methods, in the CSV of pairs")
    elif names:
        table = _table(title, ["", *(short[name] for name in names)])
        for a in names:
            table.add_row(short[a], *("" if a == b else _interval(entry.improvement[a, b]) for b in names))
        console.print(table)


def _gains(entry: EnvironmentComparison, short: Mapping[str, str]) -> Table:
    """Build a table of what the methods gain over the baseline."""
    title = f"gain in {entry.metric} over {short[str(entry.baseline)]}, on {entry.name}"
    table = _table(title, ["", "difference of the means", "relative"])
    for name, gain in entry.gains.items():
        table.add_row(short[name], _interval(gain.points), _percent(gain))
    return table


def _percent(gain: Gain) -> str:
    part = gain.relative
    return _interval(Interval(value=100 * part.value, low=100 * part.low, high=100 * part.high), " %")


def _reaching(entry: EnvironmentComparison, short: Mapping[str, str]) -> Table:
    """Build a table of how soon the methods reach the threshold, on every axis that is known."""
    axes = [axis for axis in AXES if entry.reaching[axis]]
    title = f"until {entry.metric} reaches {readable(entry.threshold)} on {entry.name}, median of the runs"
    table = _table(title, ["", "runs that do", *(UNITS[axis] for axis in axes)])
    table.caption = f"[ ] is the 95 % interval of the median, of fewer than {FEWEST_RUNS} runs the first and the last"
    for name in entry.methods:
        found = {axis: entry.reaching[axis].get(name) for axis in axes}
        known = next((reaching for reaching in found.values() if reaching is not None), None)
        if known is not None:
            cells = ("-" if reaching is None else until(reaching) for reaching in found.values())
            table.add_row(short[name], f"{known.reached} of {known.runs}", *cells)
    return table


def until(reaching: Reaching) -> str:
    """Write a median and its bounds.

    ``>`` marks what lies beyond the end of runs that do not reach the threshold, ``<=`` what may have been reached before
    the first evaluation.
    """

    def place(value: float) -> str:
        return f"> {_compact(reaching.censored_at)}" if np.isinf(value) else _compact(value)

    median = f"{'<= ' if reaching.is_bound else ''}{place(reaching.median)}"
    if np.isinf(reaching.low) or reaching.low == reaching.high:
        return median
    return f"{median} [{place(reaching.low)}, {place(reaching.high)}]"


def _interval(interval: Interval, unit: str = "") -> str:
    value = readable(interval.value)
    if np.isnan(interval.value):
        return value
    if np.isnan(interval.low):
        return f"{value}{unit}"
    return f"{value}{unit} [{readable(interval.low)}, {readable(interval.high)}]"


def readable(value: str | float) -> str:
    """Write a cell: four digits, from 1000 on whole with separators, ``-`` for nan."""
    if isinstance(value, str):
        return value
    return "-" if np.isnan(value) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _compact(value: float) -> str:
    """Write a count with three digits or more: ``87.7k``."""
    sizes = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
    size, unit = next(((size, unit) for size, unit in sizes if value >= size), (1.0, ""))
    return f"{value / size:.4g}{unit}"
