"""The equations of motion of the Acrobot, for numbers and for tensors: gymnasium's, with a continuous torque.

A state is ``(theta1, theta2, speed1, speed2)``: theta1 from hanging, theta2 relative to link 1.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

GRAVITY = 9.8  # m/s^2; both links have mass 1 kg, length 1 m, centre of mass at 0.5 m and inertia 1 kg m^2
TIME_STEP = 0.2  # s
MAX_SPEED = (4 * math.pi, 9 * math.pi)  # rad/s
UPRIGHT_ENERGY = 2 * GRAVITY  # J; hanging at rest has the negative of it


def _derivatives(state: tuple, torque: Any, xp: ModuleType) -> tuple:
    """Differentiate ``(theta1, theta2, speed1, speed2)``, theta1 from hanging, theta2 relative to link 1."""
    theta1, theta2, speed1, speed2 = state
    cos2, half_sin2 = xp.cos(theta2), 0.5 * xp.sin(theta2)
    d1 = 3.5 + cos2
    d2 = 1.25 + 0.5 * cos2
    phi2 = 0.5 * GRAVITY * xp.sin(theta1 + theta2)
    phi1 = 1.5 * GRAVITY * xp.sin(theta1) + phi2 - half_sin2 * speed2 * (speed2 + 2 * speed1)
    acceleration2 = (torque + d2 / d1 * phi1 - half_sin2 * speed1**2 - phi2) / (1.25 - d2**2 / d1)
    return speed1, speed2, -(d2 * acceleration2 + phi1) / d1, acceleration2


def swing(state: tuple, torque: Any, xp: ModuleType, dt: float = TIME_STEP) -> tuple:
    """Integrate one Runge-Kutta step of the links, wrapped to full turns and bounded in speed as gymnasium does.

    Args:
        state: ``(theta1, theta2, speed1, speed2)``, numbers or tensors of one shape.
        torque: at the joint between the links [N m], of the same shape.
        xp: ``numpy`` for the environment, ``torch`` for the model: the equations are the same.
        dt: step [s].
    """

    def after(slope: tuple, time: float) -> tuple:
        return tuple(x + time * dx for x, dx in zip(state, slope, strict=True))

    k1 = _derivatives(state, torque, xp)
    k2 = _derivatives(after(k1, dt / 2), torque, xp)
    k3 = _derivatives(after(k2, dt / 2), torque, xp)
    k4 = _derivatives(after(k3, dt), torque, xp)
    slope = tuple((a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(k1, k2, k3, k4, strict=True))
    theta1, theta2, speed1, speed2 = after(slope, dt)
    wrapped = (angle - 2 * math.pi * xp.floor((angle + math.pi) / (2 * math.pi)) for angle in (theta1, theta2))
    bounded = (xp.clip(w, -top, top) for w, top in zip((speed1, speed2), MAX_SPEED, strict=True))
    return *wrapped, *bounded


def tip(state: tuple, xp: ModuleType) -> tuple:
    """Tip position ``(x, height)`` relative to the base joint [m], height 2 when upright."""
    theta1, theta2 = state[:2]
    return xp.sin(theta1) + xp.sin(theta1 + theta2), -xp.cos(theta1) - xp.cos(theta1 + theta2)


def energy(state: tuple, xp: ModuleType) -> Any:
    """Kinetic and potential energy [J], 0 with both links level; constant without torque."""
    theta1, theta2, speed1, speed2 = state
    cos2 = xp.cos(theta2)
    kinetic = 0.5 * (3.5 + cos2) * speed1**2 + (1.25 + 0.5 * cos2) * speed1 * speed2 + 0.625 * speed2**2
    return kinetic - GRAVITY * (1.5 * xp.cos(theta1) + 0.5 * xp.cos(theta1 + theta2))
