"""The layouts, by the sizes and offsets of the structures in the client's own debug information."""

import struct

import pytest

from pompc.envs.carla_racing.standin import wire
from pompc.envs.carla_racing.standin.wire import Pose

POSE = Pose(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


@pytest.mark.parametrize(
    ("layout", "size"),
    [
        (wire.TOKEN, 24),
        (wire.SENSOR_HEADER, 48),
        (wire.EPISODE_HEADER, 36),
        (wire.ACTOR_STATE, 119),
        (wire.VEHICLE_STATE, 54),
        (wire.IMAGE_HEADER, 12),
    ],
)
def test_sizes(layout, size):
    assert layout.size == size


def test_offsets_of_an_actor():
    rest = wire.VEHICLE_STATE.pack(0.25, 0.5, 0.75, 1, 0, 1, -1, 90.0, 4, 0, 7, 0)
    state = wire.actor_state(9, POSE, (7.0, 8.0, 9.0), (10.0, 11.0, 12.0), (13.0, 14.0, 15.0), rest)
    assert len(state) == 119
    assert struct.unpack_from("<I", state, 0) == (9,)
    assert state[4] == 1
    assert struct.unpack_from("<15f", state, 5) == tuple(float(value) for value in range(1, 16))
    assert struct.unpack_from("<3f", state, 65) == (0.25, 0.5, 0.75)
    assert tuple(state[77:80]) == (1, 0, 1)
    assert struct.unpack_from("<i", state, 80) == (-1,)
    assert struct.unpack_from("<f", state, 84) == (90.0,)
    assert tuple(state[88:90]) == (4, 0)
    assert struct.unpack_from("<I", state, 90) == (7,)
    assert state[94:] == bytes(25)


def test_header_and_token():
    header = wire.sensor_header(wire.IMU, 2**40, 1.5, POSE)
    assert struct.unpack_from("<QQd", header) == (5, 2**40, 1.5)
    assert struct.unpack_from("<6f", header, 24) == POSE
    assert struct.unpack("<IHBB16s", wire.token(3, 2001)) == (3, 2001, 1, 0, bytes(16))


def test_transform():
    assert POSE.encode() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
