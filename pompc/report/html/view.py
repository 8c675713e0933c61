"""What the page says and shows: a comparison as texts for the template and numbers for the charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pompc
from pompc.report.comparison import TRACES
from pompc.report.html.cells import difference_table, final_table, gain_table, improvement_table, reaching_table
from pompc.report.html.charts import columns, constants, environment_data, metrics, profile_data, without
from pompc.report.html.commands import commands
from pompc.report.html.naming import renamed
from pompc.report.html.record import facts, reached
from pompc.report.html.videos import Video, choose, sources
from pompc.report.html.words import SHORT, capitalised, counted, listed
from pompc.report.labels import label
from pompc.report.runs import AXES
from pompc.report.scores import better, sign
from pompc.report.statistics import FEWEST_RUNS, RANGE
from pompc.report.tables import readable
from pompc.training.metric_names import METRICS, Metric

if TYPE_CHECKING:
    from pompc.report.comparison import Comparison, EnvironmentComparison
    from pompc.report.html.cells import Slots

MOST_NAMES = 4  # in the title
DIAGNOSTICS = ("policy_reward", "policy_gap", "planner_kl", "value_error")
"""Columns of an evaluation that compare the planner with its policy and its value; each has a chart of its own."""


def view(comparison: Comparison, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Prepare a comparison for the page.

    Args:
        comparison: what the page shows.
        folder: where the page lies; links to videos start there.

    Returns:
        What the template writes, and what the charts draw, both as plain containers.
    """
    comparison, full = renamed(comparison)
    environments = list(comparison.environments.values())
    names = list(dict.fromkeys(name for entry in environments for name in entry.methods))
    others = list(dict.fromkeys(band.label for entry in environments for band in entry.published))
    slots = {name: index for index, name in enumerate([*names, *others])}
    videos = {entry.name: _videos(entry) for entry in environments}
    addresses = sources([video for found in videos.values() for _, video in found], folder)
    choices = _metrics(environments, comparison.options.metric)
    page = {
        "title": _title(environments, names),
        "facts": facts(environments, len(names)),
        "notes": _notes(comparison),
        "methods": [*names, *others],
        "full": full,
        "axes": [{"key": axis, "short": SHORT[axis], "why": _no_axis(environments, axis)} for axis in AXES],
        "metrics": choices,
        "seeds": sorted({run.seed for entry in environments for run in entry.runs}),
        "environments": [
            _environment(entry, comparison, slots, videos[entry.name], addresses) for entry in environments
        ],
        "overall": _overall(comparison, slots),
        "differences": [difference_table(entry) for entry in environments],
        "commands": commands(comparison),
        "runs": [
            {
                "path": str(run.path),
                "method": name,
                "env": entry.name,
                "seed": run.seed,
                "status": run.status or "unknown",
                "step": readable(reached(run)),
            }
            for entry in environments
            for name, method in entry.methods.items()
            for run in method.runs
        ],
        "version": pompc.__version__,
    }
    charts = {
        "methods": page["methods"],
        "metrics": choices,
        "axes": {**AXES, "seconds": "time of training"},
        "labels": {column: f"{column} [{metric.unit}]" for column, metric in _training_metrics(environments).items()},
        "environments": [environment_data(entry) for entry in environments],
        "overall": None
        if comparison.overall is None or comparison.overall.profiles is None
        else profile_data(comparison.overall.profiles),
    }
    return page, charts


def _title(environments: Sequence[EnvironmentComparison], names: Sequence[str]) -> str:
    where = [entry.name for entry in environments]
    methods = listed(names) if len(names) <= MOST_NAMES else counted(len(names), "method")
    tasks = listed(where) if len(where) <= MOST_NAMES else counted(len(where), "environment")
    return f"{methods} on {tasks}"


def _metrics(environments: Sequence[EnvironmentComparison], first: str) -> list[dict[str, str]]:
    found = dict.fromkeys([first, *(metric for entry in environments for metric in metrics(entry))])
    return [{"key": metric, "label": label(metric)} for metric in found]


def _no_axis(environments: Sequence[EnvironmentComparison], axis: str) -> str:
    """Say why no run at all can be drawn over an axis; empty if one can."""
    if any(entry.curves(axis=axis) for entry in environments):
        return ""
    return f"no timing.csv in any run, so no axis of {AXES[axis]}"


def _training_metrics(environments: Sequence[EnvironmentComparison]) -> dict[str, Metric]:
    """Find what is known of the columns of metrics.csv."""
    found = dict.fromkeys(column for entry in environments for column in columns(entry))
    return {column: METRICS[f"train/{column}"] for column in found if f"train/{column}" in METRICS}


def _notes(comparison: Comparison) -> list[str]:
    if not comparison.waiting:
        return []
    return [f"Left out, since there is no evaluation yet: {listed(map(str, comparison.waiting))}."]


def _environment(
    entry: EnvironmentComparison,
    comparison: Comparison,
    slots: Slots,
    videos: Sequence[tuple[str, Video]],
    addresses: Mapping[Path, str],
) -> dict[str, Any]:
    known, fixed = columns(entry), constants(entry)
    moving = [column for column in known if column not in fixed]
    dials = [column for column in moving if column in TRACES]
    options = comparison.options
    rows = [method.row for method in entry.methods.values()]
    return {
        "name": entry.name,
        "notes": [
            *map(capitalised, entry.notes),
            *(words for axis in AXES if (words := without(entry, axis))),
        ],
        "curve_note": _curve_note(entry),
        "final": final_table(
            rows, {name: method.scores for name, method in entry.methods.items()}, slots, entry.metric
        ),
        "places": [place | {"method": name} for name, method in entry.methods.items() for place in _places(method)],
        "gains": gain_table(entry, slots),
        "improvement": improvement_table(entry.improvement, slots),
        "reaching": reaching_table(entry, None if options.threshold is not None else options.share, slots),
        "profile_note": f"The share of the runs whose {label(entry.metric)} lies above the value. "
        f"{(better(entry.metric) or 'higher').capitalize()} is better.",
        "episode_note": _episode_note(entry),
        "dials": [{"column": column, "words": capitalised(METRICS[f"train/{column}"].meaning)} for column in dials],
        "fixed": [f"{column} {readable(value)}" for column, value in fixed.items() if column in TRACES],
        "no_dials": _no_dials(entry),
        "diagnostics": [metric for metric in DIAGNOSTICS if metric in metrics(entry)],
        "others": [column for column in moving if column not in TRACES],
        "videos": [
            {
                "method": name,
                "slot": slots[name],
                "words": video.words,
                "source": addresses[video.run.video],
            }
            for name, video in videos
            if video.run.video is not None
        ],
    }


def _places(method: Any) -> list[dict[str, str]]:
    keys = ("published", "published_step", "ours", "published_mean", "published_low", "published_high", "place")
    return [{key: readable(place[key]) for key in keys} for place in method.places]


def _curve_note(entry: EnvironmentComparison) -> str:
    words = "Thick: the interquartile mean over the runs. Thin: the runs."
    ranged = [name for name, method in entry.methods.items() if method.row["extent"] == RANGE]
    if len(ranged) < len(entry.methods):
        words += " Band: the 95 % bootstrap interval"
        words += f", or of fewer than {FEWEST_RUNS} runs their range." if ranged else "."
    else:
        words += " Band: the range of the runs, too few for an interval."
    single = [name for name, method in entry.methods.items() if all(len(run.eval["step"]) == 1 for run in method.runs)]
    if len(single) < len(entry.methods):
        words += " Pale: not all runs of the method reach so far."
    if single:
        which = "" if len(single) == len(entry.methods) else f": {'; '.join(single)}"
        words += f" One evaluation, so a point instead of a curve{which}."
    return words


def _episode_note(entry: EnvironmentComparison) -> str:
    each = "A column is a run, a dot an episode, a bar the run's mean."
    if "success" in metrics(entry):
        return f"{each} Circle: success. Cross: failure."
    return f"{each} The environment reports no success."


def _no_dials(entry: EnvironmentComparison) -> str:
    if not any(run.metrics for run in entry.runs):
        return "No metrics.csv in any run, so no traces of training."
    return "No metrics.csv has a dial or an uncertainty: these methods have none."


def _videos(entry: EnvironmentComparison) -> list[tuple[str, Video]]:
    return [
        (name, video)
        for name, method in entry.methods.items()
        for video in choose(method.runs, [float(score) for score in method.scores], sign(entry.metric))
    ]


def _overall(comparison: Comparison, slots: Slots) -> dict[str, Any] | None:
    overall = comparison.overall
    if overall is None:
        return None
    return {
        "note": overall.note,
        "table": final_table(overall.rows, {}, slots, comparison.options.metric) if overall.rows else None,
        "improvement": improvement_table(overall.improvement, slots),
        "has_profiles": overall.profiles is not None,
    }
