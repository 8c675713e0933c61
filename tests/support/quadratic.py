"""A parametric planner on the linear system without bounds, whose values and policy are known in closed form."""

from __future__ import annotations

import numpy as np
import torch

from pompc.envs.linear import LinearConfig, LinearModel
from pompc.envs.linear_closed_form import PLANT, WRONG, LinearQuadratic
from pompc.parametric.blocks import BLOCKS
from pompc.parametric.steps import Transitions
from pompc.parametric.task import ParametricTask, Phi
from pompc.parametric.values import PlannedValues
from pompc.planner import MPPI, MPPIConfig
from pompc.planner.noise import CommonNoise, MirroredNoise

DISCOUNT, HORIZON = 0.9, 6
CENTRED = {"horizon": HORIZON, "discount": DISCOUNT, "num_zero_mean": 0, "include_mean": False}
FREE = {"disturbance": 0.0, "violation_weight": 0.0, "terminal_discount": DISCOUNT}


def planned_values(blocks=("weights",), *, mismatch=0.0, implicit=True, **options) -> PlannedValues:
    """Make a planner that converges from zero: the exact model's plan is optimal at the initial phi."""
    model = LinearModel(LinearConfig(**FREE, mismatch=mismatch))
    made = tuple(BLOCKS[name](model, (4, 4)) for name in blocks)
    phi, task = Phi(made), ParametricTask(model, made)
    given = {"num_samples": 256, "num_iterations": 25, "temperature": 0.02, "init_std": 0.2, **options}
    planner = MPPI(MPPIConfig(**{**CENTRED, **given}), task, task, 1)
    planner.noise = CommonNoise(MirroredNoise(planner.noise))
    return PlannedValues(planner, task, phi, implicit=implicit)


def transitions(x, u) -> Transitions:
    """Make the plant's steps from states ``[batch, 2]`` with controls ``[batch, 1]``; plans start from zero."""
    a, b = PLANT.matrices
    after, cost = x @ a.T + u @ b.T, 0.5 * (x**2).sum(1) + 0.25 * u[:, 0] ** 2
    x, u, after, cost = (torch.tensor(of, dtype=torch.float32) for of in (x, u, after, cost))
    zero = torch.zeros(len(x), HORIZON, 1)
    return Transitions(x, x, u, cost, torch.ones(len(x)), after, after, zero, zero)


def exploring(count=24, seed=0) -> Transitions:
    """Make steps from random states with the optimal control and a deviation."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 2)) * [0.2, 0.1]
    return transitions(x, x @ LinearQuadratic.solve(PLANT, DISCOUNT).gain.T + 0.2 * rng.normal(size=(count, 1)))


def planned_gain(weights, mismatch, last_cost) -> np.ndarray:
    """Solve the planner's problem exactly: the gain ``[1, 2]`` of its first control.

    Args:
        weights: the first three entries of phi.
        mismatch: of the planner's model.
        last_cost: matrix of the terminal cost ``[2, 2]``.
    """
    a, b = PLANT.towards(WRONG, mismatch).matrices
    q, r, p = np.diag(0.5 * 10.0 ** weights[:2]), np.array([[0.25 * 10.0 ** weights[2]]]), last_cost
    gain = np.zeros((1, 2))
    for _ in range(HORIZON):
        gain = -np.linalg.solve(r + DISCOUNT * b.T @ p @ b, DISCOUNT * b.T @ p @ a)
        p = q + gain.T @ r @ gain + DISCOUNT * (a + b @ gain).T @ p @ (a + b @ gain)
    return gain
