"""A car driven through the unmodified client moves as one on the embedded backend."""

import math

import numpy as np
import pytest
from standin_client import require_carla, run, spawn, synchronous

from pompc.envs.carla_racing.standin import running

require_carla()
import carla  # noqa: E402

CAR = "vehicle.bmw.grandtourer"
SPEED = 8.0  # m/s at the start


def drive(client, world, pose, speed, actions):
    """Path of a car that starts at ``pose`` (x, y, yaw) under ``actions`` (steer right, drive)."""
    synchronous(world, no_rendering_mode=True)
    x, y, yaw = pose
    place = carla.Transform(carla.Location(x, y, 0.0), carla.Rotation(yaw=yaw))
    car = spawn(world, CAR, place)
    car.set_target_velocity(speed * place.get_forward_vector())
    path = []
    for steer, force in actions:
        car.apply_control(carla.VehicleControl(throttle=max(force, 0.0), steer=steer, brake=max(-force, 0.0)))
        world.tick()
        end, velocity = car.get_transform(), car.get_velocity()
        path.append([end.location.x, end.location.y, end.rotation.yaw, velocity.x, velocity.y])
    return path


@pytest.fixture(scope="module")
def lap():
    """Drive 20 s on the embedded backend; return pose, actions and the path in the form of ``drive``."""
    # Imported here because the client's process imports this module too and needs none of it.
    from pompc.envs.carla_racing.backend import Embedded
    from pompc.envs.carla_racing.config import CarlaRacingConfig
    from pompc.envs.carla_racing.physics.opponents import Opponents
    from pompc.envs.carla_racing.physics.ops import ScalarOps
    from pompc.envs.carla_racing.physics.road import Road, tabulate
    from pompc.envs.carla_racing.physics.vehicle import Car
    from pompc.envs.carla_racing.plant import Factors
    from pompc.envs.carla_racing.track.track import Track

    config = CarlaRacingConfig()
    track = Track.load(config.track)
    backend = Embedded(config, Road(tabulate(track, False), ScalarOps()))
    alone = Opponents([], [], [], [], [])
    start = Car(20.0, 0.5, 0.02, SPEED, 0.0, 0.0, 0.0, 0.0)
    car = backend.reset(start, alone, Factors(1.0, 1.0, 1.0))
    x, y, heading = map(float, track.cartesian(car.s, car.n, car.e))
    pose, actions, path = (x, -y, -math.degrees(heading)), [], []
    for step in range(400):
        target = 2.0 * math.sin(0.05 * step)  # weaves, and brakes hard now and then
        steer = 2.6 * track.curvature_at(car.s + 4.0) / 0.4 + 0.1 * (target - car.n) - 1.2 * car.e
        force = -0.8 if step % 100 > 90 else 0.3 * (13.0 - car.vx)
        steer, force = (float(np.float32(np.clip(value, -1, 1))) for value in (steer, force))
        car = backend.step(steer, force, alone).car
        actions.append([-steer, force])
        x, y, heading = map(float, track.cartesian(car.s, car.n, car.e))
        sin, cos = math.sin(heading), math.cos(heading)
        velocity = (car.vx * cos - car.vy * sin, -(car.vx * sin + car.vy * cos))
        path.append([x, -y, -math.degrees(heading), *velocity])
        assert abs(car.n) < 6.0
    return pose, actions, np.array(path)


def test_the_car_is_the_embedded_plant(server, lap):
    """Over 20 s of varied driving, up to the float32 of the transport at the start."""
    pose, actions, expected = lap
    path = np.array(run(drive, server, pose=pose, speed=SPEED, actions=actions))
    difference = path - expected
    difference[:, 2] = (difference[:, 2] + 180.0) % 360.0 - 180.0
    assert np.hypot(*np.diff(expected[:, :2], axis=0).T).sum() > 200.0
    assert abs(difference[:, :2]).max() < 5e-5  # m
    assert abs(difference[:, 2]).max() < 5e-5  # deg
    assert abs(difference[:, 3:]).max() < 1e-5  # m/s


def test_two_servers_give_the_same_bits(server, lap):
    pose, actions, _ = lap
    first = run(drive, server, pose=pose, speed=SPEED, actions=actions)
    with running() as other:
        assert run(drive, other, pose=pose, speed=SPEED, actions=actions) == first
