"""Optimal control problems solved exactly by casadi: the plan of a model, its cost and their sensitivities."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple

import casadi
import numpy as np

from pompc.envs import acrobot_body as body
from pompc.envs.acrobot import AcrobotModel
from pompc.envs.linear import LinearModel

TORQUE_COST = 0.01
XP = SimpleNamespace(
    cos=casadi.cos,
    sin=casadi.sin,
    floor=casadi.floor,
    clip=lambda x, low, high: casadi.fmin(casadi.fmax(x, low), high),
)
"""The functions of casadi by the names that numpy and torch have."""


class Exact(NamedTuple):
    """A solution.

    Attributes:
        plan: ``[horizon]``, of one control.
        value: its cost.
        plan_slope: derivatives of the plan with respect to the cost parameters ``[horizon, parameter]``.
        value_slope: those of the value ``[parameter]``.
        held: which controls a bound holds, bool ``[horizon]``.
    """

    plan: np.ndarray
    value: float
    plan_slope: np.ndarray
    value_slope: np.ndarray
    held: np.ndarray


def linear_step(model: LinearModel):
    """Write the linear model for casadi: next state, cost of a step, cost of the last state; without violations."""
    a, b, p = (np.array(m.tolist()) for m in (model.a, model.b, model.p))
    a, b, p = (casadi.DM(m) for m in (a, b, p))

    def running(x, u, then, phi):
        return phi[0] * x[0] ** 2 + phi[1] * x[1] ** 2 + phi[2] * u**2 + phi[3] * x[0] + phi[4] * x[1]

    return (lambda x, u: a @ x + b * u), running, lambda x, phi: x.T @ p @ x


def acrobot_step(model: AcrobotModel):
    """Write the Acrobot for casadi, for plans that do not come to the goal."""

    def pose(x, phi):
        links = tuple(casadi.vertsplit(x))
        apart = 2 - casadi.cos(links[0] - phi[0]) - casadi.cos(links[1] - phi[1])
        lack = (body.energy(links, XP) - body.UPRIGHT_ENERGY) / (2 * body.UPRIGHT_ENERGY)
        return 0.25 * apart + 0.5 * (2 - body.tip(links, XP)[1]) + phi[2] * lack**2

    def step(x, u):
        return casadi.vertcat(*body.swing(tuple(casadi.vertsplit(x)), u, XP))

    return (
        step,
        lambda x, u, then, phi: pose(then, phi) + TORQUE_COST * u**2,
        lambda x, phi: model.TERMINAL_WEIGHT * pose(x, phi),
    )


def solve(functions, state, parameters, *, horizon: int, discount: float, start=None, method: str = "ipopt") -> Exact:
    """Find the plan of least cost within +-1 from a state, by single shooting.

    Args:
        functions: step, running and terminal cost.
        state: ``[state]``.
        parameters: of the cost ``[parameter]``.
        horizon: number of controls.
        discount: of cost per step.
        start: where to begin ``[horizon]``; zero by default.
        method: ``ipopt``, or ``qrqp`` for a quadratic cost.
    """
    step, running, terminal = functions
    u, phi = casadi.SX.sym("u", horizon), casadi.SX.sym("phi", len(parameters))
    x, cost = casadi.SX(casadi.DM(state)), 0
    for h in range(horizon):
        then = step(x, u[h])
        cost += discount**h * running(x, u[h], then, phi)
        x = then
    cost += discount**horizon * terminal(x, phi)
    quiet = {"print_time": False}
    options = {
        "qrqp": {**quiet, "print_iter": False, "print_header": False, "print_info": False},
        "ipopt": {**quiet, "ipopt": {"print_level": 0, "sb": "yes", "tol": 1e-11, "bound_relax_factor": 0.0}},
    }[method]
    make = {"qrqp": casadi.qpsol, "ipopt": casadi.nlpsol}[method]
    solver = make("solver", method, {"x": u, "p": phi, "f": cost}, options)
    found = solver(x0=np.zeros(horizon) if start is None else start, p=parameters, lbx=-1, ubx=1)
    assert solver.stats()["success"], solver.stats()["return_status"]
    plan, held = np.array(found["x"]).ravel(), np.abs(np.array(found["lam_x"]).ravel()) > 1e-6
    return Exact(plan, float(found["f"]), *_sensitivities(u, phi, cost, plan, parameters, held), held)


def _sensitivities(u, phi, cost, plan, parameters, held) -> tuple[np.ndarray, np.ndarray]:
    """Differentiate the optimality conditions in the controls that no bound holds."""
    gradient = casadi.gradient(cost, u)
    parts = casadi.Function("parts", [u, phi], [casadi.jacobian(gradient, u), casadi.jacobian(gradient, phi)])
    hessian, mixed = (np.array(part) for part in parts(plan, parameters))
    slope = np.zeros_like(mixed)
    slope[~held] = -np.linalg.solve(hessian[np.ix_(~held, ~held)], mixed[~held])
    value = casadi.Function("value", [u, phi], [casadi.gradient(cost, phi)])
    return slope, np.array(value(plan, parameters)).ravel()
