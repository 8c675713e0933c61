"""Byte layouts of the streamed messages of CARLA 0.9.16: little-endian and packed.

The client does not check messages: one of another length ends its process. So tests check the sizes.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

FRAME = struct.Struct("<I")
"""Before every message: its size."""

STREAM_ID = struct.Struct("<I")
"""What the client sends after connecting."""

TOKEN = struct.Struct("<IHBB16s")
"""24 B: stream id, port, protocol (1 TCP), kind of address (0: the host of the RPC port), address."""

SENSOR_HEADER = struct.Struct("<QQd6f")
"""48 B before every message: sensor type, frame, simulation time (s), transform of the sensor."""

EPISODE_HEADER = struct.Struct("<Qdf3iI")
"""36 B of a snapshot: episode id, wall time (s), time step (s), map origin, flags (1: another map)."""

ACTOR_STATE = struct.Struct("<IB6f3f3f3f54s")
"""119 B per actor: id, state (1 active), transform, velocity, angular velocity (deg/s), acceleration, by kind."""

VEHICLE_STATE = struct.Struct("<3f3BifBBIB24x")
"""54 B, a vehicle's last part: throttle, steer, brake, hand brake, reverse, manual, gear, speed limit (km/h), traffic
light (4 unknown), whether there is one, its id, failure."""

IMAGE_HEADER = struct.Struct("<IIf")
"""12 B: width, height, field of view (deg); BGRA pixels follow."""

COLLISION, IMU, CAMERA_RGB, WORLD_OBSERVER = 0, 5, 13, 17
"""Sensor types: places in the client's registry of sensors."""

TCP, RPC_HOST, ACTIVE, UNKNOWN_LIGHT, MAP_CHANGED = 1, 0, 1, 4, 1
NO_STATE = bytes(54)

Vector = tuple[float, float, float]


class Pose(NamedTuple):
    """A transform in CARLA's left-handed frame: m and degrees."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    pitch: float = 0.0
    yaw: float = 0.0
    roll: float = 0.0

    def encode(self) -> list[list[float]]:
        """The RPC form ``[[x, y, z], [pitch, yaw, roll]]``."""
        return [list(self[:3]), list(self[3:])]


def token(stream_id: int, port: int) -> bytes:
    """Make the token with which the client subscribes to a stream; the host is that of its RPC connection."""
    return TOKEN.pack(stream_id, port, TCP, RPC_HOST, bytes(16))


def sensor_header(kind: int, frame: int, seconds: float, pose: Pose) -> bytes:
    """The beginning of every streamed message."""
    return SENSOR_HEADER.pack(kind, frame, seconds, *pose)


def actor_state(
    actor_id: int, pose: Pose, velocity: Vector, angular: Vector, acceleration: Vector, rest: bytes = NO_STATE
) -> bytes:
    """One actor of a snapshot."""
    return ACTOR_STATE.pack(actor_id, ACTIVE, *pose, *velocity, *angular, *acceleration, rest)
