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
from pompc.training.diagnosis import DiagnosedEpisodes, other_actor, side_by_side
from pompc.training.filtered import FilteredEpisodes
from pompc.training.recording import Recorder
from pompc.training.stopping import EVALUATING, StopRequest

if TYPE_CHECKING:
    from pompc.agent import MPPIRL
    from pompc.environment import EnvironmentFamily

UNLIMITED_STEPS = 5_000  # environment steps of an episode if neither the environment nor the caller gives a limit
MAX_EPISODE_STEPS = 100_000  # agent steps within which an episode that has a limit has ended
CUT = "cut"
ROUNDS = 5  # how often episodes are played until none of them is broken off


@dataclass(frozen=True)
class EvalResult:
    """Episodes of one evaluation.

    Attributes:
        episodes: a dictionary per episode: ``reward`` (the return), ``success`` (0/1), ``cost`` (sum), ``length`` (agent
            steps), then the last value of each other info key; nan if the environment does not say. If episodes can be cut
            it has ``cut`` (0/1), and the return of a cut episode is that of its steps until then. With a safety filter it
            has what :class:`~pompc.training.filtered.FilteredEpisodes` measures. Diagnostics are those of
            :class:`~pompc.training.diagnosis.DiagnosedEpisodes` and :func:`~pompc.training.diagnosis.side_by_side`.
    """

    episodes: list[dict[str, float]]

    @property
    def cut(self) -> str:
        """How many episodes were cut, in words; empty if all ended."""
        count = sum(episode.get(CUT, 0.0) > 0 for episode in self.episodes)
        return f"{count} of {len(self.episodes)} episodes cut (eval.max_steps)" if count else ""

    def column(self, name: str) -> np.ndarray:
        """Collect one quantity of all episodes ``[episode]``."""
        return np.array([episode[name] for episode in self.episodes])

    def mean(self) -> dict[str, float]:
        """Average over the episodes that know the quantity; nan if none does."""
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
    diagnose: bool = False,
    compare_policy: bool = False,
    explore: bool = False,
    recorder: Recorder | None = None,
    stop: StopRequest | None = None,
) -> EvalResult:
    """Play ``episodes`` episodes, each in one environment of a batch seeded with ``seed``.

    A family that offers fewer environments, or makes a copy for each, plays the same episodes in rounds. An episode that
    its environment breaks off is played again.
    The same agent and arguments give the same result; random states, modes and counters of the training do not change.

    Args:
        agent: plays.
        family: makes the environments.
        episodes: how many; episode ``i`` is the first one of environment ``i``.
        seed: base seed of the environments.
        noise_seed: seed of the agent's draws while acting, such as the planner's samples.
        device: the agent's device.
        at_once: the most copies of the environment to make; ``None`` for one per episode.
        max_steps: environment steps after which an episode is cut. ``None`` cuts after ``UNLIMITED_STEPS`` if the
            environment knows no limit, and never if it does.
        diagnose: ask the agent for diagnostics of every step; the episodes do not change.
        compare_policy: then play the same episodes by the agent's bare policy, or by its planner if the policy has played.
        explore: act as in training instead of deterministically.
        recorder: watches the steps; not together with ``compare_policy``.
        stop: request to watch; ``None`` watches none.

    Raises:
        Unavailable: the environment breaks off episode after episode.
        Stopped: a stop was asked for.
    """
    stop = stop or StopRequest()
    most = (episodes, family.max_envs, at_once if family.separate_envs else None)
    num_envs = min(limit for limit in most if limit is not None)
    limit = _limit(max_steps, agent.problem.episode_length, family.action_repeat)

    def play() -> list[dict[str, float]]:
        played = []
        with acting(agent, noise_seed, explore=explore), stop.during(EVALUATING):
            for first in range(0, episodes, num_envs):
                offset = {"first_env": first} if first else {}
                make = partial(family.vectorise, min(num_envs, episodes - first), seed=seed, device=device, **offset)
                played += _round(agent, make, family.info_keys, limit, diagnose, recorder, stop)
        return played

    played = play()
    if compare_policy:
        with other_actor(agent):
            others = play()
        planned, alone = (others, played) if agent.policy_alone else (played, others)
        both = zip(played, planned, alone, strict=True)
        played = [episode | side_by_side(*pair) for episode, *pair in both]
    return EvalResult(played)


@dataclass(frozen=True)
class _Limit:
    """Agent steps that an episode may take, and whether it is cut there; if not, to go on is an error."""

    steps: int
    cuts: bool


def _limit(max_steps: int | None, episode_length: int | None, action_repeat: int) -> _Limit:
    if max_steps is None and episode_length is not None:
        return _Limit(max(MAX_EPISODE_STEPS, episode_length), cuts=False)
    return _Limit(math.ceil((max_steps or UNLIMITED_STEPS) / action_repeat), cuts=True)


def _round(
    agent: MPPIRL,
    make: Callable[[], EnvBase],
    info_keys: Sequence[str],
    limit: _Limit,
    diagnose: bool,
    recorder: Recorder | None,
    stop: StopRequest,
) -> list[dict[str, float]]:
    """Play one episode per environment; play all of them again if one was broken off."""
    for _ in range(ROUNDS):
        env = with_agent_state(make(), agent)
        try:
            if recorder is not None:
                recorder.begin()
            if (played := _first_episodes(env, agent, info_keys, limit, diagnose, recorder, stop)) is not None:
                if recorder is not None:
                    recorder.end()
                return played
        finally:
            env.close()
    raise Unavailable(
        f"the evaluation was broken off {ROUNDS} times: check the simulator or server that the environment depends on"
    )


def _first_episodes(
    env: EnvBase,
    agent: MPPIRL,
    info_keys: Sequence[str],
    limit: _Limit,
    diagnose: bool,
    recorder: Recorder | None,
    stop: StopRequest,
) -> list[dict[str, float]] | None:
    """Step each environment until its first episode is over; ``None`` if one was broken off.

    Environments that are done go on, uncounted.
    """
    num_envs = env.batch_size.numel()
    records: dict[int, dict[str, float]] = {}
    filtered = None if agent.filter is None else FilteredEpisodes(agent.filter)
    diagnosed = DiagnosedEpisodes() if diagnose else None
    success, cost = torch.zeros(num_envs, dtype=torch.bool), torch.zeros(num_envs, dtype=torch.float64)
    carried = env.reset()
    for step in range(1, limit.steps + 1):
        stop.check()
        stepped, carried = env.step_and_maybe_reset(agent(carried))
        after = stepped["next"].cpu()
        if any(index not in records for index in broken_envs(after)):
            return None
        if "success" in info_keys:
            success |= after["success"].squeeze(-1) > 0.5
        if "cost" in info_keys:
            cost += after["cost"].double().nansum(dim=-1)  # nan: this step reported none
        if filtered is not None:
            filtered.add(stepped)
        if diagnosed is not None:
            diagnosed.add(agent.diagnose(stepped))
        if recorder is not None:
            recorder.add(stepped)
        done, terminated = after["done"].squeeze(-1), after["terminated"].squeeze(-1)
        ends = torch.ones_like(done) if limit.cuts and step == limit.steps else done
        for index in ends.nonzero().flatten().tolist():
            if index not in records:
                more = {CUT: float(not done[index])} if limit.cuts else {}
                more |= {} if filtered is None else filtered.of(index)
                more |= {} if diagnosed is None else diagnosed.of(index, terminated=bool(terminated[index]))
                records[index] = _record(after[index], bool(success[index]), float(cost[index]), info_keys) | more
        if len(records) == num_envs:
            return [records[index] for index in range(num_envs)]
    raise UserError(
        f"an evaluation episode did not end within {limit.steps} steps, although the environment has a limit: give "
        "eval.max_steps"
    )


def _record(after: TensorDictBase, success: bool, cost: float, info_keys: Sequence[str]) -> dict[str, float]:
    record = {
        "reward": after["episode_reward"].item(),
        "success": float(success) if "success" in info_keys else math.nan,
        "cost": cost if "cost" in info_keys else math.nan,
        "length": float(after["step_count"].item()),
    }
    return record | {key: after[key].item() for key in info_keys if key not in record}
