"""Group runs into methods: runs of the same algorithm, environment and configuration are seeds of one method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pompc.config.spec import UNHASHED
from pompc.errors import UserError
from pompc.report.runs import Run

Methods = Mapping[str, Sequence[Run]]
"""The runs of every method by its name."""


def group(runs: Sequence[Run]) -> dict[str, Methods]:
    """Group runs as ``{environment: {method: runs}}``, in the order of the runs.

    Raises:
        UserError: two runs are the same seed of one method.
    """
    found: dict[str, dict[tuple[str, str | None], dict[int, Run]]] = {}
    for run in runs:
        seeds = found.setdefault(run.env, {}).setdefault((run.algo, run.hash), {})
        if run.seed in seeds:
            raise UserError(
                f"{seeds[run.seed].path} and {run.path} are the same seed {run.seed} of {run.algo}: leave one out"
            )
        seeds[run.seed] = run
    return {env: _named(methods) for env, methods in found.items()}


def _named(methods: Mapping[tuple[str, str | None], Mapping[int, Run]]) -> dict[str, Sequence[Run]]:
    """Name the methods ``{(algorithm, hash of the configuration): {seed: run}}``.

    A name is the algorithm's. Several methods of one algorithm also show the options in which they differ.
    """
    names: dict[str, Sequence[Run]] = {}
    for algo in dict.fromkeys(algo for algo, _ in methods):
        runs = {key: list(seeds.values()) for (name, key), seeds in methods.items() if name == algo}
        options = differences({str(key): seeds for key, seeds in runs.items()})
        for key, seeds in runs.items():
            own = {name: values[str(key)] for name, values in options.items() if str(key) in values}
            facts = [f"{name.removeprefix('algo.')}={value}" for name, value in own.items()]
            label = f"{algo} ({', '.join(facts) or key})" if len(runs) > 1 else algo
            names[label if label not in names else f"{label} ({key})"] = seeds
    return names


def differences(methods: Methods) -> dict[str, dict[str, str]]:
    """Find the options in which methods differ.

    Options that change no result (``UNHASHED``) do not count, the seed among them.

    Returns:
        ``{option: {method: value}}``, sorted; a method that does not have the option is absent.
    """
    configs = {name: _decisive(runs[0]) for name, runs in methods.items()}
    known = sorted({key for config in configs.values() for key in config})
    found = {key: {name: config[key] for name, config in configs.items() if key in config} for key in known}
    return {key: values for key, values in found.items() if len(set(values.values())) > 1 or len(values) < len(configs)}


def _decisive(run: Run) -> dict[str, str]:
    """Select the options that decide a run's results, without its seed."""
    free = tuple(f"{name}." for name in UNHASHED)
    return {key: str(value) for key, value in run.config.items() if not f"{key}.".startswith(free)}
