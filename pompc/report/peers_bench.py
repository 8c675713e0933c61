"""Speed of a plan on explicit dynamics beside other packages: the same model, the same numbers of samples and steps."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from pompc.models import FunctionModel
from pompc.planner import MPPI, MPPIConfig
from pompc.system.timing import spent

from .measurement import BenchSettings, measurement

SIZES = ((512, 25), (1024, 100), (4096, 100))
START, STD, STEP = (0.0, 0.0, 0.2, 0.5), 0.5, 0.05
PEER = "pytorch_mppi"


@measurement(on_request=True)  # compiling takes 20 s
def explicit(settings: BenchSettings, algo: str) -> dict[str, float]:
    """Measure one plan for a planar car, eager and compiled, and that of ``pytorch_mppi`` if it is installed.

    The rounds alternate. The seconds are those of the processor, so other work on the machine disturbs them least.

    Returns:
        For every number of samples and steps ``<implementation>_<samples>x<steps>_ms``, the least, and ``_median_ms``;
        ``_ratio``, how many times the peer's median is ours; and ``first_compiled_ms``, the first compiled plan.
    """
    result: dict[str, float] = {}
    for samples, horizon in settings.sizes or SIZES:
        plans = {"eager": _ours(samples, horizon, compiled=False)}
        if any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
            plans["compiled"] = _ours(samples, horizon, compiled=True)
            start = time.perf_counter()
            plans["compiled"]()
            result[f"first_compiled_{samples}x{horizon}_ms"] = 1e3 * (time.perf_counter() - start)
        if importlib.util.find_spec(PEER):
            plans[PEER] = _peer(samples, horizon)
        measured = spent(plans, settings.seconds)
        for name, values in measured.items():
            result[f"{name}_{samples}x{horizon}_ms"] = 1e3 * min(values)
            result[f"{name}_{samples}x{horizon}_median_ms"] = 1e3 * median(values)
        for name in plans.keys() - {PEER} if PEER in plans else ():
            ratio = median(measured[PEER]) / median(measured[name])
            result[f"{name}_to_{PEER}_{samples}x{horizon}_ratio"] = ratio
    return result


def step(state: Tensor, action: Tensor) -> Tensor:
    """Drive a planar car: ``x, y, heading, speed`` under acceleration and curvature, ``[..., 4]`` and ``[..., 2]``."""
    x, y, heading, speed = state.unbind(-1)
    pull, turn = action.unbind(-1)
    moved = STEP * speed
    return torch.stack(
        [x + moved * heading.cos(), y + moved * heading.sin(), heading + 0.5 * moved * turn, speed + 3.0 * STEP * pull],
        -1,
    )


def running(state: Tensor, action: Tensor) -> Tensor:
    """Charge the distance to a goal, a round obstacle, the speed and the control ``[...]``."""
    x, y, _, speed = state.unbind(-1)
    goal = (x - 5.0) ** 2 + (y - 3.0) ** 2
    obstacle = (1.0 - (x - 2.5) ** 2 - (y - 1.5) ** 2).clamp(min=0.0)
    return goal + 10.0 * obstacle + 0.1 * (speed - 1.0) ** 2 + 0.01 * (action**2).sum(-1)


def _ours(samples: int, horizon: int, *, compiled: bool) -> Callable[[], None]:
    model = FunctionModel(step, running)
    options = {"num_zero_mean": 0, "include_mean": False, "init_std": STD, "compile": compiled}
    planner = MPPI(MPPIConfig(horizon=horizon, num_samples=samples, **options), model, model, 2)
    state, warm = torch.tensor([START]), torch.zeros(1, horizon, 2)

    def plan() -> None:
        warm.copy_(planner.shift(planner.plan(state, mean=warm, states=False).mean[:, 0]))

    return plan


def _peer(samples: int, horizon: int) -> Callable[[], None]:
    bound = torch.ones(2)
    controller = importlib.import_module(PEER).MPPI(
        step,
        running,
        len(START),
        noise_sigma=STD**2 * torch.eye(2),
        num_samples=samples,
        horizon=horizon,
        lambda_=1.0,
        u_min=-bound,
        u_max=bound,
    )
    state = torch.tensor(START)
    return lambda: controller.command(state)
