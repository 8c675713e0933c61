"""What virtual rollouts of the racing car see that real transitions of the same update do not::

    python results/adaptive_hrl/why/coverage.py CACHE [POLICY ...]

writes coverage.csv beside itself: distances in the space of observations, ends of episodes per 1,000 transitions by their
cause, whether the car really ends as the model says, and the errors of values at states that only the model saw.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from frozen_data import CASES, POLICIES, SOURCES, Data, frozen, known_returns, roll, stored
from tables import Table
from torch import Tensor
from value_learning import BATCHES, FEW, SEEDS, TARGETS_OF, VARIANTS, Learner, error, make_learner

from pompc.envs.carla_racing.batched import BatchedRacing
from pompc.envs.carla_racing.physics.opponents import Opponents
from pompc.envs.carla_racing.physics.vehicle import Car
from pompc.envs.carla_racing.task import RacingTask, faults, look_round
from pompc.training.seeding import seed_everything

CASE = "racing_mismatch"
CAUSES = ("off_track", "zone", "collision", "spin")
STEPS, KNOWN = 700, 400  # of the episodes from states that only the model saw; those whose returns count


class Placed(RacingTask):
    """Starts every episode of an environment at its own state.

    Args:
        env: the environments.
        states: of the planner's model ``[num_envs, state]``.
    """

    def __init__(self, env: BatchedRacing, states: Tensor) -> None:
        super().__init__(env.config, env.road)
        self.states = states

    def start(self, draws: Sequence[Any], slots: Any) -> tuple[Car, Opponents]:
        """The car as it is; an opponent's cruising speed is its speed now, its lane the side it is on."""
        car = Car(*self.states[:, : len(Car._fields)].T)
        s, n, v = self.states[:, len(Car._fields) :].unflatten(1, (3, -1)).movedim(0, -1)
        return car._replace(s=self.road.wrap(car.s)), Opponents(self.road.wrap(s), n, v, v, (n > 0).float())


def causes(env: BatchedRacing, state: Tensor) -> dict[str, Tensor]:
    """Which rules states of the model break ``[...]``, by rule."""
    flat = state.reshape(-1, state.shape[-1])
    placed = Placed(env, flat).start((), None)
    fault = faults(env.road, placed[0], look_round(env.road, *placed))
    return {name: getattr(fault, name).view(state.shape[:-1]) for name in CAUSES}


def unlike(seen: Tensor, new: Tensor, environment: Tensor) -> dict[str, float]:
    """Share of the ``new [n, observation]`` that is far from everything ``seen [m, observation]``.

    Far is farther than 99 % of the seen ones are from their nearest neighbour: any other one, or one of another
    ``environment [m]``.
    """
    drawn = torch.randperm(len(seen))[:1024]
    distance = torch.cdist(seen[drawn], seen)
    nearest = torch.cdist(new, seen).amin(1)
    found = {}
    itself = drawn.unsqueeze(1) == torch.arange(len(seen))
    same = environment[drawn].unsqueeze(1) == environment
    for name, hidden in (("of any", itself), ("of another environment", same)):
        limit = distance.masked_fill(hidden, torch.inf).amin(1).quantile(0.99)
        found[f"far, {name}"] = (nearest > limit).float().mean().item()
    return found


def distances(learner: Learner, data: Data) -> Iterator[dict[str, Any]]:
    """Yield how much of what rollouts visit is far from the real states of the batch they begin in."""
    for transitions in BATCHES:
        batch = data.batches(transitions, 4)[-1]
        seen = learner.normaliser(batch["observation"])
        environment = torch.arange(len(seen)).unsqueeze(1).expand(-1, seen.shape[1]).flatten()
        for source in SOURCES:
            states = batch["virtual", source, "states"].flatten(0, 2)
            for step in (5, 10, 20):
                drawn = states[torch.randperm(len(states))[:1024], step]
                new = learner.normaliser(learner.model.inputs(drawn))
                yield {
                    "batch": transitions,
                    "source": source,
                    "step": step,
                    **unlike(seen.flatten(0, 1), new, environment),
                }


def ends(env: BatchedRacing, learner: Learner, data: Data) -> Iterator[dict[str, Any]]:
    """Yield ends of episodes per 1,000 transitions by cause, in reality and in rollouts."""
    after = learner.model.encode(data.run["next", "observation"])
    real = {name: broken.float().mean().item() for name, broken in causes(env, after).items()}
    yield {"source": "real", "ends": 1000 * data.run["next", "terminated"].float().mean().item(), **scaled(real)}
    for source in SOURCES:
        states = data.run["virtual", source, "states"][:, ::8].flatten(0, 2)
        broken = causes(env, states[:, 1:])
        over = torch.stack(list(broken.values())).any(0)
        alive = over.cumsum(1) - over.long() == 0
        rates = {name: (x & alive).sum().item() / alive.sum().item() for name, x in broken.items()}
        yield {"source": source, "ends": 1000 * (over & alive).sum().item() / alive.sum().item(), **scaled(rates)}


def scaled(rates: dict[str, float]) -> dict[str, float]:
    """Count per 1,000 transitions."""
    return {name: 1000 * rate for name, rate in rates.items()}


def outcomes(env: BatchedRacing, data: Data, source: str, count: int) -> dict[str, float]:
    """Drive the actions of rollouts in the plant: how often model and plant agree that the car does not survive them."""
    rollouts = data.run["virtual", source].flatten(0, 1)
    drawn = rollouts[torch.randperm(len(rollouts))[: 10 * count]]
    states, actions = drawn["states"][:, 0], drawn["actions"][:, 0]
    said = torch.stack(list(causes(env, states[:, 1:]).values())).any(0).any(1)
    real = torch.zeros_like(said)
    for part in torch.arange(len(states)).split(env.num_envs):
        real[part] = survives_not(env, states[part, 0], actions[part])
    both = {"said": said, "true": said & real, "missed": ~said & real, "really": real}
    return {name: x.float().mean().item() for name, x in both.items()}


def survives_not(env: BatchedRacing, start: Tensor, actions: Tensor) -> Tensor:
    """Whether the plant breaks a rule within the actions ``[num_envs, horizon, 2]``: bool ``[num_envs]``."""
    task = Placed(env, start)
    car, opponents = task.start((), None)
    over = torch.zeros(len(start), dtype=torch.bool)
    for action in actions.unbind(1):
        car = env.plants.car.step(car, *action.unbind(-1))
        car = car._replace(s=env.road.wrap(car.s))
        opponents = task.advance(opponents)
        fault = faults(env.road, car, look_round(env.road, car, opponents))
        over |= torch.stack(list(fault)).any(0)
    return over


def boundary(env: BatchedRacing, data: Data, count: int) -> Tensor:
    """States of rollouts five steps before the model says that they end: ``[count, state]``."""
    states = data.run["virtual", "weighted", "states"].flatten(0, 2)
    over = torch.stack(list(causes(env, states[:, 1:]).values())).any(0)
    ending = over.any(1)
    last = over[ending].int().argmax(1)  # the step that ends the rollout, from 0
    early = last >= 5
    before = states[ending][early, last[early] - 4]
    return before[torch.randint(len(before), (count,))]


def boundary_errors(data: Data, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the errors of values at states near the end of rollouts, against returns from there."""
    seed_everything(seed + 3000)
    parts, agent = frozen(CASES[CASE], data.agent, f"seed={seed + 3000}", CASES[CASE].unlimited)
    states = boundary(parts.env, data, parts.env.num_envs)
    parts.env.task = Placed(parts.env, states)
    truth = roll(parts.env, agent, STEPS)
    began = torch.cat([torch.ones(len(truth), 1, dtype=torch.bool), truth["next", "done"][:, :-1, 0]], 1)
    returns, _ = known_returns(truth, agent.config.discount, KNOWN)
    usable = began[:, : returns.shape[1]]
    mean = (returns * usable).sum(1) / usable.sum(1)  # over the episodes that began there
    dead = truth["next", "terminated"][:, :20, 0].any(1).float().mean().item()
    yield {"variant": "truth", "return": mean.mean().item(), "ends within 20": dead}
    for variant in FEW:
        learner = make_learner(CASE, data, seed, TARGETS_OF, **VARIANTS[variant])
        for batch in data.batches(TARGETS_OF, BATCHES[TARGETS_OF]):
            learner.learn(batch.clone())
        value = learner.value(learner.model.inputs(states))
        yield {"variant": variant, **error(value, mean, data.returns.std())}


def main(cache: Path, policies: Sequence[str]) -> None:
    """Measure every policy and seed that the table lacks."""
    table = Table(Path(__file__).with_name("coverage.csv"))
    for policy in policies:
        for seed in SEEDS:
            key = {"case": CASE, "policy": policy, "seed": seed}
            if table.has(**key):
                continue
            data = stored(cache, CASE, policy, seed)
            learner = make_learner(CASE, data, seed, 8192, virtual_ratio=0.0)
            env = BatchedRacing(CASES[CASE].configure().environment_config, 64)
            seed_everything(seed)
            rows = [{"measure": "distance", **row} for row in distances(learner, data)]
            rows += [{"measure": "ends", **row} for row in ends(env, learner, data)]
            rows += [{"measure": "outcome", "source": one, **outcomes(env, data, one, 64)} for one in SOURCES]
            rows += [{"measure": "boundary", **row} for row in boundary_errors(data, seed)]
            table.add([{**key, **row} for row in rows])
            print(policy, seed, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2:] or list(POLICIES))
