"""Spawned actors: vehicles, sensors and the spectator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import wire
from .physics import PARAMETERS, Body, Clock, Ground
from .wire import Pose, Vector

HALF_SIZE = (2.25, 0.95, 0.75)  # m, of every vehicle
CAR_TAG = 14
SPEED_LIMIT = 90.0  # km/h
WHEEL_RADIUS = 0.33  # m
STILL: Vector = (0.0, 0.0, 0.0)


class Gear(NamedTuple):
    """Wheel angle of a full steer.

    Attributes:
        lock: at rest (degrees).
        at_120: share of it at 120 km/h and above; linear between.
    """

    lock: float
    at_120: float = 1.0

    def ratio(self, speed: float) -> float:
        """The plant's steer for a steer of 1 at a forward speed (m/s)."""
        share = 1.0 + (self.at_120 - 1.0) * min(3.6 * speed / 120.0, 1.0)
        return share * self.lock / math.degrees(PARAMETERS.steer_max)


OF_THE_PLANT = Gear(math.degrees(PARAMETERS.steer_max))
GEARS = {"vehicle.lincoln.mkz_2017": Gear(70.0, 0.6)}
"""Of the vehicles that steer as the real server's do; the others steer as the plant."""


class Control(NamedTuple):
    """A vehicle's command, in the order of the RPC."""

    throttle: float = 0.0
    steer: float = 0.0
    brake: float = 0.0
    hand_brake: bool = False
    reverse: bool = False
    manual: bool = False
    gear: int = 0

    @property
    def drive(self) -> float:
        """Throttle minus brake, in [-1, 1]; the hand brake is a full brake, reverse gives no drive."""
        throttle = 0.0 if self.reverse else min(max(self.throttle, 0.0), 1.0)
        return -1.0 if self.hand_brake else throttle - min(max(self.brake, 0.0), 1.0)


@dataclass(kw_only=True)
class Actor:
    """Anything with an id; by itself a thing without a body, such as the spectator.

    Attributes:
        id: of the actor.
        description: ``[uid, id, [[attribute, type, value], ...]]`` as the client gave it.
        pose: in the world.
        parent: the actor that it is attached to.
        mount: pose relative to the parent.
        stream: number of the stream of its data, 0 without one.
    """

    id: int
    description: list
    pose: Pose
    parent: Actor | None = None
    mount: Pose = field(default_factory=Pose)
    stream: int = 0
    velocity: Vector = STILL
    angular_velocity: Vector = STILL
    acceleration: Vector = STILL
    half_size: Vector = STILL
    tags: bytes = b""

    @property
    def box(self) -> list:
        """The bounding box in the RPC form."""
        return [[0.0, 0.0, self.half_size[2]], list(self.half_size), [0.0, 0.0, 0.0], self.id]

    def encode(self, token: bytes) -> list:
        """The RPC form, with the token of its stream."""
        return [self.id, self.parent.id if self.parent else 0, self.description, self.box, self.tags, token]

    def state(self) -> bytes:
        """Its part of a snapshot."""
        return wire.actor_state(self.id, self.pose, self.velocity, self.angular_velocity, self.acceleration)

    def place(self, pose: Pose) -> None:
        """Put it there."""
        self.pose = pose

    def follow(self) -> None:
        """Follow the parent; it is level, so only its yaw turns the mount."""
        if self.parent is not None:
            base, mount, yaw = self.parent.pose, self.mount, math.radians(self.parent.pose.yaw)
            x = base.x + mount.x * math.cos(yaw) - mount.y * math.sin(yaw)
            y = base.y + mount.x * math.sin(yaw) + mount.y * math.cos(yaw)
            turned = math.remainder(base.yaw + mount.yaw, 360.0)
            self.pose = Pose(x, y, base.z + mount.z, mount.pitch, turned, mount.roll)
            self.velocity, self.acceleration = self.parent.velocity, self.parent.acceleration
            self.angular_velocity = self.parent.angular_velocity


class Vehicle(Actor):
    """A car. While ``simulated``, the plant moves it, and the next tick puts it on the ground; otherwise it stands still.

    Args:
        grounds: see ``Body``.
        values: of the actor.
    """

    def __init__(self, grounds: Sequence[Ground], **values: Any) -> None:
        super().__init__(half_size=HALF_SIZE, tags=bytes([CAR_TAG]), **values)
        self.body = Body(grounds, self.pose)
        self.simulated = True
        self.control = Control()
        self.lights = 0
        self.gear = GEARS.get(self.description[1], OF_THE_PLANT)
        self.physics = default_physics(self.gear)

    def place(self, pose: Pose) -> None:
        """Put the car there; a simulated car stands."""
        super().place(pose)
        if self.simulated:
            self.body.teleport(pose)  # finds the place on the track, which only a simulated car needs

    def simulate(self, simulated: bool) -> None:
        """Switch the physics; after a change the car stands and its actuators are at rest."""
        if simulated != self.simulated:
            self.body.restart()
            self.body.teleport(self.pose)
            self.velocity = self.angular_velocity = self.acceleration = STILL
        self.simulated = simulated

    def set_velocity(self, velocity: Vector) -> None:
        """Take a velocity in the world (m/s); a car without physics does not."""
        if self.simulated:
            self.body.set_velocity(velocity)

    def set_angular_velocity(self, degrees: Vector) -> None:
        """Take an angular velocity (deg/s); only the yaw rate counts on the plane."""
        if self.simulated:
            self.body.set_yaw_rate(degrees[2])

    def apply_physics(self, physics: list) -> None:
        """Store the values for the client to read; the plant keeps its parameters. The actuators restart."""
        self.physics = physics
        self.body.centre_actuators()

    def step(self, clock: Clock) -> None:
        """Move by one tick."""
        if not self.simulated:
            return
        before, seconds = self.velocity, clock.substep * clock.substeps
        steer = min(max(self.control.steer, -1.0), 1.0) * self.gear.ratio(self.body.forward_speed)
        self.body.step(steer, self.control.drive, clock)
        self.pose, self.velocity, self.angular_velocity = self.body.pose, self.body.velocity, self.body.angular_velocity
        x, y, _ = (now - then for now, then in zip(self.velocity, before, strict=True))
        self.acceleration = (x / seconds, y / seconds, 0.0)

    def state(self) -> bytes:
        """Its record in the world's snapshot."""
        control = self.control
        rest = wire.VEHICLE_STATE.pack(*control[:6], control.gear, SPEED_LIMIT, wire.UNKNOWN_LIGHT, 0, 0, 0)
        return wire.actor_state(self.id, self.pose, self.velocity, self.angular_velocity, self.acceleration, rest)

    def telemetry(self) -> list:
        """The RPC form of the telemetry, without wheels."""
        control, speed = self.control, math.hypot(*self.velocity)
        return [speed, control.steer, control.throttle, control.brake, 0.0, 1, PARAMETERS.drag, []]


def overlap(a: Actor, b: Actor) -> bool:
    """Whether two boxes overlap; pitch and roll are ignored."""
    if abs(a.pose.z - b.pose.z) >= a.half_size[2] + b.half_size[2]:
        return False
    distance = (b.pose.x - a.pose.x, b.pose.y - a.pose.y)
    turn = math.radians(b.pose.yaw - a.pose.yaw)
    cos, sin = abs(math.cos(turn)), abs(math.sin(turn))
    for one, other in ((a, b), (b, a)):
        yaw = math.radians(one.pose.yaw)
        along = distance[0] * math.cos(yaw) + distance[1] * math.sin(yaw)
        aside = distance[1] * math.cos(yaw) - distance[0] * math.sin(yaw)
        (length, width, _), (other_length, other_width, _) = one.half_size, other.half_size
        if abs(along) >= length + other_length * cos + other_width * sin:
            return False
        if abs(aside) >= width + other_length * sin + other_width * cos:
            return False
    return True


def default_physics(gear: Gear) -> list:
    """Make the RPC form of VehiclePhysicsControl from the plant's parameters and constants."""
    p, steer = PARAMETERS, gear.lock
    front, rear = 100.0 * p.front, -100.0 * p.rear  # CARLA gives wheel positions in cm
    brakes = (p.front_brake * p.brake_force / 2 * WHEEL_RADIUS, (1 - p.front_brake) * p.brake_force / 2 * WHEEL_RADIUS)
    wheels = [
        [p.friction, 0.25, lock, 100.0 * WHEEL_RADIUS, brake, hand_brake, 2.0, p.stiffness, 1000.0, [x, y, 0.0]]
        for x, lock, brake, hand_brake in ((front, steer, brakes[0], 0.0), (rear, 0.0, brakes[1], 3000.0))
        for y in (-75.0, 75.0)
    ]
    torque_curve, steering_curve = [[0.0, 400.0], [6000.0, 400.0]], [[0.0, 1.0], [120.0, gear.at_120]]
    engine = [torque_curve, 6000.0, 1.0, 0.15, 2.0, 0.35]
    gearbox = [True, 0.0, 10.0, 4.0, [[1.0, 0.5, 0.65]]]
    return [*engine, *gearbox, p.mass, p.drag, [0.0, 0.0, 100.0 * p.height], steering_curve, wheels, False]
