"""Data of frozen policies: batches to learn values from, and states whose returns are known."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.envs import EnvBase

from pompc.algorithms.adaptive_hrl import AdaptiveHRL
from pompc.config.spec import RunSpec, configure
from pompc.data.collector import make_collector
from pompc.data.statistics import ReturnScale, RunningMoments
from pompc.onpolicy.virtual_sources import VIRTUAL_SOURCES
from pompc.planner import Plan
from pompc.training.assemble import Assembly, assemble
from pompc.training.seeding import seed_everything

sys.path.append(str(Path(__file__).parents[2]))
from frozen_policy import closed_returns, split_returns

SOURCES = ("weighted", "executed", "nominal")
NUM_ENVS, GROUPS = 32, 2  # a batch is of one group of environments
POLICIES = {"initial": 0, "trained": 5}
"""Policies by the number of updates that made them."""


@dataclass(frozen=True)
class Case:
    """An environment and what is collected there.

    Attributes:
        env: name of the environment.
        preset: of its configuration.
        options: ``key=value`` texts.
        unlimited: the option that takes the time limit away while truth is collected.
        steps: agent steps of the run to learn from.
        truth_steps: agent steps of the run with known returns.
        known: agent steps from its start whose states count, because enough of their return is known.
    """

    env: str
    preset: str | None
    options: Sequence[str]
    unlimited: str
    steps: int
    truth_steps: int
    known: int

    def configure(self, *more: str) -> RunSpec:
        """Resolve the configuration; ``more`` are ``key=value`` texts."""
        return configure("adaptive_hrl", self.env, [*self.options, "device=cpu", *more], self.preset)


CASES = {
    "racing_mismatch": Case("carla_racing", "racing_mismatch", (), "env.time_limit=1000", 1024, 900, 300),
    "racing": Case("carla_racing", None, (), "env.time_limit=1000", 1024, 900, 300),
    "acrobot": Case("acrobot", "acrobot_hold", ("planner.horizon=8",), "env.time_limit=10000", 1024, 1000, 300),
    "lander": Case("lunar_lander", "lander_zones", (), "env.time_limit=10000", 256, 240, 100),
}


class Frozen(AdaptiveHRL):
    """Acts as in training and keeps one rollout of every source per step, whatever rho is."""

    def record(self, tensordict: TensorDictBase, plan: Plan, candidates: TensorDict | None, chosen: Tensor) -> None:
        """Write the rollouts ``virtual``: by source, ``states`` and ``actions`` ``[env, 1, ...]``."""
        super().record(tensordict, plan, candidates, chosen)
        assert self.planner is not None
        envs, rollouts = torch.arange(len(chosen)), TensorDict({}, batch_size=[len(chosen)])
        for name in SOURCES:
            states, actions = VIRTUAL_SOURCES[name](plan, chosen, self.planner, 1)
            one = torch.randint(states.shape[1], (len(chosen),))
            both = {"states": states[envs, one].unsqueeze(1), "actions": actions[envs, one].unsqueeze(1)}
            rollouts[name] = TensorDict(both, batch_size=[len(chosen)])
        tensordict["virtual"] = rollouts


@dataclass
class Data:
    """What was collected with one policy.

    Attributes:
        run: transitions to learn from ``[env, time]``.
        truth: transitions of other episodes ``[env, time]``, without a time limit.
        returns: discounted returns of the first steps of ``truth`` ``[env, known]``.
        closed: mean share of these returns that was not seen but filled in by their mean.
        normaliser: state of the moments of the run's observations.
        scale: state of the scale of its returns.
        agent: state of the policy.
    """

    run: TensorDict
    truth: TensorDict
    returns: Tensor
    closed: float
    normaliser: Mapping[str, Any]
    scale: Mapping[str, Any]
    agent: Mapping[str, Any]

    def batches(self, transitions: int, count: int) -> list[TensorDict]:
        """Cut ``count`` batches of 16 environments out of the run, spread evenly over its time; they may overlap."""
        length = transitions // 16
        starts = torch.linspace(0, self.run.shape[1] - length, -(-count // GROUPS)).round().long().tolist()
        groups = self.run.unflatten(0, (GROUPS, 16))
        return [groups[group, :, start : start + length] for start in starts for group in range(GROUPS)][:count]


def load_policy(agent: AdaptiveHRL, state: Mapping[str, Tensor]) -> None:
    """Take over what decides actions: the policy and the moments of observations."""
    acting = {key: value for key, value in state.items() if key.startswith(("actor.", "normaliser."))}
    agent.load_state_dict(acting, strict=False)


def train(case: Case, updates: int, seed: int) -> Mapping[str, Any]:
    """Train an agent with the defaults for some updates; return what decides its actions."""
    spec = case.configure(f"seed={seed}")
    seed_everything(seed)
    parts = assemble(spec)
    collector = make_collector(parts.env, parts.agent, parts.agent.frames_per_batch)
    if updates:
        for data in collector:
            parts.agent.learn(data)
            if parts.agent.updates == updates:
                break
    collector.shutdown()
    return {key: value.clone() for key, value in parts.agent.state_dict().items()}


def roll(env: EnvBase, agent: Frozen, steps: int) -> TensorDict:
    """Collect ``steps`` transitions of every environment by the frozen policy: ``[env, steps]``."""
    collector = make_collector(env, agent, steps * env.batch_size.numel())
    data = next(iter(collector))
    keep = ["observation", "action", "virtual", *(("next", name) for name in KEPT)]
    data = data.select(*keep).clone()
    collector.shutdown()
    return data


KEPT = ("observation", "reward", "done", "terminated", "truncated")


def frozen(case: Case, state: Mapping[str, Tensor], *options: str) -> tuple[Assembly, Frozen]:
    """Make ``NUM_ENVS`` environments and the frozen agent that acts there."""
    spec = case.configure(f"num_envs={NUM_ENVS}", *options)
    parts = assemble(spec)
    agent = Frozen(spec.algorithm_config, parts.agent.problem)
    load_policy(agent, state)
    return parts, agent


def known_returns(data: TensorDictBase, discount: float, known: int) -> tuple[Tensor, float]:
    """Discounted returns of the first ``known`` steps of ``data [env, time]``, and the mean share that was filled in."""
    columns = (data["next", name].squeeze(-1) for name in ("reward", "done", "terminated"))
    seen, left = (x[:, :known] for x in split_returns(*columns, discount))
    return closed_returns(seen, left), left.mean().item()


def collect(case: Case, policy: str, seed: int) -> Data:
    """Make the policy, then collect a run to learn from and other episodes whose returns are known."""
    state = train(case, POLICIES[policy], seed)
    parts, agent = frozen(case, state, f"seed={seed + 1000}")
    seed_everything(seed + 1000)
    run = roll(parts.env, agent, case.steps)
    parts, agent = frozen(case, state, f"seed={seed + 2000}", case.unlimited)
    truth = roll(parts.env, agent, case.truth_steps)
    returns, closed = known_returns(truth, agent.config.discount, case.known)
    normaliser, scale = RunningMoments(run["observation"].shape[-1]), ReturnScale(NUM_ENVS, agent.config.discount)
    normaliser.update(run["observation"])
    scale.update(run["next", "reward"].squeeze(-1), run["next", "done"].squeeze(-1))
    return Data(run, truth, returns, closed, normaliser.state_dict(), scale.moments.state_dict(), state)


def stored(cache: Path, name: str, policy: str, seed: int) -> Data:
    """Return the data of a case from ``cache``, collecting them if they are not there."""
    path = cache / f"{name}-{policy}-{seed}.pt"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        torch.save(vars(collect(CASES[name], policy, seed)), path)
    return Data(**torch.load(path, weights_only=False))
