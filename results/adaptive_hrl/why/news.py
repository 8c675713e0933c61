"""What value targets say beyond the value function, without any data::

    python results/adaptive_hrl/why/news.py

writes news.csv beside itself and prints it as a table.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tables import Table, markdown

from pompc.onpolicy.virtual_targets import bootstrapped_share

DISCOUNT = 0.998
LENGTHS = {
    "real, 512 steps of an environment per update": 512,
    "real, 128 steps": 128,
    "real, 32 steps": 32,
    "real, 8 steps": 8,
    "virtual, horizon 8": 8,
    "virtual, horizon 20": 20,
    "virtual, horizon 50": 50,
}
LAMBDAS = (0.8, 0.9, 0.97, 1.0)


def news(length: int, gae_lambda: float, discount: float = DISCOUNT) -> float:
    """Mean over a piece of ``length`` steps in which nothing ends of the share that rewards have in a target."""
    never = torch.zeros(1, length, dtype=torch.bool)
    return 1 - bootstrapped_share(never, never, discount=discount, gae_lambda=gae_lambda).mean().item()


if __name__ == "__main__":
    path = Path(__file__).with_suffix(".csv")
    path.unlink(missing_ok=True)
    table = Table(path)
    table.add([{"target": name, "lambda": x, "news": news(n, x)} for name, n in LENGTHS.items() for x in LAMBDAS])
    cells = {name: [f"{100 * news(length, x):.1f} %" for x in LAMBDAS] for name, length in LENGTHS.items()}
    print(markdown([f"lambda {x}" for x in LAMBDAS], cells))
