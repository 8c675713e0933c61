"""The faults, as the unmodified client sees them."""

import os
import time

import pytest
from standin_client import fault, in_client, refusal, require_carla, run, spawn, synchronous

from pompc.envs.carla_racing.standin import control

require_carla()

CAR = "vehicle.bmw.grandtourer"


def test_unknown_faults_and_procedures_are_refused(server):
    with pytest.raises(RuntimeError, match="no fault 'nonsense': choose one of slow_tick"):
        server.fault("nonsense", 1)
    with pytest.raises(RuntimeError, match="no procedure 'nonsense'"):
        control.call(server.host, server.port, "nonsense")


@in_client
def test_slow_tick(client, world):
    synchronous(world)
    fault("slow_tick", 0.2)
    begin = time.monotonic()
    world.tick()
    assert 0.2 < time.monotonic() - begin < 2.0


@in_client
def test_dropped_snapshot(client, world):
    """The client misses one frame and sees the next."""
    synchronous(world)
    before = world.tick()
    fault("drop_snapshots", 1)
    assert "time-out" in refusal(world.tick, 0.3)
    assert world.get_snapshot().frame == before
    assert world.tick() == before + 2
    assert world.get_snapshot().frame == before + 2


@in_client
def test_cut_stream(client, world):
    """After half a snapshot and a closed connection, the client connects again by itself."""
    synchronous(world)
    before = world.tick()
    fault("cut_stream", 1)
    assert "time-out" in refusal(world.tick, 0.3)
    deadline = time.monotonic() + 10.0
    while world.get_snapshot().frame == before and time.monotonic() < deadline:
        try:
            world.tick(0.3)
        except RuntimeError:
            time.sleep(0.1)
    assert world.get_snapshot().frame > before


@in_client
def test_refused_spawns(client, world):
    fault("refuse_spawn", 2)
    assert "collision" in refusal(spawn, world, CAR)
    assert "collision" in refusal(spawn, world, CAR)
    car, deadline = spawn(world, CAR), time.monotonic() + 10.0
    while not car.is_alive and time.monotonic() < deadline:  # the client knows it from the next snapshot on
        time.sleep(0.05)
    assert car.is_alive


@in_client
def test_version(client, world):
    fault("server_version", "0.9.15")
    assert client.get_server_version() == "0.9.15"


@in_client
def test_hanging_call(client, world):
    synchronous(world)
    fault("hang", "tick_cue")
    client.set_timeout(0.3)
    begin = time.monotonic()
    assert "time-out" in refusal(world.tick)
    assert time.monotonic() - begin < 2.0
    fault("hang", "")
    client.set_timeout(10.0)
    world.tick()


def leave_in_synchronous_mode(client, world):
    synchronous(world)
    spawn(world, CAR)
    world.tick()
    print("null", flush=True)
    os._exit(0)  # no destructors: as if killed


def repair(client, world):
    """Repair the settings as a second client."""
    assert world.get_settings().synchronous_mode
    assert "time-out" in refusal(world.wait_for_tick, 0.3)
    settings = world.get_settings()
    settings.synchronous_mode = False
    settings.fixed_delta_seconds = None
    world.apply_settings(settings)
    world.wait_for_tick()
    (car,) = world.get_actors().filter("vehicle.*")
    assert car.destroy()


def test_synchronous_mode_left_on_by_a_dead_client(server):
    run(leave_in_synchronous_mode, server)
    run(repair, server)
    assert server.state()["actors"] == ["spectator"]
