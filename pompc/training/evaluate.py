"""Evaluation: whole episodes with the deterministic policy, invisible to the training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from tensordict import TensorDictBase
from torchrl.envs import EnvBase

from pompc.data.broken import broken_envs
from pompc.data.collector import with_agent_state
from pompc.errors import Unavailable, UserError
from pompc.training.acting import acting
from pompc.training.stopping import EVALUATING, StopRequest

if TYPE_CHECKING:
    from pompc.agent import MPPIRL
    from pompc.environment import EnvironmentFamily

UNLIMITED_STEPS = 5_000  # environment steps of an episode whose environment has no limit, where none is given
MAX_EPISODE_STEPS = 100_000  # agent steps within which an episode that has a limit has ended
CUT = "cut"
ROUNDS = 5  # how often episodes are played until none of them is broken off


@dataclass(frozen=True)
class EvalResult:
    """Episodes of one evaluation.

    Attributes:
        episodes: one row per episode: ``reward`` (the return), ``success`` (0/1), ``cost`` (sum), ``length`` (agent
            steps), then the last value of every other info key; nan where the environment does not say. Where episodes can
            be cut, ``cut`` (0/1): whether this one was, so that its return is of the steps until there.
    """

    episodes: list[dict[str, float]]

    @property
    def cut(self) -> str:
        """How many episodes were cut, in words; empty where none was."""
        count = sum(episode.get(CUT, 0.0) > 0 for episode in self.episodes)
        return f"{count} of {len(self.episodes)} episodes cut (eval.max_steps)" if count else ""

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
    at_once: int | None = None,
    max_steps: int | None = None,
    stop: StopRequest | None = None,
) -> EvalResult:
    """Play ``episodes`` episodes, each in a row of a vectorised environment seeded with ``seed``.

    A family that offers fewer rows, or makes a copy of the environment for each, plays the same episodes in rounds. One
    that the environment had to break off is played again.
    The same agent and arguments give the same result; random states, modes and counters of the training do not change.

    Args:
        agent: who plays.
        family: what is played.
        episodes: how many; episode ``i`` is the first one of row ``i``.
        seed: base seed of the rows.
        noise_seed: of what the agent draws while acting, such as the planner's samples.
        device: where the agent is.
        at_once: the most copies of the environment to make; none for one per episode.
        max_steps: environment steps after which an episode is cut; none for ``UNLIMITED_STEPS`` where the environment knows
            no limit, and no cut elsewhere.
        stop: who hears that the run should stop; nobody by default.

    Raises:
        Unavailable: the environment breaks off episode after episode.
        Stopped: a stop was asked for.
    """
    stop = stop or StopRequest()
    most = (episodes, family.max_envs, at_once if family.separate_envs else None)
    rows, played = min(limit for limit in most if limit is not None), []
    limit = _limit(max_steps, agent.problem.episode_length, family.action_repeat)
    with acting(agent, noise_seed), stop.during(EVALUATING):
        for first in range(0, episodes, rows):
            offset = {"first_env": first} if first else {}
            make = partial(family.vectorise, min(rows, episodes - first), seed=seed, device=device, **offset)
            played += _round(agent, make, family.info_keys, limit, stop)
    return EvalResult(played)


@dataclass(frozen=True)
class _Limit:
    """Agent steps an episode may take, and whether it is cut there; otherwise not to have ended is an error."""

    steps: int
    cuts: bool


def _limit(max_steps: int | None, episode_length: int | None, action_repeat: int) -> _Limit:
    if max_steps is None and episode_length is not None:
        return _Limit(max(MAX_EPISODE_STEPS, episode_length), cuts=False)
    return _Limit(math.ceil((max_steps or UNLIMITED_STEPS) / action_repeat), cuts=True)


def _round(
    agent: MPPIRL, make: Callable[[], EnvBase], info_keys: Sequence[str], limit: _Limit, stop: StopRequest
) -> list[dict[str, float]]:
    """One episode per row; all of them once more where one was broken off."""
    for _ in range(ROUNDS):
        env = with_agent_state(make(), agent)
        try:
            if (played := _first_episodes(env, agent, info_keys, limit, stop)) is not None:
                return played
        finally:
            env.close()
    raise Unavailable(f"the evaluation was broken off {ROUNDS} times: see to what the environment depends on")


def _first_episodes(
    env: EnvBase, agent: MPPIRL, info_keys: Sequence[str], limit: _Limit, stop: StopRequest
) -> list[dict[str, float]] | None:
    """Step every row until its first episode is over; rows that are done go on, uncounted. None where one was broken."""
    rows = env.batch_size.numel()
    records: dict[int, dict[str, float]] = {}
    success, cost = torch.zeros(rows, dtype=torch.bool), torch.zeros(rows, dtype=torch.float64)
    carried = env.reset()
    for step in range(1, limit.steps + 1):
        stop.check()
        stepped, carried = env.step_and_maybe_reset(agent(carried))
        after = stepped["next"].cpu()
        if any(row not in records for row in broken_envs(after)):
            return None
        if "success" in info_keys:
            success |= after["success"].squeeze(-1) > 0.5
        if "cost" in info_keys:
            cost += after["cost"].double().nansum(dim=-1)  # nan: this step reported none
        done = after["done"].squeeze(-1)
        ends = torch.ones_like(done) if limit.cuts and step == limit.steps else done
        for row in ends.nonzero().flatten().tolist():
            if row not in records:
                cut = {CUT: float(not done[row])} if limit.cuts else {}
                records[row] = _record(after[row], bool(success[row]), float(cost[row]), info_keys) | cut
        if len(records) == rows:
            return [records[row] for row in range(rows)]
    raise UserError(
        f"an evaluation episode did not end within {limit.steps} steps, although the environment has a limit: give "
        "eval.max_steps"
    )


def _record(after: TensorDictBase, success: bool, cost: float, info_keys: Sequence[str]) -> dict[str, float]:
    row = {
        "reward": after["episode_reward"].item(),
        "success": float(success) if "success" in info_keys else math.nan,
        "cost": cost if "cost" in info_keys else math.nan,
        "length": float(after["step_count"].item()),
    }
    return row | {key: after[key].item() for key in info_keys if key not in row}
