"""The sensors through the unmodified client, which checks the layout of their messages by not crashing."""

import time
from itertools import pairwise

import pytest
from standin_client import DT, in_client, require_carla, spawn, synchronous

require_carla()
import carla  # noqa: E402

CAR = "vehicle.bmw.grandtourer"


def listen(world, sensor, frames=1):
    """Subscribe, tick until that many messages have arrived, and return them."""
    seen = []
    sensor.listen(seen.append)
    deadline = time.monotonic() + 5.0
    while len(seen) < frames and time.monotonic() < deadline:
        world.tick()
        time.sleep(0.005)
    assert len(seen) >= frames, f"{sensor.type_id}: {len(seen)} messages"
    sensor.stop()
    return seen


@in_client
def test_collision(client, world):
    synchronous(world)
    car = spawn(world, CAR)
    other = spawn(world, "vehicle.tesla.model3", 5)
    sensor = spawn(world, "sensor.other.collision", carla.Transform(), attach_to=car)
    seen = []
    sensor.listen(seen.append)
    time.sleep(0.2)
    for _ in range(3):
        world.tick()
    time.sleep(0.05)
    assert not seen
    other.set_simulate_physics(False)
    ahead = car.get_transform()
    ahead.location += 8.0 * ahead.get_forward_vector()
    other.set_transform(ahead)
    car.set_target_velocity(10.0 * ahead.get_forward_vector())
    frames = [world.tick() for _ in range(9)]
    deadline = time.monotonic() + 5.0
    while len(seen) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    sensor.stop()
    event = seen[0]
    assert (event.actor.id, event.other_actor.id) == (car.id, other.id)
    assert event.other_actor.type_id == "vehicle.tesla.model3"
    assert event.frame == frames[7]  # 8 m apart, 4.5 m of it cars: 7 ticks at nearly 10 m/s and one more
    impulse = event.normal_impulse
    assert impulse.length() == pytest.approx(1093.3 * 10.0, rel=0.03)
    assert impulse.dot(ahead.get_forward_vector()) < 0.0


@in_client
def test_imu(client, world):
    synchronous(world)
    car = spawn(world, CAR)
    imu = spawn(world, "sensor.other.imu", carla.Transform(carla.Location(x=1.0, z=1.0)), attach_to=car)
    car.apply_control(carla.VehicleControl(throttle=1.0, steer=0.1))
    for _ in range(40):
        world.tick()
    measured = listen(world, imu, 3)[-1]
    assert measured.accelerometer.z == pytest.approx(9.81)
    assert 0.5 < measured.accelerometer.x < 6.0
    assert measured.accelerometer.y > 0.5  # to the right, into the turn
    assert measured.gyroscope.z > 0.05
    assert measured.compass == pytest.approx((90.0 + measured.transform.rotation.yaw) * 3.14159265 / 180.0, abs=1e-4)
    assert measured.transform.location.z == pytest.approx(1.0)


@in_client
def test_imu_of_a_standing_car(client, world):
    synchronous(world)
    car = spawn(world, CAR, carla.Transform(carla.Location(500, 500, 0), carla.Rotation(yaw=-90)))
    imu = spawn(world, "sensor.other.imu", carla.Transform(), attach_to=car)
    measured = listen(world, imu)[-1]
    assert measured.accelerometer.x == pytest.approx(0.0, abs=1e-6)
    assert measured.gyroscope.length() == 0.0
    assert measured.compass == pytest.approx(0.0, abs=1e-5)  # north


@in_client
def test_camera(client, world):
    synchronous(world)
    car = spawn(world, CAR)
    place = carla.Transform(carla.Location(x=-5.0, y=1.0, z=3.0), carla.Rotation(pitch=-15.0))
    size = {"image_size_x": "64", "image_size_y": "48", "fov": "70"}
    camera = spawn(world, "sensor.camera.rgb", place, attach_to=car, **size)
    image = listen(world, camera)[0]
    assert (image.width, image.height, image.fov) == (64, 48, 70.0)
    pixels = bytes(image.raw_data)
    assert len(pixels) == 64 * 48 * 4
    assert pixels[:4] != pixels[-4:]
    car_pose = car.get_transform()
    assert image.transform.location.distance(car_pose.transform(place.location)) < 1e-3
    assert image.transform.rotation.pitch == -15.0


@in_client
def test_no_images_without_rendering(client, world):
    synchronous(world, no_rendering_mode=True)
    camera = spawn(world, "sensor.camera.rgb", image_size_x="64", image_size_y="48")
    seen = []
    camera.listen(seen.append)
    time.sleep(0.2)
    for _ in range(3):
        world.tick()
    time.sleep(0.1)
    camera.stop()
    assert not seen


@in_client
def test_sensor_tick(client, world):
    synchronous(world)
    imu = spawn(world, "sensor.other.imu", sensor_tick="0.2")
    seen = listen(world, imu, 4)
    gaps = [b.timestamp - a.timestamp for a, b in pairwise(seen)]
    assert gaps == pytest.approx([4 * DT] * len(gaps))


@in_client
def test_lane_invasion(client, world):
    """The client computes it from the map and the snapshots."""
    world = client.load_world("Town01")
    synchronous(world)
    car = spawn(world, CAR, carla.Transform(carla.Location(0, 2, 0)))
    sensor = spawn(world, "sensor.other.lane_invasion", carla.Transform(), attach_to=car)
    seen = []
    sensor.listen(seen.append)
    for y in (2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -1.0):
        car.set_location(carla.Location(0, y, 0))
        world.tick()
    deadline = time.monotonic() + 5.0
    while not seen and time.monotonic() < deadline:
        time.sleep(0.01)
    sensor.stop()
    assert str(seen[0].crossed_lane_markings[0].type) == "Broken"


@in_client
def test_two_sensors_and_a_second_subscription(client, world):
    synchronous(world)
    car = spawn(world, CAR)
    sensors = [spawn(world, "sensor.other.imu", carla.Transform(), attach_to=car) for _ in range(2)]
    for sensor in (*sensors, *sensors):
        messages = listen(world, sensor, 2)
        assert messages[-1].frame > messages[0].frame
    assert all(sensor.destroy() for sensor in sensors)
    world.tick()
    assert not world.get_actors().filter("sensor.*")
