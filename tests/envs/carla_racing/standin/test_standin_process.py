"""The stand-in as a process: flags, ready line, signals, death, restart."""

import asyncio
import contextlib
import re
import socket
import subprocess
import sys

import pytest
from standin_client import fault, refusal, require_carla, run, spawn, synchronous

from pompc.envs.carla_racing.standin import running

require_carla()
import carla  # noqa: E402


def test_flags_ready_line_and_interrupt(capfd):
    with running("--server-version", "0.9.15", "--refuse-spawn", "2") as server:
        assert re.fullmatch(r"carla stand-in ready on 127\.0\.0\.1:\d+ \(CARLA 0\.9\.16 protocol\)", server.ready_line)
        faults = server.state()["faults"]
        assert (faults["server_version"], faults["refuse_spawn"]) == ("0.9.15", 2)
        with socket.create_connection((server.host, server.port)):  # a client that stays connected
            assert server.state()["synchronous"] is False
            assert server.stop() == 0
    assert capfd.readouterr() == ("", "")


def survive(client, world):
    """The server dies within a tick."""
    synchronous(world)
    car = spawn(world, "vehicle.bmw.grandtourer")
    car.set_target_velocity(carla.Vector3D(5.0, 0.0, 0.0))
    world.tick()
    client.set_timeout(0.5)
    fault("kill", 2)
    world.tick()
    place = car.get_transform().location.x
    assert "time-out" in refusal(world.tick)
    car.apply_control(carla.VehicleControl(throttle=1.0))  # fails silently
    assert car.get_transform().location.x == place  # what was last heard
    return place


def lives(client, world):
    synchronous(world)
    return world.tick()


def test_death_and_restart():
    with running() as server:
        port, pid = server.port, server.pid
        assert run(survive, server) > 0.4
        assert server.stop() == 1
        server.restart()
        assert (server.port, server.pid) != (port, pid)
        assert server.port == port
        assert run(lives, server) > 0
        in_the_way = subprocess.run(
            [sys.executable, "-m", "pompc.testing.carla_standin", "--port", str(port)], capture_output=True, text=True
        )
        assert in_the_way.returncode == 2
        assert in_the_way.stderr.count("\n") == 1
        assert "take another --port" in in_the_way.stderr
        server._process.stdin.close()  # as when the process that started it dies
        assert server._process.wait(10.0) == 0


def test_help_is_quick_to_read():
    done = subprocess.run(
        [sys.executable, "-m", "pompc.testing.carla_standin", "--help"], capture_output=True, text=True, check=True
    )
    for flag in ("--port", "--slow-tick SECONDS", "--drop-snapshots N", "--kill N", "--hang NAME"):
        assert flag in done.stdout


def test_a_bad_flag_is_an_error(capfd):
    with pytest.raises(RuntimeError, match="did not start: exit code 2"), running("--nonsense"):
        pass
    assert "--nonsense" in capfd.readouterr().err


def test_the_port_opens_when_calls_are_answered_and_not_before(monkeypatch):
    from pompc.envs.carla_racing.standin import control, server
    from pompc.envs.carla_racing.standin.faults import Faults

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    seen = []

    def procedures(calls):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 1.0)
        seen.append("closed")
        return original(calls)

    async def serve():
        task = asyncio.create_task(server.run("127.0.0.1", port, Faults(), False))
        while not task.done():
            try:
                state = await asyncio.to_thread(control.state, "127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
                continue
            seen.append(state["map"])
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    original = server.procedures
    monkeypatch.setattr(server, "procedures", procedures)
    asyncio.run(serve())
    assert seen == ["closed", "Town10HD_Opt"]
