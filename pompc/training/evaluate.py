"""Evaluation: whole episodes with the deterministic policy, invisible to the training."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from tensordict import TensorDictBase
from torchrl.envs import EnvBase

from pompc.config import config_hash, environment_files, run_config, with_overrides
from pompc.data.broken import broken_rows
from pompc.data.collector import with_agent_state
from pompc.errors import Unavailable, UserError
from pompc.files import require_writable
from pompc.process import prepare
from pompc.training import checkpoint
from pompc.training.acting import acting
from pompc.training.assemble import assemble
from pompc.training.video import record_episode

if TYPE_CHECKING:
    from pompc.agent import MPPIRL
    from pompc.environment import EnvironmentFamily

# An environment without a time limit would never end.
MAX_EPISODE_STEPS = 100_000
ROUNDS = 5  # how often episodes are played until none of them is broken off


@dataclass(frozen=True)
class EvalResult:
    """Episodes of one evaluation.

    Attributes:
        episodes: one row per episode: ``reward`` (the return), ``success`` (0/1), ``cost`` (sum), ``length`` (agent
            steps), then the last value of every other info key; nan where the environment does not say.
    """

    episodes: list[dict[str, float]]

    def column(self, name: str) -> np.ndarray:
        """One quantity over the episodes ``[episodes]``."""
        return np.array([episode[name] for episode in self.episodes])

    def mean(self) -> dict[str, float]:
        """Means over the episodes that know the quantity, nan where none does."""
        known = {name: self.column(name)[np.isfinite(self.column(name))] for name in self.episodes[0]}
        return {name: float(values.mean()) if values.size else math.nan for name, values in known.items()}


def evaluate(
    agent: MPPIRL,
    family: EnvironmentFamily,
    *,
    episodes: int,
    seed: int,
    noise_seed: int,
    device: torch.device | str = "cpu",
) -> EvalResult:
    """Play ``episodes`` episodes, one per row of a vectorised environment seeded with ``seed``.

    A family that offers fewer rows plays the same episodes in rounds. One that the environment had to break off is played
    again.
    ``noise_seed`` seeds what the agent draws while acting, such as the planner's samples. The same agent and seeds give
    the same result; random states, modes and counters of the training do not change.

    Raises:
        Unavailable: the environment breaks off episode after episode.
    """
    rows, played = min(episodes, family.max_rows or episodes), []
    with acting(agent, noise_seed):
        for first in range(0, episodes, rows):
            offset = {"first_row": first} if first else {}
            make = partial(family.vectorise, min(rows, episodes - first), seed=seed, device=device, **offset)
            played += _round(agent, make, family.info_keys)
    return EvalResult(played)


def _round(agent: MPPIRL, make: Callable[[], EnvBase], info_keys: Sequence[str]) -> list[dict[str, float]]:
    """One episode per row; all of them once more where one was broken off."""
    for _ in range(ROUNDS):
        env = with_agent_state(make(), agent)
        try:
            if (played := _first_episodes(env, agent, info_keys)) is not None:
                return played
        finally:
            env.close()
    raise Unavailable(f"the evaluation was broken off {ROUNDS} times: see to what the environment depends on")


def _first_episodes(env: EnvBase, agent: MPPIRL, info_keys: Sequence[str]) -> list[dict[str, float]] | None:
    """Step every row until its first episode is over; rows that are done go on, uncounted. None where one was broken."""
    rows = env.batch_size.numel()
    records: dict[int, dict[str, float]] = {}
    success, cost = torch.zeros(rows, dtype=torch.bool), torch.zeros(rows, dtype=torch.float64)
    carried = env.reset()
    for _ in range(MAX_EPISODE_STEPS):
        stepped, carried = env.step_and_maybe_reset(agent(carried))
        after = stepped["next"].cpu()
        if any(row not in records for row in broken_rows(after)):
            return None
        if "success" in info_keys:
            success |= after["success"].squeeze(-1) > 0.5
        if "cost" in info_keys:
            cost += after["cost"].double().nansum(dim=-1)  # nan: this step reported none
        for row in after["done"].squeeze(-1).nonzero().flatten().tolist():
            if row not in records:
                records[row] = _record(after[row], bool(success[row]), float(cost[row]), info_keys)
        if len(records) == rows:
            return [records[row] for row in range(rows)]
    raise UserError(f"an evaluation episode did not end within {MAX_EPISODE_STEPS} steps: give the environment a limit")


def _record(after: TensorDictBase, success: bool, cost: float, info_keys: Sequence[str]) -> dict[str, float]:
    row = {
        "reward": after["episode_reward"].item(),
        "success": float(success) if "success" in info_keys else math.nan,
        "cost": cost if "cost" in info_keys else math.nan,
        "length": float(after["step_count"].item()),
    }
    return row | {key: after[key].item() for key in info_keys if key not in row}


def find_checkpoint(path: Path) -> Path:
    """A ``.pt`` file as it is; for a run directory its best checkpoint, else its last one.

    Raises:
        UserError: neither is there.
    """
    if path.is_file():
        return path
    for name in ("best.pt", "last.pt"):
        if (path / "checkpoints" / name).is_file():
            return path / "checkpoints" / name
    raise UserError(f"no checkpoint in {path}: give a run directory or a .pt file")


def evaluate_checkpoint(
    path: str | Path,
    *,
    episodes: int | None = None,
    seed: int | None = None,
    video: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> int:
    """What ``pompc eval`` does: play a checkpoint's policy and print a table.

    Args:
        path: a run directory or a checkpoint file.
        episodes: number of episodes, ``None`` for the run's own.
        seed: seed of the episodes, ``None`` for the run's own.
        video: where to write an mp4 of one episode, ``None`` for none.
        overrides: ``key=value`` changes to the run's configuration, such as ``env.mismatch=1.0``.

    Returns:
        The exit code 0.

    Raises:
        UserError: no usable checkpoint, a wrong override, or a film that cannot be written.
    """
    file = find_checkpoint(Path(path))
    if video is not None:
        require_writable(Path(video))
    state = checkpoint.load(file)
    cfg = with_overrides(DictConfig(state["config"]), overrides)
    if not overrides and (files := environment_files(cfg)) and config_hash(cfg) != state["manifest"]["config_hash"]:
        keys = ", ".join(f"env.{key}" for key in files)
        warnings.warn(f"{file} was trained with another content of {keys} than is there now: this is another task")
    options = run_config(cfg)
    prepare(options.threads)
    parts = assemble(cfg, playing=True)
    try:
        parts.agent.load_state_dict(state["agent"])
    except RuntimeError as error:
        raise UserError(
            f"{file} does not fit the changed configuration: {str(error).splitlines()[-1].strip()}"
        ) from error
    # Playing needs no replay, which is large and fits one number of environments only.
    parts.agent.load_training_state({key: value for key, value in state["training"].items() if key != "replay"})
    episodes = episodes or options.eval.episodes
    seed = options.eval.seed if seed is None else seed
    console = Console()
    with closing(parts.env):  # until the end: it keeps the way to the servers of a family that has some
        result = evaluate(
            parts.agent, parts.family, episodes=episodes, seed=seed, noise_seed=options.seed, device=parts.device
        )
        title = f"{file}, step {state['manifest']['step']:,}, seed {seed}"
        console.print(title, highlight=False, soft_wrap=True)
        console.print(_table(result))
        if video is not None:
            record_episode(parts.agent, parts.family, Path(video), seed=seed, device=parts.device)
            console.print(f"video: {video}", highlight=False, soft_wrap=True)
    return 0


def _table(result: EvalResult) -> Table:
    table = Table()
    for heading in ("", f"mean of {len(result.episodes)}", "std", "min", "max"):
        table.add_column(heading, justify="right" if heading else "left")
    for name in result.episodes[0]:
        values = result.column(name)
        values = values[np.isfinite(values)]
        if values.size:
            spread = values.std(ddof=1) if values.size > 1 else 0.0
            table.add_row(name, *(f"{number:.4g}" for number in (values.mean(), spread, values.min(), values.max())))
    return table
