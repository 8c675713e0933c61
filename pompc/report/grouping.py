"""Group runs into methods: runs of the same algorithm, environment and configuration are seeds of one method."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pompc.config.spec import UNHASHED
from pompc.errors import UserError
from pompc.report.runs import Run

Methods = Mapping[str, Sequence[Run]]
"""The runs of every method by its name."""


@dataclass(frozen=True, eq=False)
class _Unnamed:
    """A method without a name.

    Attributes:
        algo: name of the algorithm.
        key: tells its configuration from others of the algorithm.
        folder: sets it apart from runs of its configuration with the same seeds; empty without such runs.
        runs: a run per seed.
    """

    algo: str
    key: str
    folder: str
    runs: Sequence[Run]


def group(runs: Sequence[Run], split: Sequence[str] = ()) -> dict[str, Methods]:
    """Group runs as ``{environment: {method: runs}}``, in the order of the runs.

    Runs of one configuration are a method for each folder that they lie in if they have a seed in common.

    Args:
        runs: the runs.
        split: options whose values make environments of their own (``env.mass``), among runs that have them.

    Raises:
        UserError: a folder holds the same seed of one configuration twice, or no run has an option of ``split``.
    """
    for option in split:
        if not any(option in run.config for run in runs):
            raise UserError(f"--split {option}: no run has this option in its config.yaml")
    found: dict[str, dict[tuple[str, str], list[Run]]] = {}
    for run in runs:
        facts = [f"{option.removeprefix('env.')}={run.config[option]}" for option in split if option in run.config]
        env = f"{run.env} ({', '.join(facts)})" if facts else run.env
        key = run.hash or json.dumps(sorted(_decisive(run).items()))
        found.setdefault(env, {}).setdefault((run.algo, key), []).append(run)
    return {
        env: _named([method for (algo, key), found in methods.items() for method in _apart(algo, key, found)])
        for env, methods in found.items()
    }


def _apart(algo: str, key: str, runs: Sequence[Run]) -> list[_Unnamed]:
    """Part the runs of a configuration by their folders, if they have a seed in common."""
    if len({run.seed for run in runs}) == len(runs):
        return [_Unnamed(algo, key, "", runs)]
    folders: dict[str, dict[int, Run]] = {}
    for run in runs:
        seeds = folders.setdefault(os.path.abspath(run.path.parent), {})
        if run.seed in seeds:
            raise UserError(
                f"{seeds[run.seed].path} and {run.path} are the same seed {run.seed} of {run.algo}: leave one out"
            )
        seeds[run.seed] = run
    above = os.path.commonpath(folders)
    names = {path: os.path.relpath(path, above) if path != above else os.path.basename(path) for path in folders}
    return [_Unnamed(algo, key, f"in {names[path]}", list(seeds.values())) for path, seeds in folders.items()]


def _named(methods: Sequence[_Unnamed]) -> dict[str, Sequence[Run]]:
    """Name methods.

    A name is the algorithm's. Several methods of one algorithm also show the options in which they differ, those of the
    evaluation only if nothing else tells them apart, and the folder of runs whose seeds others of them have too.
    """
    names: dict[str, Sequence[Run]] = {}
    for algo in dict.fromkeys(method.algo for method in methods):
        own = [method for method in methods if method.algo == algo]
        options = differences({method.key: method.runs for method in own})
        without = {name: values for name, values in options.items() if not name.startswith("eval.")}
        for facts in (without, options):
            labels = [", ".join(filter(None, [*_facts(facts, method.key), method.folder])) for method in own]
            if len(set(labels)) == len(own):
                break
        for method, words in zip(own, labels, strict=True):
            label = f"{algo} ({words or method.key})" if len(own) > 1 else algo
            names[label if label not in names else f"{label} ({method.key})"] = method.runs
    return names


def _facts(options: Mapping[str, Mapping[str, str]], method: str) -> list[str]:
    return [f"{name.removeprefix('algo.')}={values[method]}" for name, values in options.items() if method in values]


def differences(methods: Methods) -> dict[str, dict[str, str]]:
    """Find the options in which methods differ.

    Options that change no result (``UNHASHED``) do not count, the seed among them. A schedule that another method has as a
    number is shown by its kind: its further options do not count as differences from a number.

    Returns:
        ``{option: {method: value}}``, sorted; a method that does not have the option is absent.
    """
    configs = {name: _decisive(runs[0]) for name, runs in methods.items()}
    known = sorted({key for config in configs.values() for key in config})
    numbers = {key for key in known if any(other.startswith(f"{key}.") for other in known)}
    found = {key: {name: config[key] for name, config in configs.items() if key in config} for key in known}
    for key in numbers:
        kinds = {name: config.get(f"{key}.schedule") for name, config in configs.items() if key not in config}
        found[key] |= {name: kind for name, kind in kinds.items() if kind is not None}
    parts = {key for key in known for number in numbers if key.startswith(f"{number}.")}
    kinds = {f"{number}.schedule" for number in numbers}
    return {
        key: values
        for key, values in found.items()
        if key not in kinds and (len(set(values.values())) > 1 or (len(values) < len(configs) and key not in parts))
    }


def _decisive(run: Run) -> dict[str, str]:
    """Select the options that decide a run's results, without its seed."""
    free = tuple(f"{name}." for name in UNHASHED)
    return {key: str(value) for key, value in run.config.items() if not f"{key}.".startswith(free)}
