"""What virtual_bias is made of, and what share of learning rho gives to virtual data, in racing::

    python results/adaptive_hrl/why/look_ahead.py CACHE

writes look_ahead.csv beside itself and prints it as tables. The policy of CACHE, the initial one, drives with a right and a
wrong model in the nominal and in a wrong car. At the same states and with the same values it takes real targets, virtual
ones, and real ones that look ahead only as far as virtual ones.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from frozen_data import CASES, Case, frozen, roll, stored
from tables import Table, markdown
from tensordict import TensorDict
from value_learning import Learner, fit, make_learner

from pompc.onpolicy.evidence import real_targets
from pompc.onpolicy.virtual_targets import Scoring, score_rollouts
from pompc.training.assemble import assemble
from pompc.training.seeding import seed_everything

CASE, STEPS, EVERY, UPDATES = "racing_mismatch", 200, 3, 4
EXACT = "env.planner_model=single_track"
KNOWN = (EXACT, "env.planner_mass=1.2", "env.planner_friction=0.7", "env.planner_drive=0.8")
PLACES: dict[str, tuple[str, tuple[str, ...]]] = {
    "kinematic model, wrong car": ("racing_mismatch", ()),
    "exact model, the same car": ("racing_mismatch", KNOWN),
    "exact model, nominal car": ("racing", (EXACT,)),
    "kinematic model, nominal car": ("racing", ()),
}
RATIOS = (0.3, 0.8)


def place(name: str) -> Case:
    """The case of a place."""
    of, options = PLACES[name]
    return Case(**{**vars(CASES[of]), "options": options})


def collect(name: str, policy: Any) -> TensorDict:
    """Drive with the frozen policy: ``[env, STEPS]``."""
    parts, agent = frozen(place(name), policy, "seed=1000")
    seed_everything(1000)
    return roll(parts.env, agent, STEPS)


def parts_of_bias(learner: Learner, run: TensorDict) -> dict[str, float]:
    """Take the mean difference of virtual and real targets apart: how far they look ahead, and the rest."""
    config, horizon = learner.config, learner.config.planner.horizon
    scoring: Scoring = {
        "reward_scale": learner.return_scale.factor,
        "discount": config.discount,
        "gae_lambda": config.gae_lambda,
    }
    starts = torch.arange(0, run.shape[1] - horizon + 1, EVERY)
    chosen = (run["virtual", "weighted", name][:, starts] for name in ("states", "actions"))
    window = run.select("observation", "next")[:, starts.unsqueeze(1) + torch.arange(horizon)]
    with torch.no_grad():
        virtual = score_rollouts(*chosen, learner.model, learner.mean_value, **scoring)["value_target"][..., 0, 0]
        real, short = learner.value_target(run)[0][:, starts, 0], real_targets(window, learner.mean_value, **scoring)
    whole = ~(window["next", "truncated"][:, :, :-1, 0].any(-1))
    return {
        "virtual_bias": (virtual - real)[whole].mean().item(),
        "look-ahead": (short - real)[whole].mean().item(),
        "model and plan": (virtual - short)[whole].mean().item(),
        "error": ((virtual - short).where(whole, torch.nan).nanmean(1).std() / len(run) ** 0.5).item(),
    }


def shares(learner: Learner, batch: TensorDict) -> Iterator[dict[str, Any]]:
    """Yield the shares of virtual data in the loss and in the news, with both weights."""
    virtual = learner.virtual_batch(batch.copy())
    assert virtual is not None
    real_news = 1 - learner._real_share(batch).item()
    for name, weight in (("news", virtual["weight"]), ("equal", torch.ones_like(virtual["weight"]))):
        mean, news = weight.mean().item(), (weight * virtual["news"]).mean().item()
        for ratio in RATIOS:
            loss = ratio * mean / (1 - ratio + ratio * mean)
            said = ratio * news / ((1 - ratio) * real_news + ratio * news)
            weights = {"weights": name, "n_r": real_news, "E[w]": mean, "n_v": news}
            yield {"ratio": ratio, **weights, "of the loss": loss, "of the news": said}


def stages(cache: Path) -> Iterator[tuple[str, Learner, dict[str, TensorDict]]]:
    """Yield the values that know nothing, those after some updates with real data, and those fitted to returns."""
    data = stored(cache, CASE, "initial", 0)
    runs = {name: collect(name, data.agent) for name in PLACES}
    learner = make_learner(CASE, data, 0, 8192, virtual_ratio=0.0)
    own, batches = learner.model, data.batches(8192, UPDATES)
    yield "values that know nothing", learner, {**runs, "batch": batches[0]}
    learner.model = own
    for batch in batches:
        learner.learn(batch.clone())
    yield f"after {UPDATES} updates", learner, runs
    fit(learner, data.truth["observation"][:, : data.returns.shape[1]].flatten(0, 1), data.returns.flatten())
    yield "fitted to returns", learner, runs


def main(cache: Path) -> None:
    """Measure, write the table, print it."""
    path = Path(__file__).with_suffix(".csv")
    path.unlink(missing_ok=True)
    table, cells, share_cells = Table(path), {name: [] for name in PLACES}, {}
    models = {name: assemble(place(name).configure("num_envs=16")).agent.model for name in PLACES}
    names = []
    for stage, learner, runs in stages(cache):
        names.append(stage)
        if "batch" in runs:
            rows = list(shares(learner, runs.pop("batch")))
            table.add([{"measure": "share", **row} for row in rows])
            columns = ("n_r", "E[w]", "of the loss", "of the news")
            share_cells = {f"{r['weights']}, rho {r['ratio']}": [f"{r[c]:.3f}" for c in columns] for r in rows}
            print(markdown(columns, share_cells), flush=True)
        for name, run in runs.items():
            learner.model = models[name]
            row = parts_of_bias(learner, run)
            table.add([{"measure": "bias", "place": name, "values": stage, **row}])
            cells[name].append(" / ".join(f"{row[part]:.2f}" for part in list(row)[:3]))
    print(markdown(names, cells))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
