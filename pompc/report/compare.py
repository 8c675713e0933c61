"""``pompc compare``: finished or running runs side by side."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from pompc.errors import UserError
from pompc.report.curves import plot_learning_curve

RESAMPLES = 2000


def interquartile_mean(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean of the middle half of the scores (Agarwal et al. 2021): ``[..., score]`` -> ``[...]``."""
    return stats.trim_mean(scores, 0.25, axis=axis)


def bootstrap_interval(scores: Sequence[np.ndarray], seed: int = 0) -> tuple[float, float]:
    """95 % stratified bootstrap interval of the interquartile mean (Agarwal et al. 2021).

    Args:
        scores: episodes of every seed, one array ``[episode]`` each; seeds are the strata.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(stratum, (RESAMPLES, len(stratum))) for stratum in scores]
    low, high = np.quantile(interquartile_mean(np.concatenate(drawn, axis=1)), [0.025, 0.975])
    return float(low), float(high)


def compare(paths: Sequence[Path], output: Path) -> int:
    """Print a table of the last evaluations and write curves (PNG) and the table's numbers (CSV).

    Runs of the same algorithm and environment are seeds of one method.

    Args:
        paths: run directories.
        output: the PNG; the CSV lies beside it with the same stem.

    Returns:
        The exit code 0.

    Raises:
        UserError: a path is no run directory, or has no evaluation yet, or the environments differ.
    """
    groups: dict[str, list[Path]] = {}
    environments = set()
    for path in paths:
        if not (path / "run.json").exists():
            raise UserError(f"{path} is no run directory: give the ones that `pompc run` writes")
        if not (path / "eval.csv").exists():
            raise UserError(f"{path} has no eval.csv yet: wait for its first evaluation")
        identity = json.loads((path / "run.json").read_text(encoding="utf-8"))
        environments.add(identity["env"])
        groups.setdefault(identity["algo"], []).append(path)
    if len(environments) > 1:
        raise UserError(f"cannot compare runs on different environments: {', '.join(sorted(environments))}")
    rows = [summary(name, runs) for name, runs in groups.items()]
    title = f"last evaluation on {environments.pop()}"
    table = Table(title=title)
    for name in ("", *(str(row["algorithm"]) for row in rows)):
        table.add_column(name, justify="right" if name else "left")
    for key in list(rows[0])[1:]:
        table.add_row(key, *(_readable(row[key]) for row in rows))
    Console().print(table)
    output.parent.mkdir(parents=True, exist_ok=True)
    with open(output.with_suffix(".csv"), "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    files = {name: [path / "eval.csv" for path in runs] for name, runs in groups.items()}
    plot_learning_curve(files, output, title=title.removeprefix("last evaluation on "))
    Console().print(f"written: {output}, {output.with_suffix('.csv')}", highlight=False, soft_wrap=True)
    return 0


def _readable(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


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
