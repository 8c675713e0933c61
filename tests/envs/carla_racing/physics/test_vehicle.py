"""The plant: closed forms, symmetry, limits of grip, standstill, and the two executors."""

import math
from dataclasses import replace

import pytest
import torch

from pompc.envs.carla_racing.physics.kinematic import KinematicBicycle
from pompc.envs.carla_racing.physics.ops import ScalarOps, TorchOps
from pompc.envs.carla_racing.physics.vehicle import GRAVITY, Car, SingleTrack, VehicleParameters

BMW = VehicleParameters()
LOSSLESS = replace(BMW, drag=0.0, rolling=0.0)


def straight(s):
    return 0.0 * s


def vehicle(parameters=BMW, curvature=straight, dt=0.01, kind=SingleTrack):
    return kind(parameters, ScalarOps(), curvature, dt, round(0.05 / dt))


def at(v=0.0, **entries):
    return Car(0.0, 0.0, 0.0, v, 0.0, 0.0, 0.0, 0.0)._replace(**entries)


def drive(plant, car, steer, command, steps):
    for _ in range(steps):
        car = plant.step(car, steer, command)
    return car


def test_full_drive_accelerates_with_drive_force_over_mass():
    plant = vehicle(replace(LOSSLESS, power=1e9))
    car = drive(plant, at(10.0, a=1.0), 0.0, 1.0, 40)
    acceleration = BMW.drive_force / BMW.mass
    assert car.vx == pytest.approx(10.0 + 2.0 * acceleration, rel=1e-6)
    assert car.s == pytest.approx(20.0 + 0.5 * 4.0 * acceleration, rel=2e-3)


def test_at_high_speed_kinetic_energy_grows_with_the_engine_power():
    car = drive(vehicle(LOSSLESS), at(30.0, a=1.0), 0.0, 1.0, 40)
    assert 0.5 * BMW.mass * (car.vx**2 - 30.0**2) == pytest.approx(2.0 * BMW.power, rel=2e-3)


def test_top_speed_balances_power_drag_and_rolling_resistance():
    car = drive(vehicle(), at(45.0), 0.0, 1.0, 4000)
    assert BMW.power / car.vx == pytest.approx(BMW.drag * car.vx**2 + BMW.rolling, rel=1e-3)


def test_braking_distance_and_its_limit_of_grip():
    gentle = drive(vehicle(LOSSLESS), at(30.0, a=-0.5), 0.0, -0.5, 40)
    assert gentle.vx == pytest.approx(30.0 - 0.5 * BMW.brake_force / BMW.mass * 2.0, rel=1e-6)
    slammed = drive(vehicle(replace(LOSSLESS, brake_force=1e5)), at(30.0, a=-1.0), 0.0, -1.0, 20)
    deceleration = 30.0 - slammed.vx
    assert 0.8 * BMW.friction * GRAVITY < deceleration < BMW.friction * GRAVITY


@pytest.mark.parametrize("grip", [1.0, 0.92])
def test_small_steering_turns_by_the_understeer_gradient(grip):
    """r = v delta / (L + K v^2), K = (load / stiffness of the front axle - of the rear axle) / g (linear single-track)."""
    parameters = replace(LOSSLESS, steer_rate=10.0, front_grip=grip)
    car = drive(vehicle(parameters), at(20.0), 0.01, 0.0, 60)
    gradient = (1 / grip - 1) / (BMW.stiffness * GRAVITY)
    expected = car.vx * 0.01 * BMW.steer_max / (BMW.wheelbase + gradient * car.vx**2)
    assert car.r == pytest.approx(expected, rel=0.02)


def test_at_the_limit_the_car_runs_wide_and_an_equally_gripping_one_spins():
    sideslip = {}
    for grip in (BMW.front_grip, 1.0):
        plant, car, most = vehicle(replace(BMW, front_grip=grip)), at(20.0), 0.0
        for step in range(200):
            car = plant.step(car, min(step / 100, 1.0), 0.9)
            most = max(most, abs(math.atan2(car.vy, car.vx)))
        sideslip[grip] = most
    assert sideslip[BMW.front_grip] < 0.2
    assert sideslip[1.0] > 0.5


@pytest.mark.parametrize("speed", [12.0, 20.0, 30.0])
def test_cornering_reaches_the_limit_of_grip_and_not_more(speed):
    plant, car, most = vehicle(), at(speed), 0.0
    for step in range(320):
        hold = min(max(speed - car.vx, -0.2), 0.35)
        car = plant.step(car, min(step / 400, 1.0), hold)
        most = max(most, car.vx * car.r)
    assert 0.85 * BMW.friction * GRAVITY < most < 1.03 * BMW.friction * GRAVITY


def test_an_axle_never_exceeds_its_friction_circle():
    plant = vehicle()
    for drive_force in (-9000.0, -2000.0, 0.0, 3000.0, 9000.0):
        for slip in (-8.0, -0.5, 0.1, 5.0):
            forces = plant._axle(5000.0, drive_force, slip, 20.0)
            assert math.hypot(*forces) <= 5000.0 * (1 + 1e-9)
    braking = abs(plant._axle(5000.0, -4500.0, 1.0, 20.0)[1])
    assert braking < 0.5 * abs(plant._axle(5000.0, 0.0, 1.0, 20.0)[1])


def test_mirrored_steering_gives_the_mirrored_path():
    bend = vehicle(curvature=lambda s: 0.01)
    mirrored = vehicle(curvature=lambda s: -0.01)
    left, right = at(15.0, n=1.0, e=0.1), at(15.0, n=-1.0, e=-0.1)
    for step in range(60):
        steer, command = math.sin(0.1 * step), 0.5 * math.cos(0.07 * step)
        left, right = bend.step(left, steer, command), mirrored.step(right, -steer, command)
    assert left.s == pytest.approx(right.s, abs=1e-9)
    for name in ("n", "e", "vy", "r", "delta"):
        assert getattr(left, name) == pytest.approx(-getattr(right, name), abs=1e-9)


@pytest.mark.parametrize("kind", [SingleTrack, KinematicBicycle])
def test_track_and_plane_coordinates_agree_on_a_circle(kind):
    radius = 60.0
    track, plane = vehicle(curvature=lambda s: 1 / radius, kind=kind), vehicle(kind=kind)
    car, flat = at(14.0, n=2.0, e=0.05), at(14.0, n=2.0, e=0.05)  # the circle touches the x axis at the origin
    for step in range(200):
        steer = 0.11 + 0.05 * math.sin(0.2 * step)
        car, flat = track.step(car, steer, 0.05), plane.step(flat, steer, 0.05)
    angle = car.s / radius
    assert flat.s == pytest.approx((radius - car.n) * math.sin(angle), abs=0.05)
    assert flat.n == pytest.approx(radius - (radius - car.n) * math.cos(angle), abs=0.05)
    assert flat.e == pytest.approx(car.e + angle, abs=1e-3)


def test_braking_ends_at_rest_and_steering_there_does_nothing():
    car = drive(vehicle(), at(6.0), 0.3, -1.0, 100)
    assert car.vx == 0.0
    rest = drive(vehicle(), car, -1.0, -1.0, 100)
    assert rest.vx == 0.0
    assert abs(rest.vy) < 1e-6
    assert abs(rest.r) < 1e-6
    assert rest.s == pytest.approx(car.s, abs=1e-4)


@pytest.mark.parametrize("dt", [0.005, 0.01, 0.025])
@pytest.mark.parametrize("speed", [0.0, 0.3, 2.0, 8.0])
def test_sideways_motion_dies_out_at_any_speed(dt, speed):
    car = drive(vehicle(LOSSLESS, dt=dt), at(speed, vy=1.0, r=1.0), 0.0, 0.0, 40)
    assert abs(car.vy) < 0.02
    assert abs(car.r) < 0.02


def test_actuators_are_lagged_and_the_steering_is_rate_limited():
    car = vehicle().step(at(10.0), 1.0, 1.0)
    assert car.delta == pytest.approx(0.05 * BMW.steer_rate)
    assert car.a == pytest.approx(1.0 - (1.0 - 0.1) ** 5)
    settled = drive(vehicle(), at(1.0), 1.0, 0.0, 60)
    assert settled.delta == pytest.approx(BMW.steer_max, rel=1e-3)


@pytest.mark.parametrize("kind", [SingleTrack, KinematicBicycle])
def test_floats_and_tensors_give_the_same_car(kind):
    scalar = kind(BMW, ScalarOps(), lambda s: 0.02, 0.01, 5)
    tensors = kind(BMW, TorchOps(), lambda s: 0.02 + 0.0 * s, 0.01, 5)
    one = at(17.0, n=-1.5, e=0.2, delta=0.05)
    many = Car(*(torch.full((3,), value) for value in one))
    for step in range(40):
        steer, command = 0.4 * math.sin(0.3 * step), math.cos(0.2 * step)
        one = scalar.step(one, steer, command)
        many = tensors.step(many, torch.full((3,), steer), torch.full((3,), command))
    torch.testing.assert_close(torch.stack(many)[:, 0], torch.tensor(one), atol=2e-3, rtol=1e-4)


def test_the_bicycle_is_the_plant_if_grip_does_not_matter():
    plant, bicycle = vehicle(), vehicle(kind=KinematicBicycle, dt=0.05)
    real, believed = at(6.0), at(6.0)
    for step in range(40):
        steer = 0.1 * math.sin(0.1 * step)
        real, believed = plant.step(real, steer, 0.1), bicycle.step(believed, steer, 0.1)
    for name, tolerance in (("s", 0.05), ("n", 0.1), ("e", 0.02), ("vx", 0.02), ("r", 0.03), ("delta", 0.002)):
        assert getattr(believed, name) == pytest.approx(getattr(real, name), abs=tolerance)
