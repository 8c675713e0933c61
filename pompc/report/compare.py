"""Compare finished or running runs: ``pompc compare``."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from pompc.config.spec import UNHASHED
from pompc.config.values import flatten
from pompc.errors import UserError
from pompc.registry import ENVIRONMENTS
from pompc.report.curves import Panel, plot_panels, read_eval
from pompc.report.published import Band, matching, read_published
from pompc.report.scores import Bounds, over_all, run_scores, summary
from pompc.report.statistics import FEWEST_RUNS, RANGE
from pompc.system.files import require_writable


def compare(paths: Sequence[Path], output: Path, published: Path | None = None, bounds: Sequence[Bounds] = ()) -> int:
    """Print tables of the last evaluations; write curves (PNG) and the numbers of the tables (CSV).

    Runs of the same algorithm, environment and configuration are seeds of one method. A run's score is its mean over the
    episodes of its last evaluation (:mod:`pompc.report.scores`). Every environment has a panel and a table. Several
    environments also share a table of normalised scores, if ``bounds`` cover them. With published curves the CSV has a
    row per method and published method.

    Args:
        paths: run directories.
        output: the PNG; the CSV lies beside it with the same stem.
        published: a file of published curves to compare with (:func:`pompc.report.published.read_published`).
        bounds: returns to normalise by; the last one that fits an environment counts.

    Returns:
        The exit code 0.

    Raises:
        UserError: a path is no run directory or has no evaluation yet, two runs are the same seed of one method, the
            published curves belong to other tasks, or the output cannot be written.
    """
    require_writable(output)
    environments = _environments(paths)
    bands = {} if published is None else _published_bands(environments, published)
    rows: list[dict[str, str | float]] = []
    console = Console()
    scores: dict[str, dict[str, np.ndarray]] = {}
    for env, groups in environments.items():
        columns = {name: run_scores(runs) for name, runs in groups.items()}
        scores[env] = {name: runs["reward"] for name, runs in columns.items()}
        methods = [{"environment": env, **summary(name, runs)} for name, runs in columns.items()]
        _show(console, f"last evaluation on {env}", methods)
        places = [
            {**row, **place}
            for row, runs in zip(methods, groups.values(), strict=True)
            for place in against_published(runs, bands.get(env, ()))
        ]
        if places:
            console.print(_places(env, places))
        elif published is not None:
            console.print(f"{published} has no curve for {env}", highlight=False, soft_wrap=True)
        rows += places or methods
    if len(environments) > 1:
        whole, note = over_all(scores, bounds)
        _show(console, "normalised scores over all environments", whole)
        if note:
            console.print(note, highlight=False, soft_wrap=True)
        rows += whole
    with open(output.with_suffix(".csv"), "w", newline="", encoding="utf-8") as file:
        # Environments report different quantities.
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    panels = [
        Panel(
            title=env,
            files={name: [path / "eval.csv" for path in runs] for name, runs in groups.items()},
            bands=bands.get(env, ()),
        )
        for env, groups in environments.items()
    ]
    plot_panels(panels, output)
    console.print(f"written: {output}, {output.with_suffix('.csv')}", highlight=False, soft_wrap=True)
    return 0


def _environments(paths: Sequence[Path]) -> dict[str, dict[str, list[Path]]]:
    """Group the runs as ``{environment: {method: run directories}}``, in the order of the paths."""
    found: dict[str, dict[tuple[str, str | None], dict[int, Path]]] = {}
    for path in paths:
        if not (path / "run.json").exists():
            raise UserError(f"{path} is no run directory: give the ones that `pompc run` writes")
        if not all(_has_rows(path / name) for name in ("eval.csv", "eval_episodes.csv")):
            raise UserError(f"{path} has no evaluation yet: wait for its first one")
        identity = json.loads((path / "run.json").read_text(encoding="utf-8"))
        methods = found.setdefault(identity["env"], {})
        seeds = methods.setdefault((identity["algo"], identity.get("config_hash")), {})
        if (seed := identity["seed"]) in seeds:
            raise UserError(f"{seeds[seed]} and {path} are the same seed {seed} of {identity['algo']}: leave one out")
        seeds[seed] = path
    return {env: named(methods) for env, methods in found.items()}


def named(methods: Mapping[tuple[str, str | None], Mapping[int, Path]]) -> dict[str, list[Path]]:
    """Name the methods: ``{(algorithm, hash of the configuration): {seed: run}}`` -> ``{name: runs}``.

    A name is the algorithm's. Several methods of one algorithm also show the options in which they differ.
    """
    names = {}
    for algo in dict.fromkeys(algo for algo, _ in methods):
        runs = {key: list(seeds.values()) for (name, key), seeds in methods.items() if name == algo}
        configs = {key: _decisive(paths[0]) for key, paths in runs.items()}
        known = {key for config in configs.values() for key in config}
        differ = sorted(key for key in known if len({config.get(key) for config in configs.values()}) > 1)
        for key, paths in runs.items():
            facts = [f"{name.removeprefix('algo.')}={configs[key][name]}" for name in differ if name in configs[key]]
            label = f"{algo} ({', '.join(facts) or key})" if len(runs) > 1 else algo
            names[label if label not in names else f"{label} ({key})"] = paths
    return names


def _decisive(run: Path) -> dict[str, str]:
    """Read the options that decide a run's results, without its seed; empty if it has no configuration file."""
    file = run / "config.yaml"
    if not file.exists():
        return {}
    values = flatten(OmegaConf.to_container(OmegaConf.load(file)))  # type: ignore[arg-type]
    leaves = ((key, value) for key, value in values if not isinstance(value, Mapping))
    return {key: str(value) for key, value in leaves if not any(f"{key}.".startswith(f"{free}.") for free in UNHASHED)}


def _has_rows(table: Path) -> bool:
    """Say whether a CSV file exists and holds more than its header."""
    if not table.exists():
        return False
    with open(table, newline="", encoding="utf-8") as file:
        return next(csv.DictReader(file), None) is not None


def _published_bands(environments: dict[str, dict[str, list[Path]]], published: Path) -> dict[str, Sequence[Band]]:
    """Find the published curves of every environment that has some."""
    tasks: dict[str, str] = {}
    for env, groups in environments.items():
        found = {suite_task(path) for runs in groups.values() for path in runs}
        if len(found) == 1 and (task := found.pop()) is not None:
            tasks[env] = task
    bands = matching(tasks.values(), read_published(published), published)
    return {env: bands[task] for env, task in tasks.items() if task in bands}


def suite_task(path: Path) -> str | None:
    """Read the task of a run by which published curves name it (``walker-walk``).

    Returns:
        The task; ``None`` for a run whose environment has no published curves, or that observes pixels.

    Raises:
        UserError: the run has no config.yaml.
    """
    config = path / "config.yaml"
    if not config.exists():
        raise UserError(f"{path} has no config.yaml, which says its task: leave it out, or compare without --published")
    env = OmegaConf.load(config).get("env", {})
    family = ENVIRONMENTS.builtin.get(env.get("name"))
    key = None if family is None or env.get("pixels", False) else family.published
    return None if key is None else env[key]


def against_published(runs: Sequence[Path], bands: Sequence[Band]) -> list[dict[str, str | float]]:
    """Compare the mean over the seeds with each band at the last shared step: :meth:`Band.place` and the method."""
    if not bands:
        return []
    seeds = [read_eval(path / "eval.csv") for path in runs]
    steps = np.unique(np.concatenate([seed["step"] for seed in seeds]))  # of all seeds, so that no evaluation is lost
    steps = steps[steps <= min(seed["step"].max() for seed in seeds)]
    mean = np.mean([np.interp(steps, seed["step"], seed["reward"]) for seed in seeds], axis=0)
    return [{"published": band.method, **band.place(steps, mean)} for band in bands]


def _show(console: Console, title: str, rows: Sequence[dict[str, str | float]]) -> None:
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
        console.print(
            f"fewer than {FEWEST_RUNS} runs, so low and high are the lowest and the highest run, and no confidence "
            f"interval: {', '.join(few)}",
            highlight=False,
            soft_wrap=True,
        )


def _places(env: str, rows: Sequence[dict[str, str | float]]) -> Table:
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


def _readable(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return "-" if np.isnan(value) else f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
