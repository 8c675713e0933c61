"""``pompc compare``: finished or running runs side by side."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from scipy import stats

from pompc.config import UNHASHED
from pompc.errors import UserError
from pompc.files import require_writable
from pompc.overrides import flatten
from pompc.report.curves import Panel, plot_panels, read_eval
from pompc.report.published import Band, matching, read_published

RESAMPLES = 2000


def interquartile_mean(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean of the middle half of the scores (Agarwal et al. 2021): ``[..., score]`` -> ``[...]``."""
    return stats.trim_mean(scores, 0.25, axis=axis)


def bootstrap_interval(scores: Sequence[np.ndarray], seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the interquartile mean: seeds are drawn anew, and of each of them its episodes.

    Resampling the runs is what Agarwal et al. (2021) do on one task; with few seeds the interval is still too narrow, with
    one it is that of its episodes.

    Args:
        scores: episodes of every seed, one array ``[episode]`` each; as many are drawn as the shortest has.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(scores), size=(RESAMPLES, len(scores)))
    drawn = np.empty((*chosen.shape, min(map(len, scores))))
    for index, episodes in enumerate(scores):
        here = chosen == index
        drawn[here] = rng.choice(episodes, (here.sum(), drawn.shape[-1]))
    low, high = np.quantile(interquartile_mean(drawn.reshape(RESAMPLES, -1)), [0.025, 0.975])
    return float(low), float(high)


def compare(paths: Sequence[Path], output: Path, published: Path | None = None) -> int:
    """Print tables of the last evaluations and write curves (PNG) and the tables' numbers (CSV).

    Runs of the same algorithm, environment and configuration are seeds of one method; every environment has its panel and
    its table.
    With published curves the CSV has a row per method and published method.

    Args:
        paths: run directories.
        output: the PNG; the CSV lies beside it with the same stem.
        published: a file of published curves (:func:`pompc.report.published.read_published`) to show and to compare with.

    Returns:
        The exit code 0.

    Raises:
        UserError: a path is no run directory, has no evaluation yet, or is a seed that another one is, too; the published
            curves are of other tasks; the output cannot be written.
    """
    require_writable(output)
    environments = _environments(paths)
    bands = {} if published is None else _published_bands(environments, published)
    rows: list[dict[str, str | float]] = []
    console = Console()
    for env, groups in environments.items():
        methods = [{"environment": env, **summary(name, runs)} for name, runs in groups.items()]
        console.print(_last_evaluations(env, methods))
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
    """``{environment: {method: run directories}}``, in the order of the paths."""
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
    """``{(algorithm, hash of the configuration): {seed: run}}`` -> ``{name: runs}``.

    A name is the algorithm's; where there are several of one, with what differs in their configurations.
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
    """``{key: value}`` of what decides a run's results, but for its seed; empty where its configuration is not there."""
    file = run / "config.yaml"
    if not file.exists():
        return {}
    values = flatten(OmegaConf.to_container(OmegaConf.load(file)))  # type: ignore[arg-type]
    leaves = ((key, value) for key, value in values if not isinstance(value, Mapping))
    return {key: str(value) for key, value in leaves if not any(f"{key}.".startswith(f"{free}.") for free in UNHASHED)}


def _has_rows(table: Path) -> bool:
    """Whether a CSV file is there and holds more than its header."""
    if not table.exists():
        return False
    with open(table, newline="", encoding="utf-8") as file:
        return next(csv.DictReader(file), None) is not None


def _published_bands(environments: dict[str, dict[str, list[Path]]], published: Path) -> dict[str, Sequence[Band]]:
    """The published curves of every environment that has some."""
    tasks: dict[str, str] = {}
    for env, groups in environments.items():
        found = {suite_task(path) for runs in groups.values() for path in runs}
        if len(found) == 1 and (task := found.pop()) is not None:
            tasks[env] = task
    bands = matching(tasks.values(), read_published(published), published)
    return {env: bands[task] for env, task in tasks.items() if task in bands}


def suite_task(path: Path) -> str | None:
    """The Control Suite task, as the user wrote it, that a run sees from its state; none for any other run."""
    config = path / "config.yaml"
    if not config.exists():
        raise UserError(f"{path} has no config.yaml, which says its task: leave it out, or compare without --published")
    env = OmegaConf.load(config).get("env", {})
    return env["task"] if env.get("name") == "dmc" and not env.get("pixels", False) else None


def against_published(runs: Sequence[Path], bands: Sequence[Band]) -> list[dict[str, str | float]]:
    """Where the mean over the seeds stands at the last step shared with each band: :meth:`Band.place` and its method."""
    if not bands:
        return []
    seeds = [read_eval(path / "eval.csv") for path in runs]
    steps = np.unique(np.concatenate([seed["step"] for seed in seeds]))  # all, so that no evaluation is lost
    steps = steps[steps <= min(seed["step"].max() for seed in seeds)]
    mean = np.mean([np.interp(steps, seed["step"], seed["reward"]) for seed in seeds], axis=0)
    return [{"published": band.method, **band.place(steps, mean)} for band in bands]


def _last_evaluations(env: str, rows: Sequence[dict[str, str | float]]) -> Table:
    """One column per method."""
    table = Table(title=f"last evaluation on {env}")
    for name in ("", *(str(row["algorithm"]) for row in rows)):
        table.add_column(name, justify="right" if name else "left")
    for key in [key for key in rows[0] if key not in ("environment", "algorithm")]:
        table.add_row(key, *(_readable(row[key]) for row in rows))
    return table


def _places(env: str, rows: Sequence[dict[str, str | float]]) -> Table:
    """One row per method and published method."""
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


def summary(name: str, runs: Sequence[Path]) -> dict[str, str | float]:
    """One row: the last evaluation of every seed of a method, over all its episodes."""
    episodes = [last_evaluation(path) for path in runs]
    returns = [seed["reward"] for seed in episodes]
    low, high = bootstrap_interval(returns)
    pooled = {key: np.concatenate([seed[key] for seed in episodes]) for key in episodes[0]}
    return {
        "algorithm": name,
        "seeds": float(len(runs)),
        "step": float(min(seed["step"][0] for seed in episodes)),
        "return": float(pooled["reward"].mean()),
        "seed_std": float(np.std([seed.mean() for seed in returns], ddof=1)) if len(runs) > 1 else float("nan"),
        "iqm": float(interquartile_mean(pooled["reward"])),
        "iqm_low": low,
        "iqm_high": high,
        **{key: float(pooled[key].mean()) for key in ("success", "cost", "length") if key in pooled},
    }


def last_evaluation(path: Path) -> dict[str, np.ndarray]:
    """Columns ``[episode]`` of the last evaluation in a run's eval_episodes.csv."""
    with open(path / "eval_episodes.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows = [row for row in rows if row["step"] == rows[-1]["step"]]
    return {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}
