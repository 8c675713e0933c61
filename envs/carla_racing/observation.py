"""The observation: the car and the opponents in track coordinates and a preview of the track.

All numbers are about [-1, 1], and the car and the opponents can be recovered from them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .physics.opponents import Opponents
from .physics.ops import Value
from .physics.road import PREVIEW_SIZE, Road
from .physics.vehicle import Car

OFFSET, CRUISE, DRIFT, LOCK, TRAFFIC, NEAR = 6.0, 20.0, 5.0, 0.4, 10.0, 10.0  # m, m/s, m/s, rad, m/s, m
EGO_SIZE = 10


def size(num_opponents: int) -> int:
    """Length of the observation."""
    return EGO_SIZE + PREVIEW_SIZE + 3 * num_opponents


def observe(road: Road, car: Car, opponents: Opponents) -> Value:
    """Observe: ``[..., size]``.

    In this order: position along the track (linear, sine, cosine), offset, heading, forward speed, lateral speed, yaw
    rate, wheel angle, drive; curvature ahead (10); two zones ahead (distance to start and end, right and left side);
    the opponents' gaps along the track (asinh: fine near the ego), their offsets, their speeds, in fixed slots.
    """
    ops = road.ops
    s = road.wrap(car.s)
    angle = s * (2.0 * math.pi / road.length)
    ego = (
        s * (2.0 / road.length) - 1.0,
        ops.sin(angle),
        ops.cos(angle),
        car.n * (1.0 / OFFSET),
        car.e,
        car.vx * (1.0 / CRUISE) - 1.0,
        car.vy * (1.0 / DRIFT),
        car.r,
        car.delta * (1.0 / LOCK),
        car.a,
    )
    scale = 1.0 / math.asinh(0.5 * road.length / NEAR)

    def relative(other_s: Value, ego_s: Value) -> Value:
        return scale * ops.asinh(road.gap(ego_s, other_s) * (1.0 / NEAR))

    gaps = ops.each(relative, (opponents.s,), s)
    offsets = ops.each(lambda n: n * (1.0 / OFFSET), (opponents.n,))
    speeds = ops.each(lambda v: v * (1.0 / TRAFFIC), (opponents.v,))
    return ops.pack(ego, road.preview(s), (gaps, offsets, speeds))


def recover(length: float, observation: Tensor) -> tuple[list[Tensor], Tensor]:
    """Invert ``observe`` on a track of ``length`` m.

    Returns:
        the entries of ``Car``, each ``[...]``, and the opponents' positions, offsets and speeds ``[..., 3 opponents]``.
    """
    linear, _, _, n, e, vx, vy, r, delta, a = observation[..., :EGO_SIZE].unbind(-1)
    s = 0.5 * length * (linear + 1.0)
    car = [s, n * OFFSET, e, CRUISE * (vx + 1.0), vy * DRIFT, r, delta * LOCK, a]
    gaps, offsets, speeds = observation[..., EGO_SIZE + PREVIEW_SIZE :].chunk(3, -1)
    ahead = NEAR * torch.sinh(gaps * math.asinh(0.5 * length / NEAR))
    places = torch.remainder(s.unsqueeze(-1) + ahead, length)
    return car, torch.cat((places, offsets * OFFSET, speeds * TRAFFIC), -1)
