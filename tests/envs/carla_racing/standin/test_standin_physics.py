"""Cars without a client: frames, grounds, sub-steps, overlaps."""

import math
from itertools import pairwise

import numpy as np
import pytest

from pompc.envs.carla_racing.physics.ops import ScalarOps
from pompc.envs.carla_racing.physics.vehicle import Car, SingleTrack, VehicleParameters
from pompc.envs.carla_racing.standin.actors import Actor, Control, overlap
from pompc.envs.carla_racing.standin.maps import DEFAULT, STRAIGHT, Atlas, Map
from pompc.envs.carla_racing.standin.physics import FLAT, Body, Clock
from pompc.envs.carla_racing.standin.protocol import Refusal
from pompc.envs.carla_racing.standin.wire import Pose

CLOCK = Clock(0.01, 5)


@pytest.fixture(scope="module")
def esses():
    return Atlas().load(DEFAULT)


@pytest.mark.parametrize(
    ("dt", "longest", "most", "expected"),
    [
        (0.05, 0.01, 10, (0.01, 5)),
        (0.1, 0.01, 10, (0.01, 10)),
        (0.02, 0.01, 1, (0.02, 1)),
        (0.09, 0.01, 1, (0.03, 3)),  # the plant is not stable with longer ones
    ],
)
def test_substeps(dt, longest, most, expected):
    clock = Clock.of(dt, longest, most)
    assert clock == pytest.approx(expected)
    assert clock.substep * clock.substeps == pytest.approx(dt)


def test_the_plane_mirrors_the_plant():
    """CARLA's steer is right positive, its y and yaw turn the other way."""
    body, plant = Body((FLAT,), Pose()), SingleTrack(VehicleParameters(), ScalarOps(), lambda s: 0.0, *CLOCK)
    body.set_velocity((10.0, 0.0, 0.0))
    car = Car(0.0, 0.0, 0.0, 10.0, 0.0, 0.0, 0.0, 0.0)
    for _ in range(40):
        body.step(0.3, 0.2, CLOCK)
        car = plant.step(car, -0.3, 0.2)
    assert body.pose.y > 1.0
    assert body.pose[:2] == (car.s, -car.n)
    assert math.radians(body.pose.yaw) == pytest.approx(-car.e)
    assert body.angular_velocity[2] == pytest.approx(-math.degrees(car.r))
    assert body.wheel_angle == pytest.approx(-math.degrees(car.delta))
    assert body.wheel_angle > 0


def test_circuit_and_plane_agree(esses):
    """The same commands lead to the same place in track coordinates and in the plane, up to the integration error."""
    start = esses.spawn_points[5]
    bodies = [Body(esses.grounds, start), Body((FLAT,), start)]
    for body in bodies:
        heading = math.radians(start.yaw)
        body.set_velocity((10.0 * math.cos(heading), 10.0 * math.sin(heading), 0.0))
        for _ in range(40):
            body.step(-0.1, 0.1, CLOCK)
    track, plane = bodies
    assert math.dist(track.pose[:2], plane.pose[:2]) < 0.02
    assert math.dist(track.pose[:2], start[:2]) > 15.0
    assert track.velocity == pytest.approx(plane.velocity, abs=0.02)


def test_a_teleport_keeps_the_velocity_in_the_world(esses):
    body = Body(esses.grounds, esses.spawn_points[0])
    body.set_velocity((8.0, 1.0, 0.0))
    place = esses.spawn_points[10]
    body.teleport(place._replace(yaw=20.0))
    assert body.velocity == pytest.approx((8.0, 1.0, 0.0))
    assert body.pose[:2] == pytest.approx(place[:2], abs=1e-6)
    assert body.pose.yaw == pytest.approx(20.0)


def test_far_from_the_circuit_is_the_plane(esses):
    body = Body(esses.grounds, Pose(0.0, 500.0))
    body.set_velocity((10.0, 0.0, 0.0))
    for _ in range(20):
        body.step(0.0, 0.0, CLOCK)
    assert body.pose.y == pytest.approx(500.0)
    assert 9.0 < body.pose.x < 10.0


def test_leaving_the_circuit_is_seamless(esses):
    body = Body(esses.grounds, Pose(0.0, 45.0, 0.0, 0.0, 90.0))
    body.set_velocity((0.0, 10.0, 0.0))
    places = []
    for _ in range(30):
        body.step(0.0, 0.1, CLOCK)
        places.append(body.pose)
    steps = [math.dist(a[:2], b[:2]) for a, b in pairwise(places)]
    assert max(steps) - min(steps) < 0.05
    assert places[-1].yaw == pytest.approx(90.0, abs=0.1)


@pytest.mark.parametrize(
    ("control", "drive"),
    [
        (Control(throttle=0.7, brake=0.2), 0.5),
        (Control(throttle=1.0, hand_brake=True), -1.0),
        (Control(throttle=1.0, reverse=True), 0.0),
        (Control(brake=7.0), -1.0),
    ],
)
def test_drive(control, drive):
    assert control.drive == pytest.approx(drive)


@pytest.mark.parametrize(
    ("other", "touching"),
    [
        (Pose(4.4), True),
        (Pose(4.6), False),
        (Pose(0.0, 1.8), True),
        (Pose(0.0, 2.0), False),
        (Pose(3.1, 0.0, 0.0, 0.0, 90.0), True),
        (Pose(3.3, 0.0, 0.0, 0.0, 90.0), False),
        (Pose(4.4, 0.0, 0.0, 0.0, 45.0), True),
        (Pose(4.4, -0.2, 0.0, 0.0, 45.0), False),
        (Pose(0.0, 0.0, 1.6), False),
    ],
)
def test_overlap(other, touching):
    size = (2.25, 0.95, 0.75)
    a, b = (Actor(id=1, description=[], pose=pose, half_size=size) for pose in (Pose(), other))
    assert overlap(a, b) is touching
    assert overlap(b, a) is touching


def test_maps(esses):
    straight = Map.read("straight", STRAIGHT)
    assert straight.grounds == (FLAT,)
    assert straight.spawn_points == [Pose(-1000.0, 2.0, 0.5)]
    assert len(esses.grounds) == 2
    track = esses.grounds[0].track
    s, n = track.project([pose.x for pose in esses.spawn_points], [-pose.y for pose in esses.spawn_points])
    assert abs(n).max() < 1e-3
    gaps = (np.diff(s) + 1.0) % track.length - 1.0  # the first may lie just before the line
    assert gaps == pytest.approx(np.full(24, 25.0), abs=1e-3)


@pytest.mark.parametrize("text", ["", "<a", "<OpenDRIVE/>", "<html><road/></html>"])
def test_bad_maps_are_refused(text):
    with pytest.raises(Refusal, match="opendrive"):
        Map.read("bad", text)
