"""A sweep of the model's error against the bound on the values, with every constant of the bound known.

    python results/adaptive_hrl/bound.py

writes ``bound.csv``, ``bound.png`` and ``bound.md`` beside itself. The parts of the table:

- ``chains``: random Markov chains, the fixed point of the mixed backup against the bound;
- ``schedules``: values of such chains learned from samples, with schedules of rho;
- ``linear``: values of the linear system under its best linear policy, learned by least squares from its own steps and its
  planner's model, against closed forms.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bound_report import draw, read, text
from learn_chain import SCHEDULES_TRIED, learn_chain, random_chain
from linear_values import linear_rows

from pompc.onpolicy.bounds import value_error_bound

RATIOS, HORIZONS, ERRORS = (0.1, 0.3, 0.5, 0.8), (1, 5, 20), (0.0, 0.01, 0.03, 0.1, 0.3)
CHAINS, STATES, DISCOUNT, SEEDS = 40, 12, 0.95, 5
COLUMNS = (
    *("part", "model", "schedule", "ratio", "horizon", "seed", "update"),
    *(
        "alpha_p",
        "alpha_r",
        "alpha_w",
        "alpha_p_online",
        "alpha_r_online",
        "alpha_w_online",
        "error",
        "learned",
        "bound",
    ),
    *("uncertainty", "real_error", "virtual_error"),
)
Row = dict[str, Any]


def mixed_value(real: tuple, model: tuple, ratio: float, horizon: int) -> np.ndarray:
    """Fixed point of ``(1 - rho) T + rho T_model^H`` of two chains ``(P [state, state], r [state])``."""
    (p, r), (p_model, r_model) = real, model
    step, gain = np.zeros_like(r), np.eye(len(r))
    for _ in range(horizon):
        step, gain = step + gain @ r_model, gain @ (DISCOUNT * p_model)
    operator = (1 - ratio) * DISCOUNT * p + ratio * gain
    return np.linalg.solve(np.eye(len(r)) - operator, (1 - ratio) * r + ratio * step)


def chain_rows() -> Iterator[Row]:
    """Fixed points of random chains whose model is wrong by a known amount."""
    rng = np.random.default_rng(0)
    for share in ERRORS:
        for chain in range(CHAINS):
            real, model = random_chain(rng, STATES, share)
            value = np.linalg.solve(np.eye(STATES) - DISCOUNT * real[0], real[1])
            alphas = {
                "alpha_p": 0.5 * np.abs(model[0] - real[0]).sum(1).max(),
                "alpha_r": np.abs(model[1] - real[1]).max(),
            }
            for ratio in RATIOS:
                for horizon in HORIZONS:
                    error = np.abs(mixed_value(real, model, ratio, horizon) - value).max()
                    bound = value_error_bound(
                        ratio=ratio,
                        discount=DISCOUNT,
                        horizon=horizon,
                        dynamics_error=alphas["alpha_p"],
                        reward_error=alphas["alpha_r"],
                        value_span=np.ptp(value),
                    )
                    where = {"part": "chains", "model": share, "ratio": ratio, "horizon": horizon, "seed": chain}
                    yield {**where, **alphas, "error": error, "bound": bound}


def schedule_rows() -> Iterator[Row]:
    """Values learned with every schedule."""
    for share in (0.0, 0.1, 0.3):
        for name in SCHEDULES_TRIED:
            for seed in range(SEEDS):
                for row in learn_chain(name, share, seed):
                    yield {"part": "schedules", "model": share, "schedule": name, "seed": seed, **row}


def main(folder: Path) -> None:
    """Make the rows, the figure and the text."""
    torch.set_num_threads(1)
    rows = []
    for part in (chain_rows, schedule_rows, linear_rows):
        made = list(part())
        print(part.__name__, len(made), flush=True)
        rows += made
    with (folder / "bound.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in rows:
            writer.writerow({name: f"{x:.5g}" if isinstance(x, float) else x for name, x in row.items()})
    table = read(folder / "bound.csv")
    draw(table, folder / "bound.png")
    (folder / "bound.md").write_text(text(table), encoding="utf-8")
    print((folder / "bound.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
