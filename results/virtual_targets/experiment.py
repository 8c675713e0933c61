"""Virtual against real value targets while nothing is known yet: the same data, policy and exact model for all variants.

A policy that does not learn collects batches on the Acrobot, whose planner model is exact. Every variant then learns values
from these batches, in the same order and from the same networks; the discounted returns of the finished episodes are the
truth. What differs between two variants is named in ``VARIANTS`` and nothing else.

    python results/virtual_targets/experiment.py results/virtual_targets/acrobot.csv

writes the table, draws it beside itself and prints the summary that the README has.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from tensordict import TensorDict

from pompc.algorithms.adaptive_hrl import AdaptiveHRLConfig
from pompc.data.collector import make_collector
from pompc.envs.acrobot import Acrobot, AcrobotConfig
from pompc.problem import Problem

sys.path.append(str(Path(__file__).parents[1]))
from frozen_policy import ValuesOnly, returns_to_go

UPDATES, SEEDS, NUM_ENVS, BATCH = 20, (0, 1, 2), 16, 8192
# Columns of the summary: a quantity of the table, averaged over these updates.
SUMMARY = {
    "value error after 2 updates": ("value_error", slice(2, 3)),
    "from 10 updates on": ("value_error", slice(10, 20)),
    "RMSE, all updates": ("value_rmse", slice(0, 20)),
    "virtual - real target, from 5 on": ("virtual_bias", slice(5, 20)),
}
VARIANTS = {
    "no virtual data": {"virtual_ratio": 0.0},
    "equal weights": {"virtual_weight": "equal"},
    "equal weights, lambda 1": {"virtual_weight": "equal", "virtual_gae_lambda": 1.0},
    "equal weights, after 5 updates": {"virtual_weight": "equal", "start": 5},
    "equal weights, rho 0.07": {"virtual_weight": "equal", "virtual_ratio": 0.07},  # the weight that news leaves in all
    "news": {"virtual_weight": "news"},
    "news, lambda 1": {"virtual_weight": "news", "virtual_gae_lambda": 1.0},
}


def make_agent(family: Acrobot, seed: int, *, start: int = 0, **options: object) -> ValuesOnly:
    """An agent of the default options; ``options`` replace some of them."""
    torch.manual_seed(seed)
    problem = Problem(
        observation_dim=7, action_dim=1, num_envs=NUM_ENVS, task_model=family.task_model, device=torch.device("cpu")
    )
    config = AdaptiveHRLConfig(**{"virtual_ratio": 0.3, "batch_size": BATCH, **options})  # type: ignore[arg-type]
    return ValuesOnly(config, problem, start=start)


def learn(agent: ValuesOnly, batches: list[TensorDict], truth: list[torch.Tensor], seed: int) -> list[dict[str, float]]:
    """One row per update: targets and values of the batch against the truth, in units of the values."""
    torch.manual_seed(seed)
    rows = []
    for update, (batch, known) in enumerate(zip(batches, truth, strict=True)):
        ended = ~known.isnan()
        value = agent.mean_value(batch["observation"]).detach()
        metrics = agent.learn(batch.clone())
        scaled = known * agent.return_scale.factor
        error = (value - scaled)[ended]
        rows.append(
            {
                "update": update,
                "virtual_bias": metrics.get("virtual_bias", np.nan),
                "virtual_weight": metrics.get("virtual_weight", np.nan),
                "value_error": error.mean().item(),
                "value_rmse": error.square().mean().sqrt().item(),
                "truth": scaled[ended].mean().item(),
                "known": ended.float().mean().item(),
            }
        )
    return rows


def main(path: Path) -> None:
    """Collect, learn every variant from it, write the table."""
    family = Acrobot(AcrobotConfig())
    with path.open("w", newline="") as file:
        writer = None
        for seed in SEEDS:
            actor = make_agent(family, seed)
            collector = make_collector(family.vectorise(NUM_ENVS, seed=seed), actor, actor.frames_per_batch)
            batches = [batch.clone() for batch, _ in zip(collector, range(UPDATES), strict=False)]
            collector.shutdown()
            truth = returns_to_go(batches, actor.config.discount)
            for name, options in VARIANTS.items():
                for row in learn(make_agent(family, seed, **options), batches, truth, seed):
                    row = {"variant": name, "seed": seed, **row}
                    writer = writer or csv.DictWriter(file, row)
                    if file.tell() == 0:
                        writer.writeheader()
                    writer.writerow(row)
                file.flush()
                print(seed, name, {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}, flush=True)


def read(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """``{variant: {quantity: [seed, update]}}`` of a table."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found: dict[str, dict[str, np.ndarray]] = {}
    for variant in VARIANTS:
        own = [row for row in rows if row["variant"] == variant]
        quantities = [name for name in rows[0] if name not in ("variant", "seed", "update")]
        found[variant] = {name: np.array([float(row[name]) for row in own]).reshape(-1, UPDATES) for name in quantities}
    return found


def summary(path: Path) -> str:
    """The lines of a Markdown table: the mean over seeds of every column of ``SUMMARY``, and the seeds' range."""
    lines = [f"| | {' | '.join(SUMMARY)} |", "|---" * (len(SUMMARY) + 1) + "|"]
    for variant, quantities in read(path).items():
        cells = []
        for name, updates in SUMMARY.values():
            scores = quantities[name][:, updates].mean(1)
            known = f"{scores.mean():.3f} ({scores.min():.3f} to {scores.max():.3f})"
            cells.append("" if np.isnan(scores).any() else known)
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(path: Path) -> None:
    """Error of the values and difference of the targets by update, mean over seeds, into a ``.png`` beside the table."""
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.5))
    titles = {
        "value_error": "mean error of the values",
        "value_rmse": "RMSE of the values",
        "virtual_bias": "virtual - real target",
    }
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        for index, (variant, quantities) in enumerate(read(path).items()):
            axis.plot(quantities[name].mean(0), label=variant, color=f"C{index}")
        axis.set(title=title, xlabel="update")
        axis.grid(alpha=0.3)
    axes[0].axhline(0, color="black", linewidth=0.8)
    axes[0].set_ylim(-0.3, 1.0)
    axes[1].set_ylim(0.25, 1.1)
    axes[1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path.with_suffix(".png"), dpi=90)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    draw(Path(sys.argv[1]))
    print(summary(Path(sys.argv[1])))
