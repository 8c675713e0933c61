"""``pompc collect``: play episodes with a checkpoint and write them as a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from gymnasium import spaces
from rich.console import Console
from rich.table import Table

from pompc.data.dataset import DatasetWriter, Episode, dataset_id
from pompc.data.vector import episode_seed
from pompc.errors import UserError
from pompc.offpolicy.agent import OffPolicyAgent
from pompc.system.process import prepare
from pompc.training.evaluate import evaluate
from pompc.training.opening import Opened, find_checkpoint, open_checkpoint
from pompc.training.recording import EpisodeRecorder


def collect(
    path: Path,
    out: Path,
    *,
    episodes: int,
    best: bool = False,
    seed: int | None = None,
    explore: bool = False,
    overrides: Sequence[str] = (),
) -> int:
    """Play episodes, write them, and print them.

    Args:
        path: a run directory or a checkpoint file.
        out: a new folder.
        episodes: how many.
        best: of a run directory, take the checkpoint with the best evaluation instead of the last one.
        seed: seed of the episodes; ``None`` for that of ``pompc eval``.
        explore: act as in training; otherwise as evaluations do.
        overrides: ``key=value`` changes to the run's configuration.

    Returns:
        The exit code 0.

    Raises:
        UserError: no usable checkpoint, a wrong override, a folder that is not empty, or a missing package.
    """
    opened = open_checkpoint(find_checkpoint(path, best=best), overrides)
    parts, options = opened.parts, opened.spec.options
    if explore and options.eval.policy:
        raise UserError(
            "--explore acts as in training, and eval.policy=true in evaluations only: leave out one of them"
        )
    prepare(options.threads)
    seed = options.eval.fresh_seed if seed is None else seed
    separate = parts.family.separate_envs
    made: list[Episode] = []
    with closing(parts.env), _writer(opened, out, seed, explore) as writer:

        def keep(episode: Episode) -> None:
            writer.add(episode)
            made.append(episode)

        recorder = EpisodeRecorder(
            keep,
            extras=parts.agent.replay_extras if isinstance(parts.agent, OffPolicyAgent) else (),
            info_keys=parts.family.info_keys,
            seeds=lambda index: episode_seed(seed, index, 0) if separate else None,
        )
        result = evaluate(
            parts.agent,
            parts.family,
            episodes=episodes,
            seed=seed,
            noise_seed=options.seed,
            device=parts.device,
            at_once=options.evaluated_at_once,
            max_steps=options.eval.max_steps,
            explore=explore,
            recorder=recorder,
        )
    _say(opened, made, out, seed)
    if result.cut:
        Console().print(result.cut, highlight=False, soft_wrap=True)
    return 0


def _writer(opened: Opened, out: Path, seed: int, explore: bool) -> DatasetWriter:
    """Open the dataset with what is known of its origin."""
    problem, who = opened.parts.agent.problem, opened.state["manifest"]
    if problem.image_shape is None:
        seen = spaces.Box(-np.inf, np.inf, (problem.observation_dim,), np.float32)
    else:
        seen = spaces.Box(0, 255, problem.image_shape, np.uint8)
    origin = {name: who[name] for name in ("algo", "env", "step", "config_hash")}
    origin |= {
        "training_seed": who["seed"],
        "seed": seed,
        "explore": explore,
        "policy": opened.spec.options.eval.policy,
        "action_repeat": problem.action_repeat,
    }
    acting = "exploring as in training" if explore else "as in its evaluations"
    metadata = {
        "dataset_id": dataset_id(opened.spec.label, opened.spec.algorithm),
        "algorithm_name": opened.spec.algorithm,
        "description": f"{opened.spec.algorithm} on {opened.spec.label} after {who['step']:,} steps, {acting}",
        "pompc": origin,
    }
    return DatasetWriter(out, seen, spaces.Box(-1.0, 1.0, (problem.action_dim,), np.float32), metadata)


def _say(opened: Opened, made: Sequence[Episode], out: Path, seed: int) -> None:
    """Print every episode, and where they are."""
    console = Console()
    table = Table()
    for heading in ("episode", "seed", "return", "length"):
        table.add_column(heading, justify="right")
    returns = [episode.total_reward for episode in made]
    for index, (episode, total) in enumerate(zip(made, returns, strict=True)):
        own = "" if episode.seed is None else str(episode.seed)
        table.add_row(str(index), own, f"{total:.6g}", str(len(episode)))
    console.print(
        f"{opened.file}, step {opened.state['manifest']['step']:,}, seed {seed}", highlight=False, soft_wrap=True
    )
    console.print(table)
    steps = sum(len(episode) for episode in made)
    said = f"{len(made)} episodes, {steps:,} steps, mean return {np.mean(returns):.6g}: {out}"
    console.print(said, highlight=False, soft_wrap=True)
