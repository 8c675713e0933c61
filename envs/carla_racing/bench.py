"""Speed of the racing environment and of its planner model, on the threads that torch has."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from .batched import BatchedRacing
from .config import CarlaRacingConfig
from .env import RacingEnv
from .model import RacingModel


def _rate(action: Callable[[], object], seconds: float) -> float:
    """Calls per second of the fastest of several rounds (other work on the machine only ever slows one down)."""
    action()
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start, calls = time.perf_counter(), 0
        while time.perf_counter() - start < seconds / 5:
            action()
            calls += 1
        best = max(best, calls / (time.perf_counter() - start))
    return best


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

    return _rate(step, seconds)


def _batched(config: CarlaRacingConfig, num_envs: int, seconds: float) -> float:
    env = BatchedRacing(config, num_envs)
    carrier = env.reset()
    carrier["action"] = torch.rand(num_envs, 2) * 2 - 1
    return num_envs * _rate(lambda: env.step(carrier), seconds)


def _rollout(config: CarlaRacingConfig, rows: int, horizon: int, seconds: float) -> float:
    model = RacingModel(config)
    start = model.state(BatchedRacing(config, rows).reset()["observation"])
    actions = torch.rand(horizon, rows, 2) * 2 - 1

    def roll() -> None:
        state = start
        for action in actions:
            state = model.step(state, action)

    return 1e3 / _rate(roll, seconds)


@torch.no_grad()
def measure(seconds: float = 1.0) -> dict[str, float]:
    """Measure every rate for about ``seconds``.

    Returns:
        ``single_steps_per_s`` of the gymnasium environment, ``batched_<n>_steps_per_s`` (steps of a car) of the
        TorchRL one, and ``rollout_4096x20_ms`` of the planner model (dynamics alone, 20 steps of 4096 rows).
    """
    config = CarlaRacingConfig()
    return {
        "single_steps_per_s": _single(config, seconds),
        "batched_16_steps_per_s": _batched(config, 16, seconds),
        "batched_4096_steps_per_s": _batched(config, 4096, seconds),
        "rollout_4096x20_ms": _rollout(config, 4096, 20, seconds),
    }
