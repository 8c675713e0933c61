"""Value learning of frozen policies, with and without virtual transitions, from the same batches and networks::

    python results/adaptive_hrl/why/value_learning.py CACHE

collects what CACHE lacks, learns, and writes values.csv (errors of the values after every update) and targets.csv (errors
of the targets that these values give) beside itself. Cases that are in the tables are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from frozen_data import CASES, POLICIES, SOURCES, Data, stored
from tables import Table
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.objectives.value.functional import vec_generalized_advantage_estimate

from pompc.networks.ensembles import masked_huber
from pompc.networks.optimizer_step import optimizer_step
from pompc.onpolicy.mixing import news_weight
from pompc.onpolicy.virtual_targets import bootstrapped_share, virtual_targets
from pompc.problem import Problem
from pompc.training.assemble import assemble
from pompc.training.seeding import seed_everything

sys.path.append(str(Path(__file__).parents[2]))
from frozen_policy import ValuesOnly

SEEDS = (0, 1, 2)
BATCHES = {8192: 4, 2048: 10, 512: 10, 128: 10}
"""Updates by the transitions of a batch; every update makes 80 gradient steps."""
EVERY = 5  # steps between two states at which errors are measured


class Learner(ValuesOnly):
    """Learns values of frozen data, from one source of virtual transitions, in constant units.

    Args:
        source: of virtual transitions.
        by_outcome: weigh a virtual transition by the news of its own target, which is most if its rollout ends.
    """

    def __init__(self, config: Any, problem: Problem, data: Data, *, source: str, by_outcome: bool) -> None:
        super().__init__(config, problem)
        self.of, self.by_outcome = source, by_outcome
        self.normaliser.load_state_dict(data.normaliser)
        self.return_scale.moments.load_state_dict(data.scale)

    def virtual_batch(self, data: TensorDictBase) -> TensorDictBase | None:
        """Take the rollouts of the source."""
        virtual = super().virtual_batch(data.copy().set("virtual", data["virtual", self.of]))
        if virtual is not None and self.by_outcome:
            config = self.config
            scoring = {"discount": config.discount, "gae_lambda": config.gae_lambda}
            ends = (data["next", name].squeeze(-1) for name in ("done", "terminated"))
            real = bootstrapped_share(*ends, **scoring).mean()
            virtual["weight"] = news_weight(share_by_outcome(virtual, config.planner.horizon, **scoring), real)
        return virtual

    def value(self, observation: Tensor) -> Tensor:
        """Value observations ``[..., observation]`` in units of reward."""
        with torch.no_grad():
            return self.mean_value(observation) / self.return_scale.factor


def share_by_outcome(virtual: TensorDictBase, horizon: int, *, discount: float, gae_lambda: float) -> Tensor:
    """The share of the value function in the very targets of virtual transitions ``[transition]``."""
    number, rollout = torch.arange(len(virtual)), virtual["first"].long().cumsum(0) - 1
    step = number - torch.where(virtual["first"], number, 0).cummax(0).values
    ends = torch.zeros(int(rollout[-1]) + 1, horizon, dtype=torch.bool)
    ends[rollout, step] = torch.isclose(virtual["value_target"], virtual["reward"], rtol=0, atol=1e-5)
    return bootstrapped_share(ends, ends, discount=discount, gae_lambda=gae_lambda)[rollout, step]


VARIANTS: dict[str, dict[str, Any]] = {
    "no virtual data": {"virtual_ratio": 0.0},
    "0.3 news": {"virtual_ratio": 0.3},
    "0.3 equal": {"virtual_ratio": 0.3, "virtual_weight": "equal"},
    "0.8 equal": {"virtual_ratio": 0.8, "virtual_weight": "equal"},
    "0.8 news": {"virtual_ratio": 0.8},
    "0.8 by outcome": {"virtual_ratio": 0.8, "by_outcome": True},
    "0.8 equal, executed": {"virtual_ratio": 0.8, "virtual_weight": "equal", "source": "executed"},
    "lambda 0.8, no virtual data": {"virtual_ratio": 0.0, "gae_lambda": 0.8},
    "lambda 0.8, 0.8 equal, lambda 1": {
        "virtual_ratio": 0.8,
        "virtual_weight": "equal",
        "gae_lambda": 0.8,
        "virtual_gae_lambda": 1.0,
    },
}
FEW = ("no virtual data", "0.3 news", "0.3 equal", "0.8 equal")
MEASURED = {8192: FEW, 2048: tuple(VARIANTS), 512: FEW, 128: FEW}
"""Variants by the transitions of a batch."""
TARGETS_OF = 2048  # the batches after which targets are measured, too


def make_learner(
    name: str,
    data: Data,
    seed: int,
    transitions: int,
    *,
    source: str = "weighted",
    by_outcome: bool = False,
    virtual_ratio: float,
    **options: object,
) -> Learner:
    """Make a learner from new networks; of one seed they are the same for every variant."""
    fixed = {"minibatch_size": transitions // 8, "normalise_observation": "false", "normalise_reward": "false"}
    texts = [f"algo.{key}={value}" for key, value in {**fixed, **options}.items()]
    spec = CASES[name].configure("num_envs=16", f"virtual_ratio={virtual_ratio}", *texts)
    problem = assemble(spec).agent.problem
    seed_everything(seed)
    return Learner(spec.algorithm_config, problem, data, source=source, by_outcome=by_outcome)


def error(estimate: Tensor, truth: Tensor, unit: Tensor | None = None) -> dict[str, float]:
    """Bias and root mean square error, in standard deviations of the truth or in another unit."""
    difference = (estimate - truth) / (truth.std() if unit is None else unit)
    return {"bias": difference.mean().item(), "rmse": difference.square().mean().sqrt().item()}


def states(data: Data) -> tuple[Tensor, Tensor]:
    """The states at which errors are measured ``[n, observation]`` and their returns ``[n]``."""
    seen = data.truth["observation"][:, : data.returns.shape[1] : EVERY]
    return seen.flatten(0, 1), data.returns[:, ::EVERY].flatten()


def learn(learner: Learner, data: Data, transitions: int, *, targets: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the error of the values before and after every update, and of the targets that they give."""
    observation, truth = states(data)
    batches = data.batches(transitions, BATCHES[transitions])
    for update in range(len(batches) + 1):
        yield "values", {"update": update, **error(learner.value(observation), truth)}
        if targets:
            yield from (("targets", {"update": update, **row}) for row in measure_targets(learner, data))
        if update < len(batches):
            learner.learn(batches[update].clone())


def measure_targets(learner: Learner, data: Data) -> Iterator[dict[str, Any]]:
    """Yield the errors of real and virtual targets at the states with known returns."""
    known = data.returns.shape[1]
    factor, config = learner.return_scale.factor, learner.config
    part = data.truth[:, : known + 300]
    value, following = (learner.value(part[key]).unsqueeze(-1) for key in ("observation", ("next", "observation")))
    ends = (part["next", "reward"], part["next", "done"], part["next", "terminated"])
    for gae_lambda in (0.9, 0.97, 1.0):
        _, target = vec_generalized_advantage_estimate(config.discount, gae_lambda, value, following, *ends)
        yield {
            "target": "real",
            "lambda": gae_lambda,
            **error(target[:, :known:EVERY].squeeze(-1), data.returns[:, ::EVERY]),
        }
    for source in SOURCES:
        rollouts = data.truth["virtual", source][:, :known:EVERY].flatten(0, 1)
        for gae_lambda in (0.97, 1.0):
            made = virtual_targets(
                rollouts["states"].flatten(0, 1),
                rollouts["actions"].flatten(0, 1),
                learner.model,
                learner.mean_value,
                reward_scale=factor,
                discount=config.discount,
                gae_lambda=gae_lambda,
            )
            target = made["value_target"][made["first"]] / factor
            row = {"target": source, "lambda": gae_lambda, **error(target, data.returns[:, ::EVERY].flatten())}
            yield {**row, "bootstrapped": made["bootstrapped"][made["first"]].mean().item()}


def fit(learner: Learner, observation: Tensor, truth: Tensor, steps: int = 400) -> None:
    """Fit the values to returns."""
    target = truth * learner.return_scale.factor
    for _ in range(steps):
        drawn = torch.randint(len(truth), (1024,))
        values = learner.values(learner.normaliser(observation[drawn]))
        loss = masked_huber(values, target[drawn], torch.ones_like(values))
        optimizer_step(learner.optimizers["values"], loss, max_grad_norm=0.5, name="values")


def informed(learner: Learner, data: Data) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the error of values that are fitted to returns of other environments, and of the targets they give."""
    half, stride = len(data.truth) // 2, slice(0, data.returns.shape[1])
    fit(learner, data.truth["observation"][:half, stride].flatten(0, 1), data.returns[:half].flatten())
    rest = Data(**{**vars(data), "truth": data.truth[half:], "returns": data.returns[half:]})
    yield "values", error(learner.value(states(rest)[0]), states(rest)[1])
    yield from (("targets", row) for row in measure_targets(learner, rest))


def measure(name: str, policy: str, seed: int, data: Data) -> dict[str, list[dict[str, Any]]]:
    """Learn all variants; return the rows of both tables."""
    rows: dict[str, list[dict[str, Any]]] = {"values": [], "targets": []}
    key = {"case": name, "policy": policy, "seed": seed}
    for transitions, variants in MEASURED.items():
        for variant in variants if transitions <= 16 * CASES[name].steps else ():
            learner = make_learner(name, data, seed, transitions, **VARIANTS[variant])
            targets = (variant, transitions) == ("no virtual data", TARGETS_OF)
            for table, row in learn(learner, data, transitions, targets=targets):
                rows[table].append({**key, "batch": transitions, "variant": variant, **row})
    learner = make_learner(name, data, seed, 8192, virtual_ratio=0.0)
    for table, row in informed(learner, data):
        rows[table].append({**key, "variant": "fitted to returns", **row})
    return rows


def main(cache: Path, policies: Sequence[str], cases: Sequence[str]) -> None:
    """Collect, learn, write the tables."""
    tables = {name: Table(Path(__file__).with_name(f"{name}.csv")) for name in ("values", "targets")}
    for name in cases:
        for policy in policies:
            for seed in SEEDS:
                if not tables["values"].has(case=name, policy=policy, seed=seed):
                    data = stored(cache, name, policy, seed)
                    for table, rows in measure(name, policy, seed, data).items():
                        tables[table].add(rows)
                    print(name, policy, seed, f"{data.closed:.3f} of the returns filled in", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("cache", type=Path)
    parser.add_argument("--policies", nargs="*", default=list(POLICIES), choices=POLICIES)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=CASES)
    arguments = parser.parse_args()
    main(arguments.cache, arguments.policies, arguments.cases)
