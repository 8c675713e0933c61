"""Group runs into methods: runs of the same algorithm, environment and configuration are seeds of one method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pompc.config.spec import UNHASHED
from pompc.errors import UserError
from pompc.report.runs import Run

Methods = Mapping[str, Sequence[Run]]
"""The runs of every method by its name."""


def group(runs: Sequence[Run], split: Sequence[str] = ()) -> dict[str, Methods]:
    """Group runs as ``{environment: {method: runs}}``, in the order of the runs.

    Args:
        runs: the runs.
        split: options whose values make environments of their own (``env.mass``).

    Raises:
        UserError: two runs are the same seed of one method, or no run has an option of ``split``.
    """
    for option in split:
        if not any(option in run.config for run in runs):
            raise UserError(f"--split {option}: no run has this option in its config.yaml")
    found: dict[str, dict[tuple[str, str | None], dict[int, Run]]] = {}
    for run in runs:
        facts = [f"{option.removeprefix('env.')}={run.config.get(option)}" for option in split]
        env = f"{run.env} ({', '.join(facts)})" if facts else run.env
        seeds = found.setdefault(env, {}).setdefault((run.algo, run.hash), {})
        if run.seed in seeds:
            raise UserError(
                f"{seeds[run.seed].path} and {run.path} are the same seed {run.seed} of {run.algo}: leave one out"
            )
        seeds[run.seed] = run
    return {env: _named(methods) for env, methods in found.items()}


def _named(methods: Mapping[tuple[str, str | None], Mapping[int, Run]]) -> dict[str, Sequence[Run]]:
    """Name the methods ``{(algorithm, hash of the configuration): {seed: run}}``.

    A name is the algorithm's. Several methods of one algorithm also show the options in which they differ, those of the
    evaluation only if nothing else tells them apart.
    """
    names: dict[str, Sequence[Run]] = {}
    for algo in dict.fromkeys(algo for algo, _ in methods):
        runs = {str(key): list(seeds.values()) for (name, key), seeds in methods.items() if name == algo}
        options = differences(runs)
        without = {name: values for name, values in options.items() if not name.startswith("eval.")}
        for facts in (without, options):
            labels = {key: ", ".join(_facts(facts, key)) for key in runs}
            if len(set(labels.values())) == len(runs):
                break
        for key, seeds in runs.items():
            label = f"{algo} ({labels[key] or key})" if len(runs) > 1 else algo
            names[label if label not in names else f"{label} ({key})"] = seeds
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
