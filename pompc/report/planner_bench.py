"""Speed of a plan on an environment's explicit model."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from pompc.planner import MPPI, MPPIConfig
from pompc.registry import ENVIRONMENTS
from pompc.system.process import require_compiler
from pompc.system.timing import durations, threads

from .measurement import CPU, CUDA, BenchSettings, measurement


@measurement(devices=(CPU, CUDA))
def planner(settings: BenchSettings, env: str) -> dict[str, float]:
    """Measure a plan for all environments: at once, with a second thread, and one environment after the other.

    Returns:
        ``plan_ms``; ``one_by_one_ms``, a plan for every environment in turn, and ``batching_ratio`` of the two; on a
        CPU ``two_threads_ms`` and ``two_threads_ratio``, above 1 if a second thread helps.
    """
    mppi, state, parameters = _planning(settings, env)
    single = [slice(i, i + 1) for i in range(settings.num_envs)]

    def plan() -> None:
        mppi.plan(state, parameters=parameters)

    def one_by_one() -> None:
        for i in single:
            mppi.plan(state[i], parameters=parameters[i])

    def two_threads() -> None:
        with threads(2):
            plan()

    actions: dict[str, Callable[[], None]] = {"plan": plan, "one_by_one": one_by_one}
    if settings.device == CPU:
        actions["two_threads"] = two_threads
    best = durations(actions, settings.seconds, settings.device)
    result = {f"{name}_ms": 1e3 * value for name, value in best.items()}
    result["batching_ratio"] = best["one_by_one"] / best["plan"]
    if "two_threads" in best:
        result["two_threads_ratio"] = best["plan"] / best["two_threads"]
    return result


@measurement(on_request=True)  # compiling takes 20 s
def planner_compile(settings: BenchSettings, env: str) -> dict[str, float]:
    """Measure the same plan with compiled dynamics; ``compile_ratio`` is above 1 if they help.

    Raises:
        UserError: there is no C++ compiler.
    """
    require_compiler("planner_compile")
    mppi, state, parameters = _planning(settings, env)
    compiled, _, _ = _planning(settings, env, compile_dynamics=True)
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


def _planning(settings: BenchSettings, env: str, *, compile_dynamics: bool = False) -> tuple[MPPI, Tensor, Tensor]:
    """A planner, states ``[num_envs, state]`` and random cost parameters ``[num_envs, candidates, parameter]``."""
    kind = ENVIRONMENTS.resolve(env)
    family = kind(kind.Config())
    model = family.task_model(settings.device)
    batch = family.vectorise(settings.num_envs, seed=0, device=settings.device)
    config = MPPIConfig(horizon=settings.horizon, num_samples=settings.samples, compile=compile_dynamics)
    mppi = MPPI(config, model, model, model.action_dim, device=settings.device)
    shape = (settings.num_envs, settings.candidates, model.parameter_dim)
    parameters = model.parameters(2.0 * torch.rand(shape, device=settings.device) - 1.0)
    return mppi, model.state(batch.reset()["observation"]), parameters
