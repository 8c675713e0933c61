"""What ``pompc bench`` measures on racing: the environment, its model, training, and CARLA's protocol."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pompc.report.measurement import CPU, CUDA, BenchSettings, measurement
from pompc.report.training_bench import collecting, planner_sizes, trained
from pompc.system.timing import duration

from .batched import BatchedRacing
from .config import CarlaRacingConfig
from .env import RacingEnv
from .family import CarlaRacing
from .model import RacingModel
from .standin import StandIn, running


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


def _rollout(
    config: CarlaRacingConfig, num_envs: int, horizon: int, seconds: float, device: torch.device | str
) -> float:
    model = RacingModel(config, device)
    start = model.state(BatchedRacing(config, num_envs, device=device).reset()["observation"])
    actions = torch.rand(horizon, num_envs, 2, device=device) * 2 - 1

    def roll() -> None:
        state = start
        for action in actions:
            state = model.step(state, action)

    return 1e3 * duration(roll, seconds, device)


@measurement(devices=(CPU, CUDA))
@torch.no_grad()
def racing(settings: BenchSettings, env: str) -> dict[str, float]:
    """Measure the gymnasium environment (always on the CPU), the batched one and the planner's model.

    Returns:
        ``single_steps_per_s`` of the gymnasium environment, ``batched_<n>_steps_per_s`` (steps of a car) of the
        TorchRL one, and ``rollout_4096x20_ms`` of the planner's model (dynamics alone, 20 steps of 4096 cars).
    """
    config, seconds, device = CarlaRacingConfig(), settings.seconds, settings.device
    return {
        "single_steps_per_s": _single(config, seconds),
        "batched_16_steps_per_s": _batched(config, 16, seconds, device),
        "batched_4096_steps_per_s": _batched(config, 4096, seconds, device),
        "rollout_4096x20_ms": _rollout(config, 4096, 20, seconds, device),
    }


@measurement()
def training(settings: BenchSettings, env: str) -> dict[str, float]:
    """Measure training end to end, with a planner (``adaptive_hrl``) and without (``ppo``)."""
    return {**trained(settings, env, "adaptive_hrl", *planner_sizes(settings)), **trained(settings, env, "ppo")}


@measurement()
def collector(settings: BenchSettings, env: str) -> dict[str, float]:
    """Measure TorchRL's collector against a bare loop; see ``collecting``."""
    return collecting(settings, env, "ppo")


@measurement(on_request=True)  # the CARLA client is an extra
def carla(settings: BenchSettings, env: str) -> dict[str, float]:
    """Measure the environment over one and over two CARLA servers, both the stand-in; each is a process.

    It is measured twice: with the stand-in at full speed, so that three processes share the machine, and with ticks of
    20 ms, as of a server with graphics, so that the client mostly waits.

    Returns:
        Environment steps per second over all servers, and the ratio of two servers to one.

    Raises:
        UserError: the CARLA client is not installed.
    """
    result = {}
    for name, faults in (("", ()), ("slow_", ("--slow-tick", "0.02"))):
        with running(*faults) as one, running(*faults) as two:
            single, both = (_served(servers, settings.seconds) for servers in ((one,), (one, two)))
        result |= {f"{name}one_server_steps_per_s": single, f"{name}two_servers_steps_per_s": both}
        result[f"{name}two_servers_ratio"] = both / single
    return result


def _served(servers: Sequence[StandIn], seconds: float) -> float:
    """Steps per second of random actions, over all of the servers."""
    addresses = tuple(f"{server.host}:{server.port}" for server in servers)
    env = CarlaRacing(CarlaRacingConfig(backend="carla", servers=addresses)).vectorise(len(servers), seed=0)
    carrier = [env.reset()]

    def step() -> None:
        _, carrier[0] = env.step_and_maybe_reset(env.rand_action(carrier[0]))

    try:
        return len(servers) / duration(step, seconds)
    finally:
        env.close()
