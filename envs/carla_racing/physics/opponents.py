"""Scripted traffic: cars that follow a lane at constant cruise and react to nothing.

They brake neither for the ego nor for each other; they pass through each other. They slow for curves and swing round the
danger zones. The drawn start determines their whole course.
"""

from __future__ import annotations

from typing import NamedTuple

from .ops import Value
from .road import Road

SPEED_RANGE = (7.0, 10.0)  # m/s
SPEED_LAG = 1.0  # s
CLEARANCE = 40.0  # m kept free before and behind the ego at the start, or a third of a short track


class Opponents(NamedTuple):
    """Every entry a list of floats, or a tensor ``[opponent, ...]``.

    Attributes:
        s: position along the track (m).
        n: lateral offset (m).
        v: speed along the track (m/s).
        cruise: the speed it drives on a straight (m/s).
        left: 1 in the left lane, 0 in the right one.
    """

    s: Value
    n: Value
    v: Value
    cruise: Value
    left: Value


def place(road: Road, ego: Value, slot: Value, slots: int, draws: tuple[Value, Value, Value]) -> tuple[Value, ...]:
    """Place one opponent at the start of an episode, within one of ``slots`` stretches of the track.

    Args:
        ego: the ego's position (m).
        slot: number of the stretch.
        draws: three uniform numbers in [0, 1).
    """
    ops = road.ops
    clearance = min(CLEARANCE, road.length / 3.0)
    stretch = (road.length - 2.0 * clearance) / max(slots, 1)
    s = road.wrap(ego + clearance + (slot + draws[0]) * stretch)
    cruise = SPEED_RANGE[0] + (SPEED_RANGE[1] - SPEED_RANGE[0]) * draws[1]
    left = ops.number(draws[2] < 0.5)
    n, limit = road.lane(s, left)
    return s, n, ops.minimum(cruise, limit), cruise, left


def advance(road: Road, s: Value, v: Value, cruise: Value, left: Value, dt: float) -> tuple[Value, ...]:
    """Move one opponent by ``dt`` s; entries in the order of ``Opponents``."""
    s = road.wrap(s + dt * v)
    n, limit = road.lane(s, left)
    return s, n, v + (dt / SPEED_LAG) * (road.ops.minimum(cruise, limit) - v), cruise, left
