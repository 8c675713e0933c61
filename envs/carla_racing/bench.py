"""Speed of the racing environment and of its planner model, on the threads that torch has."""

from __future__ import annotations

import numpy as np
import torch

from pompc.system.timing import duration

from .batched import BatchedRacing
from .config import CarlaRacingConfig
from .env import RacingEnv
from .model import RacingModel


def _single(config: CarlaRacingConfig, seconds: float) -> float:
    env = RacingEnv(config)
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (1000, 2)).astype(np.float32)
    index = 0

    def step() -> None:
        nonlocal index
        _, _, terminated, truncated, _ = env.step(actions[index % 1000])
        index += 1
        if terminated or truncated:
            env.reset()

    return 1.0 / duration(step, seconds)


def _batched(config: CarlaRacingConfig, num_envs: int, seconds: float, device: torch.device | str) -> float:
    env = BatchedRacing(config, num_envs, device=device)
    carrier = env.reset()
    carrier["action"] = torch.rand(num_envs, 2, device=device) * 2 - 1
    return num_envs / duration(lambda: env.step(carrier), seconds, device)


def _rollout(config: CarlaRacingConfig, rows: int, horizon: int, seconds: float, device: torch.device | str) -> float:
    model = RacingModel(config, device)
    start = model.state(BatchedRacing(config, rows, device=device).reset()["observation"])
    actions = torch.rand(horizon, rows, 2, device=device) * 2 - 1

    def roll() -> None:
        state = start
        for action in actions:
            state = model.step(state, action)

    return 1e3 * duration(roll, seconds, device)


@torch.no_grad()
def measure(seconds: float = 1.0, device: torch.device | str = "cpu") -> dict[str, float]:
    """Measure every rate for about ``seconds``.

    Args:
        seconds: per rate.
        device: of everything but the gymnasium environment, which has none.

    Returns:
        ``single_steps_per_s`` of the gymnasium environment, ``batched_<n>_steps_per_s`` (steps of a car) of the
        TorchRL one, and ``rollout_4096x20_ms`` of the planner model (dynamics alone, 20 steps of 4096 rows).
    """
    config = CarlaRacingConfig()
    return {
        "single_steps_per_s": _single(config, seconds),
        "batched_16_steps_per_s": _batched(config, 16, seconds, device),
        "batched_4096_steps_per_s": _batched(config, 4096, seconds, device),
        "rollout_4096x20_ms": _rollout(config, 4096, 20, seconds, device),
    }
