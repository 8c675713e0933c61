"""Values of a random Markov chain learned from samples, real and virtual, with the library's targets, weights and dials.

Tables take the place of networks: every update moves the entry of a visited state to the weighted mean of its targets. The
step falls like 1 / update, so that without virtual data the values converge to the true ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from pompc.dial import ScheduleConfig
from pompc.dials import make_signals
from pompc.networks.ensembles import bootstrap_mask
from pompc.onpolicy.evidence import measure_evidence
from pompc.onpolicy.mixing import news_weight
from pompc.onpolicy.virtual_targets import Scoring, bootstrapped_share, lambda_return, virtual_targets
from pompc.schedules import Setting, make_dial

UPDATES, STATES, MEMBERS, ENVS, TIME, ROLLOUTS, HORIZON = 150, 30, 5, 8, 32, 2, 10
SCORING: Scoring = {"reward_scale": 1.0, "discount": 0.95, "gae_lambda": 0.9}
WEIGHTS = {"discount": SCORING["discount"], "gae_lambda": SCORING["gae_lambda"]}
SCHEDULES_TRIED: dict[str, Setting] = {
    "0": 0.0,
    "0.3": 0.3,
    "0.8": 0.8,
    "inv": ScheduleConfig(),
    "auto": ScheduleConfig(schedule="auto"),
}
Chain = tuple[np.ndarray, np.ndarray]


def random_chain(rng: np.random.Generator, states: int, share: float) -> tuple[Chain, Chain]:
    """Draw a chain ``(P [state, state], r [state])`` and a model of it, which is another chain to a share."""
    p, noise = (rng.dirichlet(np.full(states, 0.3), size=states) for _ in range(2))
    r, other = rng.uniform(0, 1, states), rng.uniform(0, 1, states)
    return (p, r), ((1 - share) * p + share * noise, (1 - share) * r + share * other)


class TableModel:
    """The model of a chain, whose state is the number of a state ``[..., 1]``."""

    def __init__(self, reward: Tensor) -> None:
        self.reward = reward

    def inputs(self, state: Tensor) -> Tensor:
        """The state itself."""
        return state

    def outcome(self, state: Tensor, action: Tensor, next_state: Tensor) -> tuple[Tensor, Tensor]:
        """Rewards ``[...]``; no episode ends."""
        return self.reward[state[..., 0].long()], torch.zeros(state.shape[:-1], dtype=torch.bool)


def walk(p: Tensor, start: Tensor, steps: int) -> Tensor:
    """Follow a chain: ``[...]`` -> ``[..., steps + 1, 1]``, as floats."""
    path = [start.flatten()]
    for _ in range(steps):
        path.append(torch.multinomial(p[path[-1]], 1)[:, 0])
    return torch.stack(path, -1).view(*start.shape, steps + 1, 1).float()


def collect(real: tuple[Tensor, Tensor], model: tuple[Tensor, Tensor]) -> TensorDict:
    """Follow the chain in several environments, with rollouts of the model from every state: ``[env, time]``."""
    path = walk(real[0], torch.randint(STATES, (ENVS,)), TIME)
    now = path[:, :-1, 0].long()
    states = walk(model[0], now.unsqueeze(-1).expand(-1, -1, ROLLOUTS), HORIZON)
    never = torch.zeros(ENVS, TIME, 1, dtype=torch.bool)
    after = {"observation": path[:, 1:], "reward": real[1][now].unsqueeze(-1), "done": never, "terminated": never}
    virtual = {"states": states, "actions": torch.zeros(*states.shape[:-2], HORIZON, 1)}
    return TensorDict({"observation": path[:, :-1], "next": after, "virtual": virtual}, batch_size=[ENVS, TIME])


def fit(tables: Tensor, groups: list[tuple[float, TensorDict]], step: float) -> None:
    """Move the entries ``[member, state]`` of visited states towards the weighted mean of their targets."""
    total, weight = torch.zeros(2, *tables.shape)
    for ratio, samples in groups:
        index = samples["observation"][:, 0].long().expand(MEMBERS, -1)
        each = ratio / len(samples) * samples["weight"] * bootstrap_mask(len(samples), MEMBERS, 0.8, tables.device)
        total.scatter_add_(1, index, each * samples["value_target"])
        weight.scatter_add_(1, index, each)
    seen = weight > 0
    tables[seen] += step * (total[seen] / weight[seen] - tables[seen])


def learn_chain(schedule: str, share: float, seed: int) -> Iterator[dict[str, float]]:
    """Learn; yield the ratio, the values' root mean square error and both errors of ``auto`` of some updates."""
    torch.manual_seed(seed)
    chains = random_chain(np.random.default_rng(seed), STATES, share)
    real, model = (tuple(torch.tensor(x, dtype=torch.float32) for x in chain) for chain in chains)
    truth = torch.linalg.solve(torch.eye(STATES) - SCORING["discount"] * real[0], real[1])
    tables = truth.mean() * torch.rand(MEMBERS, STATES)
    dial, table = make_dial(SCHEDULES_TRIED[schedule]), TableModel(model[1])

    def value(observation: Tensor) -> Tensor:
        return tables.mean(0)[observation[..., 0].long()]

    for update in range(UPDATES):
        data, ratio = collect(real, model), dial.value
        after, never = data["next"], data["next", "done"][..., 0]
        share_real = bootstrapped_share(never, never, **WEIGHTS).mean()
        values = value(data["observation"]), value(after["observation"])
        targets = lambda_return(*values, after["reward"][..., 0], never, never, **WEIGHTS)
        batch = {"observation": data["observation"], "value_target": targets, "weight": torch.ones(ENVS, TIME)}
        executed = TensorDict(batch, batch_size=[ENVS, TIME]).flatten()
        rollouts = (data["virtual", name].flatten(0, 2) for name in ("states", "actions"))
        virtual = virtual_targets(*rollouts, table, value, **SCORING)
        virtual["weight"] = news_weight(virtual["bootstrapped"], share_real)
        news = {
            "virtual_news": (virtual["weight"] * virtual["news"]).mean().item(),
            "real_news": 1 - share_real.item(),
        }
        evidence = measure_evidence(data, table, value, rollouts=ENVS * TIME * ROLLOUTS, **news, **SCORING)
        fit(tables, [(1 - ratio, executed), (ratio, virtual)], 1 / (1 + update / 10))
        values = tables[:, data["observation"].flatten().long()]
        signals = make_signals(values, data["next", "reward"].flatten(), update, evidence)
        dial.update(signals)
        if update % 5 == 0 or update == UPDATES - 1:
            error = (tables.mean(0) - truth).square().mean().sqrt().item()
            yield {"update": update, "ratio": ratio, "error": error, **signals.metrics()}
