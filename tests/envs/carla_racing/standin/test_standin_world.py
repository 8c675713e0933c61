"""The world through the unmodified client: connection, maps, settings, clock, actors, batches."""

import time
from itertools import pairwise
from statistics import median

import pytest
from standin_client import DT, in_client, refusal, require_carla, run, spawn, synchronous

from pompc.envs.carla_racing.standin import control

require_carla()
import carla  # noqa: E402

CAR = "vehicle.bmw.grandtourer"


@in_client
def test_versions(client, world):
    assert client.get_client_version() == client.get_server_version() == "0.9.16"


@in_client
def test_map(client, world):
    world_map = world.get_map()
    assert world_map.name == "Carla/Maps/Town10HD_Opt"
    assert "/Game/Carla/Maps/Town10HD_Opt" in client.get_available_maps()
    assert len(world_map.get_spawn_points()) == 25
    waypoints = world_map.generate_waypoints(10.0)
    assert 60 < len(waypoints) < 68
    for pose in world_map.get_spawn_points():
        waypoint = world_map.get_waypoint(pose.location)
        assert waypoint.transform.location.distance(pose.location) < 0.6  # the height above ground is 0.5
        turn = (waypoint.transform.rotation.yaw - pose.rotation.yaw + 180.0) % 360.0 - 180.0
        assert abs(turn) < 0.1
    assert waypoints[0].next(5.0)


@in_client
def test_blueprints(client, world):
    library = world.get_blueprint_library()
    names = {blueprint.id for blueprint in library}
    assert {CAR, "vehicle.tesla.model3", "vehicle.audi.tt", "sensor.other.collision", "sensor.other.imu"} <= names
    assert {"sensor.camera.rgb", "sensor.other.lane_invasion"} <= names
    assert all(int(blueprint.get_attribute("number_of_wheels")) == 4 for blueprint in library.filter("vehicle.*"))
    car = spawn(world, CAR, role_name="hero", color="1,2,3")
    assert car.attributes["role_name"] == "hero"
    assert car.attributes["color"] == "1,2,3"
    assert car.type_id == CAR
    assert library.find("sensor.camera.rgb").get_attribute("image_size_x").as_int() == 800


@in_client
def test_spawn_and_destroy(client, world):
    synchronous(world)
    car = spawn(world, CAR, 0)
    assert "collision" in refusal(spawn, world, CAR, 0)
    blueprint = world.get_blueprint_library().find(CAR)
    assert world.try_spawn_actor(blueprint, world.get_map().get_spawn_points()[0]) is None
    assert car.get_transform().location == carla.Location()  # nothing is known before a tick
    world.tick()
    assert [actor.id for actor in world.get_actors().filter("vehicle.*")] == [car.id]
    assert world.get_actor(car.id).type_id == CAR
    assert car.destroy()
    assert "destroyed" in refusal(car.apply_control, carla.VehicleControl(throttle=1.0))
    world.tick()
    assert not world.get_actors().filter("vehicle.*")
    assert "not found" in client.apply_batch_sync([carla.command.DestroyActor(car)])[0].error


@in_client
def test_spectator(client, world):
    synchronous(world)
    spectator = world.get_spectator()
    spectator.set_transform(carla.Transform(carla.Location(1, 2, 30), carla.Rotation(-90, 10, 0)))
    world.tick()
    assert spectator.get_transform().location == carla.Location(1, 2, 30)
    assert spectator.get_transform().rotation.pitch == -90


@in_client
def test_settings_and_modes(client, world):
    assert not world.get_settings().synchronous_mode
    frames = [world.wait_for_tick().frame for _ in range(3)]
    assert frames[2] > frames[0]
    synchronous(world)
    settings = world.get_settings()
    assert (settings.synchronous_mode, settings.fixed_delta_seconds, settings.max_substeps) == (True, DT, 10)
    first = world.tick()
    time.sleep(0.15)
    assert world.tick() == first + 1
    assert world.get_snapshot().frame == first + 1
    assert world.get_snapshot().timestamp.delta_seconds == pytest.approx(DT)
    elapsed = world.get_snapshot().timestamp.elapsed_seconds
    world.tick()
    assert world.get_snapshot().timestamp.elapsed_seconds - elapsed == pytest.approx(DT)
    synchronous(world, synchronous_mode=False)
    assert world.wait_for_tick().frame > first + 1


@in_client
def test_real_time(client, world):
    """Without a client's ticks 20 frames take about a second; on a busy machine longer, never less."""
    seen = [world.wait_for_tick().timestamp for _ in range(21)]
    frames = [after.frame - before.frame for before, after in pairwise(seen)]
    walls = [after.platform_timestamp - before.platform_timestamp for before, after in pairwise(seen)]
    assert min(frames) > 0
    assert seen[-1].elapsed_seconds - seen[0].elapsed_seconds == pytest.approx(DT * sum(frames))
    assert DT * sum(frames) <= sum(walls) + DT + 1e-3, "one step at most is caught up after a delay"
    assert min(wall / frame for wall, frame in zip(walls, frames, strict=True)) < 1.2 * DT, "some are in time"


@in_client
def test_ticks_are_not_delayed(client, world):
    """Thousands per second are usual; with Nagle's algorithm it would be 25."""
    synchronous(world)
    times = [time.monotonic()]
    for _ in range(100):
        world.tick()
        times.append(time.monotonic())
    assert median(after - before for before, after in pairwise(times)) < 0.02  # not all: other work may delay some


@in_client
def test_on_tick(client, world):
    synchronous(world)
    seen = []
    number = world.on_tick(lambda snapshot: seen.append(snapshot.frame))
    frames = [world.tick() for _ in range(3)]
    deadline = time.monotonic() + 5.0
    while len(seen) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    world.remove_on_tick(number)
    assert seen == frames


@in_client
def test_batches(client, world):
    synchronous(world)
    blueprint = world.get_blueprint_library().find(CAR)
    points = world.get_map().get_spawn_points()
    there = carla.Transform(carla.Location(500, 500, 0), carla.Rotation(0, 30, 0))
    later = carla.command.FutureActor
    spawns = [
        carla.command.SpawnActor(blueprint, points[0])
        .then(carla.command.SetSimulatePhysics(later, False))
        .then(carla.command.ApplyTransform(later, there)),
        carla.command.SpawnActor(blueprint, points[3]).then(
            carla.command.ApplyVehicleControl(later, carla.VehicleControl(throttle=1.0))
        ),
        carla.command.SpawnActor(blueprint, points[3]),
    ]
    parked, driving, blocked = client.apply_batch_sync(spawns)
    assert "collision" in blocked.error
    sensor = carla.command.SpawnActor(
        world.get_blueprint_library().find("sensor.other.imu"), carla.Transform(), parked.actor_id
    )
    client.apply_batch_sync([sensor], True)
    for _ in range(20):
        world.tick()
    assert world.get_actor(parked.actor_id).get_transform().location.distance(there.location) < 1e-3
    assert world.get_actor(driving.actor_id).get_velocity().length() > 2.0
    actors = world.get_actors()
    assert actors.filter("sensor.*")[0].parent.id == parked.actor_id
    errors = client.apply_batch_sync([carla.command.DestroyActor(actor) for actor in actors.filter("vehicle.*")])
    assert not any(answer.error for answer in errors)
    client.apply_batch([carla.command.DestroyActor(actor) for actor in actors.filter("sensor.*")])
    world.tick()
    assert [actor.type_id for actor in world.get_actors()] == ["spectator"]


@in_client
def test_weather_and_debug_drawing(client, world):
    weather = world.get_weather()
    weather.precipitation = 42.0
    world.set_weather(weather)
    assert world.get_weather().precipitation == 42.0
    world.debug.draw_point(carla.Location(1, 2, 3))
    world.debug.draw_line(carla.Location(), carla.Location(1, 2, 3), life_time=1.0)
    world.debug.draw_string(carla.Location(), "text")
    assert world.get_environment_objects() == []


@in_client
def test_generated_map(client, world):
    synchronous(world)
    spawn(world, CAR)
    xodr = world.get_map().to_opendrive().replace('name="road 0"', 'name="road zero"')
    parameters = carla.OpendriveGenerationParameters(wall_height=0.5, additional_width=2.0)
    world = client.generate_opendrive_world(xodr, parameters, False)
    assert world.get_map().name == "Carla/Maps/OpenDriveMap"
    assert "road zero" in world.get_map().to_opendrive()
    assert world.get_settings().synchronous_mode
    world.tick()
    assert not world.get_actors().filter("vehicle.*")
    assert "opendrive" in refusal(client.generate_opendrive_world, "<bad")
    world.tick()
    assert not client.generate_opendrive_world(xodr).get_settings().synchronous_mode


@in_client
def test_load_world(client, world):
    synchronous(world)
    assert "map not found" in refusal(client.load_world, "Nope")
    before = world.id
    world = client.load_world("Town01", False)
    assert world.id != before
    assert world.get_map().name == "Carla/Maps/Town01"
    assert world.get_settings().synchronous_mode
    assert world.get_map().get_waypoint(carla.Location(5, 2, 0)).lane_width == 4.0
    spawn(world, CAR)
    world = client.reload_world()
    assert not world.get_settings().synchronous_mode
    world.wait_for_tick()
    assert not world.get_actors().filter("vehicle.*")
    assert client.load_world("Town10HD_Opt").get_map().name == "Carla/Maps/Town10HD_Opt"


def many_episodes(client, world, episodes):
    synchronous(world)
    library = world.get_blueprint_library()
    place = world.get_map().get_spawn_points()[0]
    for _ in range(episodes):
        car = world.spawn_actor(library.find(CAR), place)
        sensor = world.spawn_actor(library.find("sensor.other.collision"), carla.Transform(), attach_to=car)
        sensor.listen(lambda event: None)
        world.tick()
        sensor.stop()
        assert sensor.destroy()
        assert car.destroy()


def test_many_episodes_leave_nothing_behind(server):
    def resident():
        with open(f"/proc/{server.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

    run(many_episodes, server, episodes=50)
    before = resident()
    run(many_episodes, server, episodes=500)
    assert resident() - before < 4.0  # MiB
    assert control.state(server.host, server.port)["actors"] == ["spectator"]
    deadline = time.monotonic() + 5.0
    while server.state()["listeners"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.state()["listeners"] == 0
