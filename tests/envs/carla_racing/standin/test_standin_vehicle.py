"""One car through the unmodified client: commands, teleports, what it reports."""

import math

import pytest
from standin_client import in_client, refusal, require_carla, spawn, synchronous

require_carla()
import carla  # noqa: E402

CAR = "vehicle.bmw.grandtourer"
FRONT, REAR = carla.VehicleWheelLocation.FL_Wheel, carla.VehicleWheelLocation.BR_Wheel


def tick(world, times):
    for _ in range(times):
        world.tick()


@in_client
def test_commands_reach_the_car(client, world):
    synchronous(world)
    car = spawn(world, CAR)
    world.tick()
    start = car.get_transform()
    car.apply_control(carla.VehicleControl(throttle=0.8, steer=0.25))
    tick(world, 60)
    end, velocity = car.get_transform(), car.get_velocity()
    assert end.location.distance(start.location) > 10.0
    assert end.rotation.yaw > 10.0  # right
    assert car.get_angular_velocity().z > 5.0
    assert car.get_control().throttle == pytest.approx(0.8)
    assert car.get_wheel_steer_angle(FRONT) == pytest.approx(math.degrees(0.25 * 0.4), rel=1e-3)
    assert car.get_wheel_steer_angle(REAR) == 0.0
    heading = end.get_forward_vector()
    assert velocity.dot(heading) == pytest.approx(velocity.length(), rel=0.02)
    world.tick()
    change = (car.get_velocity() - velocity) / 0.05
    assert car.get_acceleration().distance(change) < 1e-3
    car.apply_control(carla.VehicleControl(hand_brake=True))
    tick(world, 100)
    assert car.get_velocity().length() < 0.05
    assert car.get_telemetry_data().speed < 0.05


@in_client
def test_reset_of_a_moving_car(client, world):
    """After switching the physics off and on, a car stands with straight wheels and takes velocities."""
    synchronous(world)
    car = spawn(world, CAR)
    car.apply_control(carla.VehicleControl(throttle=1.0, steer=0.5))
    tick(world, 40)
    assert car.get_wheel_steer_angle(FRONT) > 10.0
    car.apply_control(carla.VehicleControl())
    place = world.get_map().get_spawn_points()[4]
    car.set_simulate_physics(False)
    car.set_transform(place)
    car.set_simulate_physics(True)
    assert car.get_wheel_steer_angle(FRONT) == 0.0
    forward = place.get_forward_vector()
    car.set_target_velocity(10.0 * forward)
    world.tick()
    moved = car.get_transform().location - place.location
    assert moved.x == pytest.approx(0.5 * forward.x, abs=0.01)
    assert moved.y == pytest.approx(0.5 * forward.y, abs=0.01)
    assert moved.z == pytest.approx(-0.5)
    assert car.get_angular_velocity().z == pytest.approx(0.0, abs=0.3)


@in_client
def test_velocities_can_be_set(client, world):
    world = client.load_world("Town01")
    synchronous(world)
    car = spawn(world, CAR)
    car.set_target_velocity(carla.Vector3D(20.0, 1.0, 0.0))
    car.set_target_angular_velocity(carla.Vector3D(0.0, 0.0, 10.0))
    world.tick()
    velocity = car.get_velocity()
    assert velocity.x == pytest.approx(20.0, abs=0.2)
    assert 0.1 < velocity.y < 1.2
    assert 0.5 < car.get_angular_velocity().z < 10.0
    there = carla.Transform(carla.Location(100.0, 2.0, 0.0))
    car.set_transform(there)
    world.tick()
    assert car.get_transform().location.x == pytest.approx(101.0, abs=0.02)
    assert car.get_velocity().x == pytest.approx(velocity.x, abs=0.1)
    car.set_location(carla.Location(200.0, 2.0, 0.0))
    world.tick()
    assert car.get_transform().location.x == pytest.approx(201.0, abs=0.02)


@in_client
def test_kinematic_cars_keep_their_place(client, world):
    synchronous(world)
    car = spawn(world, CAR)
    car.set_simulate_physics(False)
    car.apply_control(carla.VehicleControl(throttle=1.0))
    there = carla.Transform(carla.Location(10.0, -3.0, 7.0), carla.Rotation(1.0, 20.0, 3.0))
    car.set_transform(there)
    tick(world, 3)
    assert car.get_transform() == there
    assert car.get_velocity().length() == 0.0


@in_client
def test_physics_control(client, world):
    synchronous(world)
    car = spawn(world, CAR)
    physics = car.get_physics_control()
    assert physics.mass == pytest.approx(1093.3)
    assert len(physics.wheels) == 4
    assert physics.wheels[0].max_steer_angle == pytest.approx(math.degrees(0.4))
    car.apply_control(carla.VehicleControl(throttle=1.0, steer=1.0))
    tick(world, 20)
    assert car.get_wheel_steer_angle(FRONT) > 20.0
    physics.mass = 1500.0
    car.apply_physics_control(physics)
    assert car.get_physics_control().mass == 1500.0
    assert car.get_wheel_steer_angle(FRONT) == 0.0


@in_client
def test_numbers_that_are_not_finite_are_refused(client, world):
    synchronous(world)
    car = spawn(world, CAR)
    world.tick()
    place = car.get_transform()
    nan, far = float("nan"), float("inf")
    car.set_transform(carla.Transform(carla.Location(nan, 0.0, 0.0)))
    car.set_target_velocity(carla.Vector3D(far, 0.0, 0.0))
    car.apply_control(carla.VehicleControl(throttle=nan))
    world.tick()
    assert car.get_transform() == place
    assert "not finite" in refusal(spawn, world, CAR, carla.Transform(carla.Location(nan, 0.0, 0.0)))


@in_client
def test_lights(client, world):
    synchronous(world)
    car = spawn(world, CAR)
    car.set_light_state(carla.VehicleLightState.Brake)
    assert car.get_light_state() == carla.VehicleLightState.Brake
