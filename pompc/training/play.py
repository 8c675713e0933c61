"""``pompc eval``: play a checkpoint and print the result."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pompc.config.run_options import RunConfig
from pompc.system.files import require_writable
from pompc.system.process import prepare
from pompc.training.assemble import Assembly
from pompc.training.directory import RunDirectory
from pompc.training.evaluate import EvalResult, evaluate
from pompc.training.opening import find_checkpoint, open_checkpoint
from pompc.training.video import record_episode


def evaluate_checkpoint(
    path: str | Path,
    *,
    best: bool = False,
    episodes: int | None = None,
    seed: int | None = None,
    video: str | Path | None = None,
    table: Path | None = None,
    overrides: Sequence[str] = (),
) -> int:
    """Play a checkpoint as ``pompc eval`` does, and print a table.

    Args:
        path: a run directory or a checkpoint file.
        best: of a run directory, take the checkpoint with the best evaluation instead of the last one.
        episodes: number of episodes, ``None`` for the run's own.
        seed: seed of the episodes; ``None`` for ``EvalConfig.fresh_seed``, which no evaluation in training has.
        video: where to write an mp4 of one episode; ``None`` writes none.
        table: where to write the episodes as a CSV, a row each; ``None`` writes none.
        overrides: ``key=value`` changes to the run's configuration, such as ``env.mismatch=1.0``.

    Returns:
        The exit code 0.

    Raises:
        UserError: no usable checkpoint, a wrong override, or a file that cannot be written.
    """
    file = find_checkpoint(Path(path), best=best)
    for output in (video, table):
        if output is not None:
            require_writable(Path(output))
    opened = open_checkpoint(file, overrides)
    parts, options = opened.parts, opened.spec.options
    prepare(options.threads)
    seed = options.eval.fresh_seed if seed is None else seed
    console = Console()
    with closing(parts.env):  # until the end: it keeps the connections of a family with servers
        result = _play(parts, options, episodes or options.eval.episodes, seed)
        console.print(_title(file, opened.state, seed, options), highlight=False, soft_wrap=True)
        console.print(_table(result))
        if table is not None:
            _write(result, table)
        if result.cut:
            console.print(f"{result.cut}: their returns are of the steps until there", highlight=False, soft_wrap=True)
        if video is not None:
            record_episode(parts.agent, parts.family, Path(video), seed=seed, device=parts.device)
            console.print(f"video: {video}", highlight=False, soft_wrap=True)
    return 0


def film_checkpoint(file: Path, video: Path) -> int:
    """Play one episode with a checkpoint and film it, as ``pompc demo`` does.

    Args:
        file: a checkpoint file.
        video: where to write the .mp4.

    Returns:
        The exit code 0.

    Raises:
        UserError: no usable checkpoint, or a film that cannot be written.
    """
    require_writable(video)
    opened = open_checkpoint(file)
    parts, options = opened.parts, opened.spec.options
    prepare(options.threads)
    with closing(parts.env):
        summary = record_episode(parts.agent, parts.family, video, seed=options.eval.fresh_seed, device=parts.device)
    facts = "  ".join(f"{name} {value:.4g}" for name, value in summary.items() if np.isfinite(value))
    Console().print(f"{facts}\nvideo: {video}", highlight=False, soft_wrap=True)
    return 0


def _play(parts: Assembly, options: RunConfig, episodes: int, seed: int) -> EvalResult:
    return evaluate(
        parts.agent,
        parts.family,
        episodes=episodes,
        seed=seed,
        noise_seed=options.seed,
        device=parts.device,
        at_once=options.evaluated_at_once,
        max_steps=options.eval.max_steps,
        diagnose=options.eval.diagnose,
        compare_policy=parts.compares_policy,
    )


def _title(file: Path, state: dict[str, Any], seed: int, options: RunConfig) -> str:
    """Title the table: what is played on which episodes, and for a selected checkpoint that its return is a maximum."""
    known = seed == options.eval.seed
    episodes = f"{'the episodes of the evaluations in training' if known else 'fresh episodes'}, seed {seed}"
    title = f"{file}, step {state['manifest']['step']:,}, {episodes}"
    if file.name != RunDirectory(file.parent).best.name:
        return title
    says_less = "the numbers below, too, are of the episodes that selected it" if known else "the numbers below are not"
    return (
        f"{title}\nselected: its return in training, {state['counters']['best']:.4g}, was the highest of all evaluations "
        f"until then, and being the highest is biased upwards; {says_less}"
    )


def _write(result: EvalResult, table: Path) -> None:
    """Write a row per episode."""
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["episode", *result.episodes[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"episode": index, **episode} for index, episode in enumerate(result.episodes))


def _table(result: EvalResult) -> Table:
    table = Table()
    for heading in ("", f"mean of {len(result.episodes)}", "std", "min", "max"):
        table.add_column(heading, justify="right" if heading else "left")
    for name in result.episodes[0]:
        values = result.column(name)
        values = values[np.isfinite(values)]
        if values.size:
            std = values.std(ddof=1) if values.size > 1 else 0.0
            table.add_row(name, *(f"{number:.4g}" for number in (values.mean(), std, values.min(), values.max())))
    return table
