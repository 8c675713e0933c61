"""Closed forms of linear systems with quadratic costs: optimal gain, cost to go, action cost, cost of any linear policy.

Systems and weights are those of the linear example of Gros and Zanon, "Data-driven economic NMPC using reinforcement
learning" (2020), as the ``mpcrl`` package states it. The cost of a step is ``x' Q x + u' R u`` with ``Q = I / 2`` and
``R = 1 / 4``, without bounds. A disturbance has a mean and a covariance and is independent from step to step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag, solve_discrete_are, solve_discrete_lyapunov
from scipy.optimize import linprog

from pompc.errors import UserError

STATE_WEIGHT, ACTION_WEIGHT = 0.5, 0.25
Q, R = STATE_WEIGHT * np.eye(2), np.array([[ACTION_WEIGHT]])


@dataclass(frozen=True)
class System:
    """A system of two states and one control, ``x' = A x + B u``.

    Attributes:
        a: rows of A.
        b: the column B.
    """

    a: tuple[tuple[float, float], tuple[float, float]]
    b: tuple[float, float]

    @property
    def matrices(self) -> tuple[np.ndarray, np.ndarray]:
        """A ``[2, 2]`` and B ``[2, 1]``, float64."""
        return np.array(self.a), np.array(self.b)[:, None]

    def towards(self, other: System, share: float) -> System:
        """Mix two systems linearly: ``share`` 0 is this one, 1 is ``other``."""
        (a, b), (other_a, other_b) = self.matrices, other.matrices
        mixed_a, mixed_b = (1 - share) * a + share * other_a, (1 - share) * b + share * other_b
        return System(a=tuple(map(tuple, mixed_a.tolist())), b=tuple(mixed_b[:, 0].tolist()))


PLANT = System(a=((0.9, 0.35), (0.0, 1.1)), b=(0.0813, 0.2))
WRONG = System(a=((1.0, 0.25), (0.0, 1.0)), b=(0.0312, 0.25))
"""The system of the published example, and the model that its planner starts from."""


@dataclass(frozen=True)
class LinearQuadratic:
    """The optimal policy ``u = K x + k`` and the optimal expected discounted cost ``x' P x + 2 q' x + c``.

    Attributes:
        p: P ``[2, 2]``.
        q: ``[2]``, zero without a mean disturbance.
        constant: c.
        gain: K ``[1, 2]``.
        bias: k ``[1]``.
        action_matrix: H ``[3, 3]``: the optimal cost of first taking u is ``z' H z`` with ``z = (x, u)``, without a
            disturbance.
    """

    p: np.ndarray
    q: np.ndarray
    constant: float
    gain: np.ndarray
    bias: np.ndarray
    action_matrix: np.ndarray

    @classmethod
    def solve(
        cls,
        system: System,
        discount: float,
        *,
        mean: tuple[float, float] = (0.0, 0.0),
        covariance: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.0), (0.0, 0.0)),
    ) -> LinearQuadratic:
        """Solve the discrete-time algebraic Riccati equation.

        Args:
            system: A and B.
            discount: of cost per step, in (0, 1].
            mean: of the disturbance.
            covariance: of the disturbance.

        Raises:
            UserError: ``discount`` is out of range, or 1 with a disturbance, whose expected cost is infinite.
        """
        shift, scatter = np.array(mean), np.array(covariance)
        _check(discount, noisy=bool(shift.any() or scatter.any()))
        a, b = system.matrices
        p = solve_discrete_are(np.sqrt(discount) * a, np.sqrt(discount) * b, Q, R)
        both = np.hstack([a, b])
        matrix = block_diag(Q, R) + discount * both.T @ p @ both
        of_action = matrix[2:, 2:]
        gain = -np.linalg.solve(of_action, matrix[2:, :2])
        closed = discount * (a + b @ gain).T
        q = np.linalg.solve(np.eye(2) - closed, closed @ p @ shift)
        bias = -np.linalg.solve(of_action, discount * b.T @ (p @ shift + q))
        per_step = discount * (shift @ p @ shift + np.trace(p @ scatter) + 2 * q @ shift) - bias @ of_action @ bias
        constant = float(per_step / (1 - discount)) if discount < 1 else 0.0
        return cls(p=p, q=q, constant=constant, gain=gain, bias=bias, action_matrix=matrix)

    def action(self, state: np.ndarray) -> np.ndarray:
        """Optimal control without bounds: ``[..., 2]`` -> ``[..., 1]``."""
        return state @ self.gain.T + self.bias

    def cost(self, state: np.ndarray) -> np.ndarray:
        """Optimal expected cost from a state: ``[..., 2]`` -> ``[...]``."""
        return np.einsum("...i,ij,...j", state, self.p, state) + 2 * state @ self.q + self.constant


def policy_cost_matrix(system: System, gain: np.ndarray, discount: float) -> np.ndarray:
    """Solve the Lyapunov equation of the policy ``u = K x`` without a disturbance: its cost is ``x' M x``.

    Args:
        system: A and B.
        gain: K ``[1, 2]``.
        discount: of cost per step, in (0, 1].

    Returns:
        M ``[2, 2]``.

    Raises:
        UserError: ``discount`` is out of range, or the policy does not stabilise the discounted system.
    """
    _check(discount, noisy=False)
    a, b = system.matrices
    closed = np.sqrt(discount) * (a + b @ gain)
    radius = np.abs(np.linalg.eigvals(closed)).max()
    if radius >= 1:
        raise UserError(
            f"the gain {gain.ravel().tolist()} does not stabilise the system (spectral radius {radius:.3f})"
        )
    return solve_discrete_lyapunov(closed.T, Q + gain.T @ R @ gain)


@dataclass(frozen=True)
class TerminalSet:
    """States ``(x - centre)' P (x - centre) <= level`` that ``u = control + K (x - centre)`` keeps in bounds for ever.

    Attributes:
        centre: an equilibrium within the bounds ``[2]``.
        control: the control that holds it.
        gain: K ``[1, 2]``, the optimal one without bounds.
        p: P ``[2, 2]``, the cost of that gain, which falls in every step.
        level: the largest one at which all states are in their bounds and all controls in [-1, 1].
    """

    centre: np.ndarray
    control: float
    gain: np.ndarray
    p: np.ndarray
    level: float

    @classmethod
    def solve(cls, system: System, offset: np.ndarray, low: np.ndarray, high: np.ndarray) -> TerminalSet:
        """Take the equilibrium that is farthest from all bounds, and the largest ellipsoid around it.

        Args:
            system: A and B.
            offset: added to the state in every step ``[2]``.
            low: lower bounds of the states ``[2]``.
            high: upper bounds of the states ``[2]``.

        Raises:
            UserError: no equilibrium lies inside the bounds.
        """
        a, b = system.matrices
        centre, control = _equilibrium(a, b, offset, low, high)
        gain = LinearQuadratic.solve(system, 1.0).gain
        p = policy_cost_matrix(system, gain, 1.0)
        normals = np.vstack([np.eye(2), gain])
        room = np.append(np.minimum(centre - low, high - centre), 1.0 - abs(control))
        reach = np.einsum("ij,jk,ik->i", normals, np.linalg.inv(p), normals)
        return cls(centre=centre, control=control, gain=gain, p=p, level=float((room**2 / reach).min()))


def _equilibrium(
    a: np.ndarray, b: np.ndarray, offset: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, float]:
    """Find state ``[2]`` and control that stay as they are, with the largest least distance to their bounds.

    Distances are relative to half the width of the bounds, so that the problem is a linear program in (x, u, distance).
    """
    width = np.append((high - low) / 2, 1.0)
    middle = np.append((high + low) / 2, 0.0)
    sides = np.vstack([np.hstack([sign * np.eye(3), width[:, None]]) for sign in (1.0, -1.0)])
    stays = np.hstack([np.eye(2) - a, -b, np.zeros((2, 1))])
    found = linprog(
        [0.0, 0.0, 0.0, -1.0],
        A_ub=sides,
        b_ub=np.concatenate([width + middle, width - middle]),
        A_eq=stays,
        b_eq=offset,
        bounds=[(None, None)] * 4,
    )
    if not found.success or found.x[3] <= 0:
        raise UserError(
            f"no control holds the linear system between env.low={low.tolist()} and env.high={high.tolist()}: "
            "widen them, or leave filter.enabled out"
        )
    return found.x[:2], float(found.x[2])


def _check(discount: float, *, noisy: bool) -> None:
    if not 0 < discount <= 1:
        raise UserError(f"discount must lie in (0, 1], not {discount}")
    if noisy and discount == 1:
        raise UserError("the expected cost under a disturbance is infinite at discount 1: give a discount below 1")
