"""Convert between this package's frame and CARLA's; signs flip nowhere else.

Here: right-handed, metres, radians, y and angles to the left. CARLA: left-handed, y and angles to the right, degrees.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np


class Pose(NamedTuple):
    """A place on the plane: x, y (m) and heading (rad)."""

    x: float
    y: float
    heading: float


class Pedals(NamedTuple):
    """What a CARLA vehicle is commanded: throttle and brake in [0, 1], steer in [-1, 1] with right positive."""

    throttle: float
    brake: float
    steer: float


def to_carla(pose: Pose) -> tuple[float, float, float]:
    """Convert a pose to CARLA's x, y (m) and yaw (degrees, in [-180, 180))."""
    return pose.x, -pose.y, _half_turn(-math.degrees(pose.heading), 180.0)


def from_carla(x: float, y: float, yaw: float) -> Pose:
    """Invert :func:`to_carla`, with the heading in [-pi, pi)."""
    return Pose(x, -y, _half_turn(-math.radians(yaw), math.pi))


def world_velocity(heading: float, vx: float, vy: float) -> tuple[float, float]:
    """Convert forward and lateral (left) speeds of a car to CARLA's velocity (m/s)."""
    cos, sin = math.cos(heading), math.sin(heading)
    return cos * vx - sin * vy, -(sin * vx + cos * vy)


def car_velocity(heading: float, x: float, y: float) -> tuple[float, float]:
    """Invert :func:`world_velocity`: forward and lateral speeds (m/s)."""
    cos, sin = math.cos(heading), math.sin(heading)
    return cos * x - sin * y, -sin * x - cos * y


def turning(degrees: float) -> float:
    """Convert CARLA's angle or rate to the right (degrees) to ours to the left (radians)."""
    return -math.radians(degrees)


def pedals(steer: float, drive: float) -> Pedals:
    """Convert an action to commands: steer (left positive) and drive (brake negative), both in [-1, 1]."""
    return Pedals(throttle=max(drive, 0.0), brake=max(-drive, 0.0), steer=-steer)


class SteeringGear:
    """Convert the task's steer to a vehicle's steer with the same wheel angle.

    A full steer of the vehicle is the vehicle's lock (about 70 degrees for most of CARLA's cars), less at speed. A full
    steer of the task is the plant's lock.

    Args:
        physics: the vehicle's ``carla.VehiclePhysicsControl``.
        full: wheel angle (rad) that a steer of 1 means to the task.
    """

    def __init__(self, physics: Any, full: float) -> None:
        lock = max(wheel.max_steer_angle for wheel in physics.wheels)
        self._gain = math.degrees(full) / lock
        curve = sorted((point.x, point.y) for point in physics.steering_curve) or [(0.0, 1.0)]
        self._speeds, self._shares = zip(*curve, strict=True)  # km/h, share of the lock

    def command(self, steer: float, speed: float) -> float:
        """Convert the task's steer at ``speed`` (m/s); both are in [-1, 1] and left positive."""
        share = float(np.interp(3.6 * speed, self._speeds, self._shares))
        return min(max(steer * self._gain / max(share, 1e-3), -1.0), 1.0)


def transform(carla: Any, pose: Pose, z: float) -> Any:
    """Make the ``carla.Transform`` of a level car at height ``z`` (m).

    Args:
        carla: the client library.
        pose: place and heading.
        z: height (m).
    """
    x, y, yaw = to_carla(pose)
    return carla.Transform(carla.Location(x=x, y=y, z=z), carla.Rotation(yaw=yaw))


def pose_of(transform: Any) -> Pose:
    """Read the pose of a ``carla.Transform``."""
    return from_carla(transform.location.x, transform.location.y, transform.rotation.yaw)


def heading_error(heading: float, centre: float) -> float:
    """Return a heading relative to another (rad), in [-pi, pi)."""
    return _half_turn(heading - centre, math.pi)


def _half_turn(angle: float, half: float) -> float:
    return (angle + half) % (2.0 * half) - half
