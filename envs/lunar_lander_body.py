"""The lander as one rigid body over flat ground: the equations of motion of the planner's model.

States ``[..., 8]`` are gymnasium's observation: x, y, their speeds, angle, its speed, two leg contacts. One unit of x is
10 m, one of y 20/3 m.
"""

from __future__ import annotations

import torch
from torch import Tensor

FRAME = 0.02  # s
UNITS = (10.0, 20 / 3)  # m per observation unit of x and y
SPEED_UNITS = (50 / UNITS[0], 50 / UNITS[1], 2.5)  # m/s, m/s, rad/s per observation unit
# Box2D's lander and two sprung legs, lumped into one body (legs extended):
MASS = 4.958889  # kg
INERTIA = 0.9123  # kg m^2 about the centre of mass
CENTRE = 0.0885  # m, centre of mass above the lander's origin, along its axis
LANDER_CENTRE = 0.1013  # m, the point whose velocity the observation reports
MAIN_IMPULSE = 13.0 * 4 / 30  # N s per frame at full throttle
SIDE_IMPULSE = 0.6 * 12 / 30  # N s per frame
GRAVITY = 10.0  # m/s^2
HOVER_TILT, HOVER_LEAN = 1.0, 0.3  # rad per unit of speed across, rad at most
HOVER_TURN, HOVER_GAIN, HOVER_TIME = 0.5, 10.0, 0.3  # spin per rad, side power per spin, s to stop a fall
HOVER_SPEED, HOVER_ANGLE = 0.1, 0.25  # observation units; rad and units of spin
BEARABLE = 0.28  # impact that the legs bear: dropped onto the pad, Box2D's lander survives about so much


class LanderBody:
    """Lander and legs lumped into one body; exact in the air up to the engines' noise.

    Touching the ground slowly and upright stops the body at once; touching it otherwise is a crash.

    Args:
        frames: of 0.02 s per step.
        mismatch: mass and inertia are ``1 + mismatch`` times the real ones.
        torque_coupling: whether the side engines turn the lander.
    """

    def __init__(self, frames: int, mismatch: float, torque_coupling: bool) -> None:
        self._frames, self._torque_coupling = frames, torque_coupling
        self._scale = 1.0 / (1.0 + mismatch)

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """Integrate all frames with semi-implicit Euler, as Box2D does: ``[..., 8]``, ``[..., 2]`` -> ``[..., 8]``."""
        main, side = throttle(action)
        main = main * (MAIN_IMPULSE * self._scale / MASS)
        side = side * (SIDE_IMPULSE * self._scale)
        body = _body(state)
        legs = state[..., 6] * state[..., 7]
        crashed = torch.zeros_like(legs, dtype=torch.bool)
        for _ in range(self._frames):
            body, legs, crashed = self._frame(body, legs, crashed, main, side)
        return torch.stack([*_observed(body), legs, legs], -1)

    def _frame(self, body: tuple, legs: Tensor, crashed: Tensor, main: Tensor, side: Tensor) -> tuple:
        """Move the centre of mass by one frame; a crashed lander stays where it is, one at rest lies level."""
        x, y, vx, vy, angle, spin = body
        cos, sin = angle.cos(), angle.sin()
        push = side / MASS
        vx_new = vx - main * sin + push * cos
        vy_new = vy + main * cos + push * sin - GRAVITY * FRAME
        lever = CENTRE - (17 / 30 * sin.square() + 14 / 30 * cos.square())
        spin_new = spin + side * lever / INERTIA if self._torque_coupling else spin
        free = (x + FRAME * vx_new, y + FRAME * vy_new, vx_new, vy_new, angle + FRAME * spin_new, spin_new)
        below = (free[1] - CENTRE * free[4].cos()) <= 0
        gentle = below & (impact(vx_new, vy_new, free[4]) < BEARABLE)
        zero = torch.zeros_like(x)
        rest = (free[0], torch.full_like(x, CENTRE), zero, zero, zero, zero)
        after = tuple(
            torch.where(crashed, old, torch.where(gentle, still, new))
            for old, new, still in zip(body, free, rest, strict=True)
        )
        return after, torch.where(crashed, legs, gentle.to(x.dtype)), crashed | (below & ~gentle)


def impact(vx: Tensor, vy: Tensor, angle: Tensor) -> Tensor:
    """Judge how hard the ground is hit, in observation units of the vertical speed ``[...]``.

    Args:
        vx: speed across ``[...]`` [m/s].
        vy: speed up ``[...]`` [m/s].
        angle: from upright ``[...]`` [rad]; at 0.2 rad Box2D's legs bear a vertical speed of about 0.16 only.
    """
    return vy.abs() / SPEED_UNITS[1] + 0.6 * angle.abs() + 0.3 * vx.abs() / SPEED_UNITS[0]


def hover(state: Tensor) -> Tensor:
    """Stop in the air: tilt against the drift, hold the height by the main engine. ``[..., 8]`` -> ``[..., 2]``."""
    _, _, vx, vy, angle, spin = state.unbind(-1)[:6]
    tilt = (HOVER_TILT * vx).clamp(-HOVER_LEAN, HOVER_LEAN)
    side = (spin - HOVER_TURN * (tilt - angle)) * HOVER_GAIN
    wanted = GRAVITY - vy * SPEED_UNITS[1] / HOVER_TIME
    power = wanted * FRAME * MASS / MAIN_IMPULSE
    # The engine gives half its power or more.
    main = torch.where(power > 0.25, (2.0 * power - 1.0).clamp(0.01, 1.0), -1.0)
    return torch.stack([main, side.clamp(-1.0, 1.0)], -1)


def hovers(state: Tensor) -> Tensor:
    """Whether the lander is slow and upright, so that :func:`hover` holds it: bool ``[...]``."""
    _, _, vx, vy, angle, spin = state.unbind(-1)[:6]
    slow = torch.maximum(vx.abs(), vy.abs()) < HOVER_SPEED
    return slow & (angle.abs() < HOVER_ANGLE) & (spin.abs() < HOVER_ANGLE)


def throttle(action: Tensor) -> tuple[Tensor, Tensor]:
    """Split ``[..., 2]`` into the power of the main engine and the signed power of the side engines, each 0 or 0.5 to 1."""
    main, side = action.clamp(-1.0, 1.0).unbind(-1)
    return (main > 0) * (0.5 + 0.5 * main), (side.abs() > 0.5) * side


def _body(state: Tensor) -> tuple[Tensor, ...]:
    """Convert observation units to position and velocity of the centre of mass (m, m/s), angle and spin (rad, rad/s)."""
    x, y, vx, vy, angle, spin = state.unbind(-1)[:6]
    cos, sin, spin = angle.cos(), angle.sin(), spin * SPEED_UNITS[2]
    turn = (LANDER_CENTRE - CENTRE) * spin
    return (
        x * UNITS[0] - CENTRE * sin,
        y * UNITS[1] + CENTRE * cos,
        vx * SPEED_UNITS[0] + turn * cos,
        vy * SPEED_UNITS[1] + turn * sin,
        angle,
        spin,
    )


def _observed(body: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Invert :func:`_body`."""
    x, y, vx, vy, angle, spin = body
    cos, sin = angle.cos(), angle.sin()
    turn = (LANDER_CENTRE - CENTRE) * spin
    return (
        (x + CENTRE * sin) / UNITS[0],
        (y - CENTRE * cos) / UNITS[1],
        (vx - turn * cos) / SPEED_UNITS[0],
        (vy - turn * sin) / SPEED_UNITS[1],
        angle,
        spin / SPEED_UNITS[2],
    )
