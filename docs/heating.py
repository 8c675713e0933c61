"""Draw docs/heating.svg, a planned day in the house with the exact model and with a wrong one::

python docs/heating.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
import numpy as np
import torch

from pompc.envs.heating import Heating, HeatingConfig
from pompc.envs.heating_house import HOURS
from pompc.envs.heating_picture import Day
from pompc.planner import MPPI, MPPIConfig

PLANNER = MPPIConfig(horizon=24, num_samples=256, temperature=0.1, num_iterations=2, noise="spline", noise_knots=6)
DAYS = {"exact model": {}, "R and C twice too large": {"planner_resistance": 2.0, "planner_capacity": 2.0}}
COLOURS = ("#0b6fa4", "#c2410c")


@torch.no_grad()
def day(seed: int, **options: float) -> tuple[Day, float]:
    """Plan a day; return it and its cost in EUR."""
    family = Heating(HeatingConfig(outdoor=(0.0, 0.0), **options))
    env, model, warm, cost = family.make(), family.task_model(), None, 0.0
    planner = MPPI(PLANNER, model, model, model.action_dim)
    observation, _ = env.reset(seed=seed)
    torch.manual_seed(seed)
    over = False
    while not over:
        plan = planner.plan(model.state(torch.from_numpy(observation)).unsqueeze(0), mean=warm)
        warm = planner.shift(plan.mean[:, 0])
        observation, reward, _, over, _ = env.step(plan.mean[0, 0, 0].numpy())
        cost -= float(reward)
    return env.unwrapped.day, cost  # pyright: ignore[reportAttributeAccessIssue]


def main() -> None:
    """Draw both days below each other: temperature, power and price, charge."""
    plt.rcParams["svg.hashsalt"] = "pompc"
    figure, axes = plt.subplots(3, 1, figsize=(7, 5.5), sharex=True, layout="constrained")
    for (name, options), colour in zip(DAYS.items(), COLOURS, strict=True):
        seen, cost = day(0, **options)
        hours = HOURS * (1 + np.arange(len(seen.room)))
        for axis, series in zip(axes, (seen.room, seen.power, seen.charge), strict=True):
            axis.plot(hours, series, color=colour, label=f"{name}: {cost:.2f} EUR")
    axes[0].axhspan(*seen.comfort, color="#e0f2eb")
    axes[0].set_ylabel("room [°C]")
    axes[0].legend(frameon=False, fontsize="small")
    axes[1].set_ylabel("bought [kW]")
    prices = axes[1].twinx()
    prices.fill_between(hours, seen.price, color="#c8960f", alpha=0.2, linewidth=0)
    prices.set_ylabel("price [EUR/kWh]")
    prices.set_ylim(0)
    axes[2].set_ylabel("charge")
    axes[2].set_xlabel("hour")
    axes[2].set_xlim(0, 24)
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
