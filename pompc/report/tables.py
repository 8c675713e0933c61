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

UNITS = {"step": "steps", "seconds": "s", "model_steps": "model steps"}


def show(console: Console, comparison: Comparison) -> None:
    """Print everything that is no picture."""
    for environment in comparison.environments.values():
        _show_environment(console, environment, comparison)
    if comparison.overall is not None:
        _show_overall(console, comparison.overall)
    running = [run.path for entry in comparison.environments.values() for run in entry.runs if run.is_running]
    if running:
        _say(console, f"not finished, so read with care: {', '.join(map(str, running))}")
    if comparison.waiting:
        _say(console, f"without an evaluation yet, so left out: {', '.join(map(str, comparison.waiting))}")


def _show_environment(console: Console, entry: EnvironmentComparison, comparison: Comparison) -> None:
    methods = entry.methods.values()
    _show_final(console, f"last evaluation on {entry.name}", [method.row for method in methods])
    places = [{**method.row, **place} for method in methods for place in method.places]
    if places:
        console.print(_places(entry.name, places))
    elif comparison.options.published is not None:
        _say(console, f"{comparison.options.published} has no curve for {entry.name}")
    if len(entry.methods) > 1:
        console.print(
            _improvement(f"probability that a run of the line beats one of the column, on {entry.name}", entry)
        )
        if entry.gains:
            console.print(_gains(entry))
    if not np.isnan(entry.threshold):
        console.print(_reaching(entry))


def _show_overall(console: Console, overall: Overall) -> None:
    _show_final(console, "normalised scores over all environments", overall.rows)
    if len(overall.rows) > 1:
        title = "probability that a run of the line beats one of the column, mean over the environments"
        console.print(_improvement(title, overall))
    if overall.note:
        _say(console, overall.note)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def _show_final(console: Console, title: str, rows: Sequence[Mapping[str, str | float]]) -> None:
    """Print a table with one column per method, and a note on ranges that are no intervals."""
    if not rows:
        return
    table = Table(title=title)
    for name in ("", *(str(row["algorithm"]) for row in rows)):
        table.add_column(name, justify="right" if name else "left")
    keys = dict.fromkeys(key for row in rows for key in row if key not in ("environment", "algorithm"))
    for key in keys:
        table.add_row(key, *(_readable(row.get(key, float("nan"))) for row in rows))
    console.print(table)
    few = [str(row["algorithm"]) for row in rows if row["extent"] == RANGE]
    if few:
        _say(
            console,
            f"fewer than {FEWEST_RUNS} runs, so low and high are the lowest and the highest run, and no confidence "
            f"interval: {', '.join(few)}",
        )


def _places(env: str, rows: Sequence[Mapping[str, str | float]]) -> Table:
    """Build a table with one line per method and published method."""
    table = Table(title=f"published curves on {env}")
    for name in ("", "published", "step", "ours", "mean", "band", "ours is"):
        table.add_column(name, justify="left" if name in ("", "published", "ours is") else "right", overflow="fold")
    for row in rows:
        keys = ("published_step", "ours", "published_mean", "published_low", "published_high")
        step, ours, mean, low, high = (_readable(row[key]) for key in keys)
        band = low if low == high else f"{low} to {high}"
        cells = (row["algorithm"], row["published"], step, ours, mean, band, row["place"])
        table.add_row(*map(str, cells))
    return table


def _improvement(title: str, entry: EnvironmentComparison | Overall) -> Table:
    """Build the matrix of probabilities, with their intervals."""
    names = list(dict.fromkeys(a for a, _ in entry.improvement))
    table = Table(title=title)
    for name in ("", *names):
        table.add_column(name, justify="right" if name else "left", overflow="fold")
    for a in names:
        table.add_row(a, *("" if a == b else _interval(entry.improvement[a, b]) for b in names))
    return table


def _gains(entry: EnvironmentComparison) -> Table:
    """Build a table of what the methods gain over the baseline."""
    table = Table(title=f"gain in {entry.metric} over {entry.baseline}, on {entry.name}")
    for name in ("", "difference of the means", "relative"):
        table.add_column(name, justify="right" if name else "left", overflow="fold")
    for name, gain in entry.gains.items():
        table.add_row(name, _interval(gain.points), _percent(gain))
    return table


def _percent(gain: Gain) -> str:
    part = gain.relative
    return _interval(Interval(value=100 * part.value, low=100 * part.low, high=100 * part.high), " %")


def _reaching(entry: EnvironmentComparison) -> Table:
    """Build a table of how soon the methods reach the threshold, on every axis that is known."""
    axes = [axis for axis in AXES if entry.reaching[axis]]
    table = Table(
        title=f"until {entry.metric} reaches {_readable(entry.threshold)} on {entry.name}, median of the runs"
    )
    for name in ("", "runs that do", *(UNITS[axis] for axis in axes)):
        table.add_column(name, justify="right" if name else "left", overflow="fold")
    for name in entry.methods:
        found = {axis: entry.reaching[axis].get(name) for axis in axes}
        known = next((reaching for reaching in found.values() if reaching is not None), None)
        if known is not None:
            cells = ("-" if reaching is None else until(reaching) for reaching in found.values())
            table.add_row(name, f"{known.reached} of {known.runs}", *cells)
    return table


def until(reaching: Reaching) -> str:
    """Write a median and its bounds; ``>`` marks what lies beyond the end of runs that do not reach the threshold."""

    def place(value: float) -> str:
        return f"> {_readable(reaching.censored_at)}" if np.isinf(value) else _readable(value)

    if np.isinf(reaching.low) or reaching.low == reaching.high:
        return place(reaching.median)
    return f"{place(reaching.median)} [{place(reaching.low)}, {place(reaching.high)}]"


def _interval(interval: Interval, unit: str = "") -> str:
    value = _readable(interval.value)
    if np.isnan(interval.low):
        return f"{value}{unit}"
    return f"{value}{unit} [{_readable(interval.low)}, {_readable(interval.high)}]"


def _readable(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return "-" if np.isnan(value) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
