"""Speed of on-policy training, and what TorchRL's collector adds to a bare loop."""

from __future__ import annotations

import time

from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.config.spec import configure
from pompc.data.collector import make_collector
from pompc.system.timing import durations
from pompc.training.assemble import Assembly, assemble

from .measurement import BenchSettings


def planner_sizes(settings: BenchSettings) -> tuple[str, ...]:
    """The overrides that give an algorithm with a planner the sizes of the settings."""
    return (
        f"algo.candidates={settings.candidates}",
        f"planner.num_samples={settings.samples}",
        f"planner.horizon={settings.horizon}",
    )


def trained(settings: BenchSettings, env: str, algo: str, *overrides: str) -> dict[str, float]:
    """Measure training end to end in its fastest iteration.

    Returns:
        ``<algo>_steps_per_s``, environment steps per second of collecting and learning together, and
        ``<algo>_collect_share``, the share of collecting.
    """
    parts = _assembled(settings, env, algo, *overrides)
    collector = make_collector(parts.env, parts.agent, parts.agent.frames_per_batch)
    best, collecting = float("inf"), 0.0
    for iteration in range(1 + settings.iterations):
        start = time.perf_counter()
        data = collector.rollout()
        collected = time.perf_counter() - start
        parts.agent.learn(data)
        total = time.perf_counter() - start
        if iteration and total < best:
            best, collecting = total, collected
    collector.shutdown()
    return {f"{algo}_steps_per_s": parts.agent.frames_per_batch / best, f"{algo}_collect_share": collecting / best}


def collecting(settings: BenchSettings, env: str, algo: str) -> dict[str, float]:
    """Measure TorchRL's collector against a bare loop of the same policy and environment; it also stacks the batch.

    Returns:
        Environment steps per second of both, and ``collector_ratio`` of their times, 1 without any overhead.
    """
    parts = _assembled(settings, env, algo)
    wrapped = make_collector(parts.env, parts.agent, parts.agent.frames_per_batch)
    bare = _assembled(settings, env, algo)
    carrier = bare.env.reset()
    steps = parts.agent.frames_per_batch // settings.num_envs

    def loop() -> None:
        nonlocal carrier
        with set_exploration_type(ExplorationType.RANDOM):
            for _ in range(steps):
                _, carrier = bare.env.step_and_maybe_reset(bare.agent(carrier))

    best = durations({"loop": loop, "collector": wrapped.rollout}, settings.seconds)
    wrapped.shutdown()
    rates = {f"{name}_steps_per_s": parts.agent.frames_per_batch / value for name, value in best.items()}
    return {**rates, "collector_ratio": best["collector"] / best["loop"]}


def _assembled(settings: BenchSettings, env: str, algo: str, *overrides: str) -> Assembly:
    common = (f"num_envs={settings.num_envs}", f"algo.batch_size={settings.batch_size}", f"device={settings.device}")
    return assemble(configure(algo, env, [*common, *overrides]))
