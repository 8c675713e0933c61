"""A car on the embedded plant. CARLA's frame is left-handed, the plant's right-handed: only this module knows both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from ..physics.ops import ScalarOps
from ..physics.road import Road, tabulate
from ..physics.vehicle import LEAST_SCALE, Car, SingleTrack, VehicleParameters
from ..track.track import Track
from .wire import Pose, Vector

CIRCUIT_REACH = 50.0  # m from the centre of a circuit within which its coordinates are used
LONGEST_SUBSTEP = 0.03  # s, with which the plant is stable
PARAMETERS = VehicleParameters()


class Clock(NamedTuple):
    """Integration of a tick: ``substeps`` steps of ``substep`` s."""

    substep: float
    substeps: int

    @classmethod
    def of(cls, dt: float, longest: float, most: int) -> Clock:
        """Divide a tick of ``dt`` s; there are more than ``most`` steps only if the plant needs them to be stable."""
        wanted = min(math.ceil(dt / longest - 1e-6), most)
        substeps = max(wanted, math.ceil(dt / LONGEST_SUBSTEP - 1e-6), 1)
        return cls(dt / substeps, substeps)


class Ground(Protocol):
    """Coordinates a car is integrated in, right-handed."""

    def curvature(self, s: float) -> float:
        """Curvature (1/m) of the line along which s runs."""
        ...

    def holds(self, s: float, n: float) -> bool:
        """Whether the coordinates are valid at that place."""
        ...

    def locate(self, x: float, y: float, heading: float) -> tuple[float, float, float]:
        """Convert the plane to s, n, e."""
        ...

    def plane(self, car: Car) -> tuple[float, float, float]:
        """Convert back to x, y, heading."""
        ...

    def wrap(self, s: float) -> float:
        """s on the loop."""
        ...


class Flat:
    """The plane: s, n, e are x, y, heading."""

    def curvature(self, s: float) -> float:
        """Zero."""
        return 0.0

    def holds(self, s: float, n: float) -> bool:
        """Everywhere."""
        return True

    def locate(self, x: float, y: float, heading: float) -> tuple[float, float, float]:
        """Return the same three numbers."""
        return x, y, heading

    def plane(self, car: Car) -> tuple[float, float, float]:
        """Return the same three numbers."""
        return car.s, car.n, car.e

    def wrap(self, s: float) -> float:
        """Return the same number: there is no loop."""
        return s


class Circuit:
    """The track coordinates of a circuit, from the tables of the embedded simulator."""

    def __init__(self, track: Track) -> None:
        road = Road(tabulate(track, danger_zones=False), ScalarOps())
        self.track, self.curvature, self.wrap = track, road.curvature, road.wrap

    def holds(self, s: float, n: float) -> bool:
        """Near the line and off its centre of curvature."""
        return abs(n) <= CIRCUIT_REACH and 1.0 - n * self.curvature(s) > LEAST_SCALE

    def locate(self, x: float, y: float, heading: float) -> tuple[float, float, float]:
        """The nearest place on the line, and the heading from it."""
        s, n = map(float, self.track.project(x, y))
        along = float(self.track.cartesian(s, 0.0)[2])
        return s, n, math.remainder(heading - along, math.tau)

    def plane(self, car: Car) -> tuple[float, float, float]:
        """Back to x, y (m) and heading (rad)."""
        x, y, heading = self.track.cartesian(car.s, car.n, car.e)
        return float(x), float(y), float(heading)


FLAT = Flat()


def carla_pose(x: float, y: float, heading: float, z: float = 0.0) -> Pose:
    """Convert a right-handed place to CARLA's frame."""
    return Pose(x, 0.0 - y, z, 0.0, math.remainder(0.0 - math.degrees(heading), 360.0), 0.0)  # no negative zeros


@lru_cache(maxsize=16)
def _plant(ground: Ground, clock: Clock) -> SingleTrack:
    return SingleTrack(PARAMETERS, ScalarOps(), ground.curvature, *clock)


class Body:
    """One car: the plant's state, kept in float64 between ticks.

    Args:
        grounds: coordinates to integrate in, the preferred first; the last must hold everywhere.
        pose: of the car in CARLA's frame.
    """

    def __init__(self, grounds: Sequence[Ground], pose: Pose) -> None:
        self._grounds = grounds
        self._ground = grounds[-1]
        self._car = Car(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        self._heading = 0.0
        self.teleport(pose)

    def _place(self, x: float, y: float, heading: float) -> None:
        for ground in self._grounds:
            s, n, e = ground.locate(x, y, heading)
            if ground.holds(s, n):
                self._ground, self._car = ground, self._car._replace(s=s, n=n, e=e)
                break
        self._heading = heading

    def teleport(self, pose: Pose) -> None:
        """Put it there; its velocity in the world, its wheel angle and its drive stay."""
        velocity = self.velocity
        self._place(pose.x, -pose.y, -math.radians(pose.yaw))
        self.set_velocity(velocity)

    def restart(self) -> None:
        """Stand still, wheels straight, no drive."""
        self._car = self._car._replace(vx=0.0, vy=0.0, r=0.0, delta=0.0, a=0.0)

    def centre_actuators(self) -> None:
        """Wheels straight, no drive."""
        self._car = self._car._replace(delta=0.0, a=0.0)

    def set_velocity(self, velocity: Vector) -> None:
        """Take a velocity in the world (m/s); the car has no reverse."""
        x, y = velocity[0], -velocity[1]
        cos, sin = math.cos(self._heading), math.sin(self._heading)
        self._car = self._car._replace(vx=max(x * cos + y * sin, 0.0), vy=y * cos - x * sin)

    def set_yaw_rate(self, degrees: float) -> None:
        """Take a yaw rate (deg/s)."""
        self._car = self._car._replace(r=-math.radians(degrees))

    def step(self, steer: float, drive: float, clock: Clock) -> None:
        """Drive for a tick. ``steer`` is CARLA's, right positive; ``drive`` is throttle minus brake."""
        car = _plant(self._ground, clock).step(self._car, -steer, drive)
        self._car = car._replace(s=self._ground.wrap(car.s))
        x, y, self._heading = self._ground.plane(self._car)
        if not self._ground.holds(self._car.s, self._car.n):
            self._place(x, y, self._heading)

    @property
    def pose(self) -> Pose:
        """Pose on the ground, in CARLA's frame."""
        return carla_pose(*self._ground.plane(self._car))

    @property
    def velocity(self) -> Vector:
        """In the world (m/s)."""
        cos, sin = math.cos(self._heading), math.sin(self._heading)
        vx, vy = self._car.vx, self._car.vy
        return vx * cos - vy * sin, -(vx * sin + vy * cos), 0.0

    @property
    def forward_speed(self) -> float:
        """Along its axis (m/s)."""
        return self._car.vx

    @property
    def angular_velocity(self) -> Vector:
        """In the world (deg/s)."""
        return 0.0, 0.0, -math.degrees(self._car.r)

    @property
    def wheel_angle(self) -> float:
        """Of the front wheels (deg), right positive."""
        return -math.degrees(self._car.delta)
