"""Conversions between CARLA's left-handed frame and ours."""

import math
from types import SimpleNamespace

import pytest

from pompc.envs.carla_racing.server.frames import (
    Pose,
    SteeringGear,
    car_velocity,
    from_carla,
    heading_error,
    pedals,
    to_carla,
    turning,
    world_velocity,
)

HEADINGS = [-3.0, -math.pi / 2, -0.4, 0.0, 0.7, 2.0, 3.1]


@pytest.mark.parametrize("heading", HEADINGS)
def test_a_pose_survives_the_round_trip(heading):
    pose = Pose(12.0, -7.0, heading)
    assert from_carla(*to_carla(pose)) == pytest.approx(pose)


def test_left_is_right_in_carla():
    assert to_carla(Pose(1.0, 2.0, math.pi / 2)) == pytest.approx((1.0, -2.0, -90.0))
    assert to_carla(Pose(0.0, 0.0, -math.pi / 4))[2] == pytest.approx(45.0)


@pytest.mark.parametrize("turns", [-2, -1, 1, 3])
def test_headings_beyond_a_turn_are_the_same_place(turns):
    there = to_carla(Pose(0.0, 0.0, 0.5 + turns * math.tau))
    assert there[2] == pytest.approx(-math.degrees(0.5))
    assert -180.0 <= there[2] < 180.0
    assert heading_error(0.5 + turns * math.tau, 0.3) == pytest.approx(0.2)


@pytest.mark.parametrize("heading", HEADINGS)
def test_velocity_is_the_change_of_place(heading):
    """Velocity and position flip alike, for any motion."""
    vx, vy, dt = 9.0, -1.5, 1e-6
    ahead = heading + math.pi / 2
    moved = Pose(
        dt * (vx * math.cos(heading) + vy * math.cos(ahead)), dt * (vx * math.sin(heading) + vy * math.sin(ahead)), 0.0
    )
    x, y = world_velocity(heading, vx, vy)
    assert (dt * x, dt * y) == pytest.approx(to_carla(moved)[:2], abs=1e-15)
    assert car_velocity(heading, x, y) == pytest.approx((vx, vy))


def test_turning_left_is_the_change_of_yaw():
    before, after = (to_carla(Pose(0.0, 0.0, heading))[2] for heading in (0.3, 0.3 + 0.01))
    assert turning(after - before) == pytest.approx(0.01)


@pytest.mark.parametrize("drive", [-1.0, -0.3, 0.0, 0.6, 1.0])
def test_throttle_and_brake_are_never_pressed_together(drive):
    throttle, brake, steer = pedals(0.25, drive)
    assert throttle - brake == drive
    assert throttle * brake == 0.0
    assert 0.0 <= throttle <= 1.0
    assert 0.0 <= brake <= 1.0
    assert steer == -0.25


def test_a_steer_means_the_same_wheel_angle_in_every_car():
    wheels = [SimpleNamespace(max_steer_angle=lock) for lock in (70.0, 70.0, 0.0, 0.0)]
    curve = [SimpleNamespace(x=speed, y=share) for speed, share in ((0.0, 1.0), (100.0, 0.5))]
    gear = SteeringGear(SimpleNamespace(wheels=wheels, steering_curve=curve), 0.4)
    for speed in (0.0, 10.0, 50.0 / 3.6, 40.0):
        share = max(1.0 - 0.5 * 3.6 * speed / 100.0, 0.5)
        for steer in (-1.0, 0.2, 1.0):
            assert gear.command(steer, speed) * share * math.radians(70.0) == pytest.approx(0.4 * steer)
    narrow = SteeringGear(SimpleNamespace(wheels=[SimpleNamespace(max_steer_angle=10.0)], steering_curve=[]), 0.4)
    assert narrow.command(0.9, 3.0) == 1.0, "no car turns further than it can"
