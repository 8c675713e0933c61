"""Measurements of the sensors, as streamed messages without their header."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from . import wire
from .actors import Actor, Vehicle
from .physics import PARAMETERS
from .protocol import load_msgpack

GRAVITY = 9.81
SKY, GROUND = bytes((235, 206, 135, 255)), bytes((90, 90, 90, 255))  # BGRA


class Sensor(Actor):
    """A sensor.

    Args:
        attributes: values of the blueprint's attributes.
        values: of the actor.
    """

    def __init__(self, attributes: dict[str, str], **values: Any) -> None:
        super().__init__(**values)
        self.attributes = attributes
        self.period = float(attributes.get("sensor_tick", 0.0))
        self.due = 0.0

    def is_due(self, seconds: float) -> bool:
        """Whether the sensor measures at this simulation time; if so, set the next time."""
        due = seconds >= self.due - 1e-6
        if due:
            self.due = seconds + self.period
        return due


class Family(NamedTuple):
    """A kind of sensor.

    Attributes:
        kind: its type in message headers.
        measure: its measurement per tick; ``None`` for a sensor that only reports events.
        rendered: whether it needs rendering; the settings can switch that off.
    """

    kind: int
    measure: Callable[[Sensor], bytes] | None
    rendered: bool = False


def imu(sensor: Sensor) -> bytes:
    """msgpack of accelerometer (m/s^2, with gravity), gyroscope (rad/s) and compass (rad from north, which is -y)."""
    yaw = math.radians(sensor.pose.yaw)
    x, y, _ = sensor.acceleration
    accelerometer = [x * math.cos(yaw) + y * math.sin(yaw), y * math.cos(yaw) - x * math.sin(yaw), GRAVITY]
    gyroscope = [math.radians(rate) for rate in sensor.angular_velocity]
    return load_msgpack().packb([accelerometer, gyroscope, (yaw + math.pi / 2) % math.tau])


def camera(sensor: Sensor) -> bytes:
    """An image of sky above ground."""
    width, height = int(sensor.attributes["image_size_x"]), int(sensor.attributes["image_size_y"])
    header = wire.IMAGE_HEADER.pack(width, height, float(sensor.attributes["fov"]))
    return header + SKY * (width * (height // 2)) + GROUND * (width * (height - height // 2))


def collision(vehicle: list, other: list, impulse: wire.Vector) -> bytes:
    """msgpack of the two actors in their RPC form and the impulse (N s)."""
    return load_msgpack().packb([vehicle, other, list(impulse)])


def impulse(vehicle: Vehicle, other: Vehicle) -> wire.Vector:
    """Impulse (N s) that would stop a car relative to the other."""
    x, y, z = (PARAMETERS.mass * (b - a) for a, b in zip(vehicle.velocity, other.velocity, strict=True))
    return x, y, z


COLLISION = "sensor.other.collision"
FAMILIES = {
    "sensor.camera.rgb": Family(wire.CAMERA_RGB, camera, rendered=True),
    COLLISION: Family(wire.COLLISION, None),
    "sensor.other.imu": Family(wire.IMU, imu),
}
"""The sensors with a stream; the client computes lane invasions itself."""
