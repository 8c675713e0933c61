"""Give methods names that fit into charts and tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pompc.report.tables import short_names

if TYPE_CHECKING:
    from pompc.report.comparison import Comparison, EnvironmentComparison, Overall, Profiles

Value = TypeVar("Value")


def renamed(comparison: Comparison) -> tuple[Comparison, dict[str, str]]:
    """Replace long names of methods by numbered ones; a method has one name on all environments.

    Returns:
        The comparison, and ``{name: what the method was called}`` of the replaced names.
    """
    environments = comparison.environments
    short = short_names(list(dict.fromkeys(name for entry in environments.values() for name in entry.methods)))
    changed = dataclasses.replace(
        comparison,
        environments={env: _environment(entry, short) for env, entry in environments.items()},
        overall=None if comparison.overall is None else _overall(comparison.overall, short),
    )
    return changed, {new: old for old, new in short.items() if new != old}


def _environment(entry: EnvironmentComparison, short: Mapping[str, str]) -> EnvironmentComparison:
    methods = {
        short[name]: dataclasses.replace(method, name=short[name], row=_row(method.row, short))
        for name, method in entry.methods.items()
    }
    return dataclasses.replace(
        entry,
        methods=methods,
        reaching={axis: _keyed(found, short) for axis, found in entry.reaching.items()},
        improvement={(short[a], short[b]): found for (a, b), found in entry.improvement.items()},
        gains=_keyed(entry.gains, short),
        baseline=None if entry.baseline is None else short[entry.baseline],
        profiles=_profiles(entry.profiles, short),
        differences={option: _keyed(values, short) for option, values in entry.differences.items()},
    )


def _overall(overall: Overall, short: Mapping[str, str]) -> Overall:
    return dataclasses.replace(
        overall,
        rows=[_row(row, short) for row in overall.rows],
        improvement={(short[a], short[b]): found for (a, b), found in overall.improvement.items()},
        profiles=None if overall.profiles is None else _profiles(overall.profiles, short),
    )


def _profiles(profiles: Profiles, short: Mapping[str, str]) -> Profiles:
    return dataclasses.replace(profiles, bands=_keyed(profiles.bands, short))


def _row(row: Mapping[str, Any], short: Mapping[str, str]) -> dict[str, Any]:
    return {**row, "algorithm": short[row["algorithm"]]}


def _keyed(values: Mapping[str, Value], short: Mapping[str, str]) -> dict[str, Value]:
    return {short[name]: value for name, value in values.items()}
