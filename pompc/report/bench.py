"""``pompc bench``: how fast planning, environments and training are on this machine.

Absolute times are this machine's; what compares two ways of doing the same is a ratio within one run.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tensordict
import torch
import torchrl
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc import __version__
from pompc.config.compose import compose
from pompc.data.collector import make_collector
from pompc.errors import UserError
from pompc.planner import MPPI, MPPIConfig
from pompc.registry import ENVIRONMENTS
from pompc.report import latent_bench
from pompc.system.files import require_writable
from pompc.system.process import cpu_model, prepare, require_compiler
from pompc.system.timing import duration, durations, threads
from pompc.training.assemble import Assembly, assemble, resolve_device
from pompc.training.seeding import isolated

ENV = "carla_racing"
OUTPUT = Path("bench.json")
UNITS = {"_per_s": "1/s", "_ms": "ms", "_ratio": "times", "_share": "of the time", "_error": "of [-1, 1]"}


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """How big and how long the measurements are.

    Attributes:
        seconds: per timed piece.
        num_envs: environments.
        candidates: per plan, ``M``.
        samples: per candidate, ``K``.
        horizon: model steps of a plan.
        batch_size: environment steps per training iteration.
        iterations: timed training iterations, after one to warm up.
        model_size: of the latent family, millions of parameters.
        sequences: per update of the latent family.
        device: ``cpu`` or ``cuda``.
    """

    seconds: float = 1.0
    num_envs: int = 16
    candidates: int = 4
    samples: int = 64
    horizon: int = 20
    batch_size: int = 2048
    iterations: int = 3
    model_size: int = 5
    sequences: int = 256
    device: str = "cpu"


def bench(only: str | None, settings: BenchSettings | None = None) -> int:
    """Measure, print a table and write ``bench.json`` into the current folder.

    Args:
        only: one measurement; by default all that need no compiler.
        settings: sizes; by default those of the racing runs.

    Returns:
        The exit code 0.

    Raises:
        UserError: there is no such measurement, or it cannot run here, or its result cannot be written.
    """
    if only is not None and only not in MEASUREMENTS:
        raise UserError(f"unknown measurement {only!r}; there are: {', '.join(MEASUREMENTS)}")
    names = [name for name in MEASUREMENTS if name not in ON_REQUEST] if only is None else [only]
    require_writable(OUTPUT)
    settings = settings or BenchSettings()
    results, console = {}, Console()
    with threads(1), isolated(0, resolve_device("auto")):
        prepare(1)
        for name in names:
            for device in ("cpu", "cuda") if name in ON_CUDA and torch.cuda.is_available() else ("cpu",):
                key = name if device == "cpu" else f"{name} ({device})"
                with console.status(f"measuring {key}"):
                    results[key] = MEASUREMENTS[name](replace(settings, device=device))
    console.print(_table(results))
    content = {"machine": machine(), "measurements": results}
    OUTPUT.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    console.print(f"written: {OUTPUT}", highlight=False)
    return 0


def machine() -> dict[str, Any]:
    """What the numbers depend on beside the code."""
    cuda = {"cuda_device": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        **cuda,
        "threads": 1,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchrl": torchrl.__version__,
        "tensordict": tensordict.__version__,
        "pompc": __version__,
    }


def _table(results: dict[str, dict[str, float]]) -> Table:
    table = Table("measurement", "name", "value", "unit", title="speed on this machine, one thread where not said")
    table.columns[2].justify = "right"
    for measurement, values in results.items():
        for name, value in values.items():
            suffix = next(suffix for suffix in UNITS if name.endswith(suffix))
            table.add_row(measurement, name.removesuffix(suffix), f"{value:,.4g}", UNITS[suffix])
    return table


def racing(settings: BenchSettings) -> dict[str, float]:
    """The racing environment's own benchmark."""
    return ENVIRONMENTS.resolve(ENV).bench(settings.seconds, settings.device)


def planner(settings: BenchSettings) -> dict[str, float]:
    """A plan for all environments: with a second thread, and environment by environment.

    Returns:
        ``plan_ms``; ``one_by_one_ms``, a plan for every environment in turn, and ``batching_ratio`` of the two; on a
        CPU ``two_threads_ms`` and ``two_threads_ratio``, above 1 where a second thread helps.
    """
    mppi, state, parameters = _planning(settings)
    rows = [slice(row, row + 1) for row in range(settings.num_envs)]

    def plan() -> None:
        mppi.plan(state, parameters=parameters)

    def one_by_one() -> None:
        for row in rows:
            mppi.plan(state[row], parameters=parameters[row])

    def two_threads() -> None:
        with threads(2):
            plan()

    actions: dict[str, Callable[[], None]] = {"plan": plan, "one_by_one": one_by_one}
    if settings.device == "cpu":
        actions["two_threads"] = two_threads
    best = durations(actions, settings.seconds, settings.device)
    result = {f"{name}_ms": 1e3 * value for name, value in best.items()}
    result["batching_ratio"] = best["one_by_one"] / best["plan"]
    if "two_threads" in best:
        result["two_threads_ratio"] = best["plan"] / best["two_threads"]
    return result


def planner_compile(settings: BenchSettings) -> dict[str, float]:
    """The same plan with compiled dynamics; ``compile_ratio`` is above 1 where they help.

    Raises:
        UserError: there is no C++ compiler.
    """
    require_compiler("planner_compile")
    mppi, state, parameters = _planning(settings)
    compiled, _, _ = _planning(settings, compile_dynamics=True)
    start = time.perf_counter()
    compiled.plan(state, parameters=parameters)
    first = time.perf_counter() - start
    planners = {"plan": mppi, "compiled": compiled}
    best = durations(
        {name: lambda which=which: which.plan(state, parameters=parameters) for name, which in planners.items()},
        settings.seconds,
    )
    result = {f"{name}_ms": 1e3 * value for name, value in best.items()}
    return {**result, "first_compiled_ms": 1e3 * first, "compile_ratio": best["plan"] / best["compiled"]}


def _planning(settings: BenchSettings, *, compile_dynamics: bool = False) -> tuple[MPPI, Tensor, Tensor]:
    """A planner, states ``[num_envs, state]`` and random cost parameters ``[num_envs, candidates, parameter]``."""
    kind = ENVIRONMENTS.resolve(ENV)
    family = kind(kind.Config())
    model = family.task_model(settings.device)
    env = family.vectorise(settings.num_envs, seed=0, device=settings.device)
    config = MPPIConfig(horizon=settings.horizon, num_samples=settings.samples, compile=compile_dynamics)
    mppi = MPPI(config, model, model, model.action_dim, device=settings.device)
    shape = (settings.num_envs, settings.candidates, model.parameter_dim)
    parameters = model.parameters(2.0 * torch.rand(shape, device=settings.device) - 1.0)
    return mppi, model.state(env.reset()["observation"]), parameters


def training(settings: BenchSettings) -> dict[str, float]:
    """Training end to end, with and without a planner, in its fastest iteration.

    Returns:
        Per algorithm environment steps per second of collecting and learning together, and the share of collecting.
    """
    sizes = (
        f"algo.candidates={settings.candidates}",
        f"planner.num_samples={settings.samples}",
        f"planner.horizon={settings.horizon}",
    )
    return {**_trained(settings, "adaptive_hrl", *sizes), **_trained(settings, "ppo")}


def _assembled(settings: BenchSettings, algo: str, *overrides: str) -> Assembly:
    common = (f"num_envs={settings.num_envs}", f"algo.batch_size={settings.batch_size}", f"device={settings.device}")
    return assemble(compose(algo, ENV, [*common, *overrides]))


def _trained(settings: BenchSettings, algo: str, *overrides: str) -> dict[str, float]:
    parts = _assembled(settings, algo, *overrides)
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


def collector(settings: BenchSettings) -> dict[str, float]:
    """TorchRL's collector against a bare loop of the same policy and environment; it also stacks the batch.

    Returns:
        Environment steps per second of both, and ``collector_ratio`` of their times, 1 without any overhead.
    """
    parts = _assembled(settings, "ppo")
    wrapped = make_collector(parts.env, parts.agent, parts.agent.frames_per_batch)
    bare = _assembled(settings, "ppo")
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


def latent(settings: BenchSettings) -> dict[str, float]:
    """TD-MPC2's plan and update; two heads against all, rounded products, and what these do to planned actions."""
    sizes = (settings.model_size, settings.device)
    agent = latent_bench.latent_agent(*sizes, batch=settings.sequences)
    low = latent_bench.latent_agent(*sizes, batch=settings.sequences, precision="medium")
    observation = torch.rand(8, latent_bench.OBSERVATION, device=settings.device)
    centred = latent_bench.latent_agent(*sizes, batch=settings.sequences, planning="centred")
    effect = latent_bench.precision_effect(agent, {"medium": low, "centred": centred}, observation)
    return {**latent_bench.planning_and_learning(agent, low, centred, settings.seconds, settings.device), **effect}


def latent_compile(settings: BenchSettings) -> dict[str, float]:
    """The same with the score function and the activations compiled.

    Raises:
        UserError: there is no C++ compiler.
    """
    require_compiler("latent_compile")
    sizes = (settings.model_size, settings.device)
    agent = latent_bench.latent_agent(*sizes, batch=settings.sequences)
    compiled = latent_bench.latent_agent(*sizes, batch=settings.sequences, compiled=True)
    return latent_bench.compiling(agent, compiled, settings.seconds, settings.device)


def carla(settings: BenchSettings) -> dict[str, float]:
    """The racing environment over one and over two CARLA servers, both the stand-in; each in its own process.

    Measured as fast as the stand-in is, where three processes share the machine, and with ticks of 20 ms, as a server takes
    that has graphics: then the client mostly waits.

    Returns:
        Environment steps per second over all rows, and the ratio of two servers to one.

    Raises:
        UserError: the CARLA client is not installed.
    """
    from pompc.envs.carla_racing.standin import running

    result = {}
    for name, faults in (("", ()), ("slow_", ("--slow-tick", "0.02"))):
        with running(*faults) as one, running(*faults) as two:
            single, both = (_served(servers, settings.seconds) for servers in ((one,), (one, two)))
        result |= {f"{name}one_server_steps_per_s": single, f"{name}two_servers_steps_per_s": both}
        result[f"{name}two_servers_ratio"] = both / single
    return result


def _served(servers: Sequence[Any], seconds: float) -> float:
    """Steps per second of random actions, over all of the servers."""
    kind = ENVIRONMENTS.resolve(ENV)
    addresses = tuple(f"{server.host}:{server.port}" for server in servers)
    env = kind(kind.Config(backend="carla", servers=addresses)).vectorise(len(servers), seed=0)
    carrier = [env.reset()]

    def step() -> None:
        _, carrier[0] = env.step_and_maybe_reset(env.rand_action(carrier[0]))

    try:
        return len(servers) / duration(step, seconds)
    finally:
        env.close()


MEASUREMENTS: dict[str, Callable[[BenchSettings], dict[str, float]]] = {
    "racing": racing,
    "planner": planner,
    "training": training,
    "collector": collector,
    "latent": latent,
    "planner_compile": planner_compile,
    "latent_compile": latent_compile,
    "carla": carla,
}
ON_REQUEST = ("planner_compile", "latent_compile", "carla")  # compiling takes 20 s; the CARLA client is an extra
ON_CUDA = ("racing", "planner", "latent")
