"""A fault of a CARLA server ends an episode, not the run; a fault without repair is one line."""

import os
import re
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from served import (
    ASYNCHRONOUS,
    SYNCHRONOUS,
    address,
    broken,
    client,
    drive,
    embedded,
    family,
    nobody,
    quiet,
    replace_world,
    spawn,
)

from pompc.envs.carla_racing import CarlaRacing, CarlaRacingConfig
from pompc.envs.carla_racing.server import cast, world
from pompc.envs.carla_racing.server.library import Interrupted
from pompc.envs.carla_racing.server.server import Server
from pompc.envs.carla_racing.standin import control
from pompc.envs.carla_racing.standin.maps import STRAIGHT
from pompc.envs.carla_racing.track.track import TRACKS
from pompc.errors import Unavailable, UserError

CURES = {
    "a lost snapshot": ("drop_snapshots", 1, 0),
    "a slow tick": ("slow_tick", 1.5, 0.0),
    "a tick that is never answered": ("hang", "tick_cue", ""),
    "a server that answers nothing": ("hang", "*", ""),
    "a wheel that is not told": ("hang", "get_wheel_steer_angle", ""),
}
SEEN_IDLE = 3.0  # s: a server in synchronous mode is watched for the whole time-out


@contextmanager
def time_out(env, seconds=0.6):
    """Shorten the time-out within the block; elsewhere a server on a busy machine may take long."""

    def wait(seconds):
        object.__setattr__(env.config, "timeout", seconds)  # the one object that all parts of the family read
        if (server := env._carla._connection._server) is not None:
            server.client.set_timeout(seconds)

    before = env.config.timeout
    wait(seconds)
    try:
        yield
    finally:
        wait(before)


@pytest.mark.parametrize("fault", CURES)
def test_a_fault_costs_one_episode(server, fault):
    name, bad, good = CURES[fault]
    ends = rf"{re.escape(address(server))}: .*; the episode ends here"
    with closing(family(server, retries=3).make()) as env:
        env.reset(seed=1)
        seen = drive(env, 3)[-1][0]
        server.fault(name, bad)
        with time_out(env), pytest.warns(UserWarning, match=ends):
            (result,) = drive(env, 1)
        assert (result[0] == seen).all()
        assert result[1:4] == (0.0, False, True)
        assert result[4]["broken"] == 1.0
        assert broken(drive(env, 2)) == [1.0, 1.0], "nothing goes on without a reset"
        server.fault(name, good)
        with closing(embedded().make()) as other:
            assert env.reset(seed=1)[0] == pytest.approx(other.reset(seed=1)[0], abs=2e-5)
            for one, result in zip(drive(env, 20), drive(other, 20), strict=True):
                assert one[0] == pytest.approx(result[0], abs=2e-5), "a rebuilt server is like a new one"


@pytest.mark.parametrize("procedure", ["get_actor_definitions", "get_sensor_token", "get_episode_settings"])
def test_a_server_that_stops_answering_while_an_episode_begins_is_one_line(server, procedure):
    failed = r"has failed 1 times in a row .*no answer within"
    with closing(family(server, retries=0).make()) as env:
        server.fault("hang", procedure)
        with time_out(env), pytest.raises(Unavailable, match=failed):
            env.reset(seed=0)
        server.fault("hang", "")
        env.reset(seed=0)
        assert broken(drive(env, 2)) == [0.0] * 2


def test_a_server_whose_episodes_all_break_at_once_is_given_up(server):
    with closing(family(server, retries=0).make()) as env:
        env.reset(seed=0)
        drive(env, 2)
        server.fault("hang", "get_wheel_steer_angle")  # an episode begins without it
        with time_out(env), pytest.warns(UserWarning, match="the episode ends here"):
            assert broken(drive(env, 1)) == [1.0]
        with time_out(env, SEEN_IDLE):
            env.reset(seed=0)
        with time_out(env), pytest.warns(UserWarning, match="the episode ends here"):
            assert broken(drive(env, 1)) == [1.0]
        with pytest.raises(Unavailable, match="has broken off 2 episodes in a row at their first step"):
            env.reset(seed=0)
        server.fault("hang", "")
        env.reset(seed=0)
        assert broken(drive(env, 2)) == [0.0] * 2


def test_a_server_that_can_no_longer_be_used_ends_a_run_that_is_saved(server):
    """On ``Unavailable`` a run saves its state."""
    with closing(family(server, retries=3).make()) as env:
        env.reset(seed=0)
        server.fault("drop_snapshots", 1)
        with time_out(env), pytest.warns(UserWarning, match="the episode ends here"):
            drive(env, 1)
        server.fault("server_version", "0.9.13")
        with pytest.raises(Unavailable, match=r"version 0\.9\.13"):
            env.reset(seed=0)


def test_closing_waits_for_no_server(server):
    with closing(family(server, retries=8).make()) as env:
        env.reset(seed=0)
        server.kill()
        with time_out(env):
            env._carla._connection.close()
        env._carla.leave()
        with (
            pytest.warns(UserWarning, match="attempt 2 of 9") as seen,
            pytest.raises(Interrupted, match="is being closed"),
        ):
            env.reset(seed=0)
        assert sum("attempt" in str(warning.message) for warning in seen) == 1, "8 are 79 s"


def test_a_car_that_falls_through_the_road_is_a_fault(server, monkeypatch):
    monkeypatch.setattr(cast, "LOWEST", 1.0)
    with (
        closing(family(server, retries=0).make()) as env,
        pytest.raises(Unavailable, match=r"a car came to rest .* m above the road"),
    ):
        env.reset(seed=0)
    assert server.state()["actors"] == ["spectator"]


def test_rebuilding_leaves_nothing_behind(server):
    def native_threads():
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Threads"))

    with closing(family(server).make()) as env:
        threads, actors = [], []
        for _ in range(14):
            env.reset(seed=0)
            drive(env, 2)
            threads.append(native_threads())
            actors.append(len(server.state()["actors"]))
            env._carla._connection.close()
        assert len(set(actors)) == 1, actors
        # One left by every rebuilding would be 8 more; the other tests of this process may have begun or end a few.
        assert min(threads[-4:]) - min(threads[2:6]) < 4, threads
    deadline = time.monotonic() + 30.0
    while server.state()["listeners"] > 1:
        assert time.monotonic() < deadline, server.state()
        time.sleep(0.01)


def test_a_server_that_stays_away_is_one_line_and_a_returning_one_is_used_again(server):
    with closing(family(server, retries=1).make()) as env:
        env.reset(seed=0)
        server.kill()
        with time_out(env), pytest.warns(UserWarning, match="the episode ends here"):
            assert broken(drive(env, 1)) == [1.0]
        began = time.monotonic()
        failed = rf"{re.escape(address(server))} has failed 2 times .*refused"
        with (
            pytest.warns(UserWarning, match="attempt 2 of 2 in 1 s"),
            pytest.raises(Unavailable, match=failed) as error,
        ):
            env.reset(seed=0)
        assert time.monotonic() - began >= 1.0, "it has waited before the second attempt"
        assert "\n" not in str(error.value)
        server.restart()
        env.reset(seed=0)
        assert broken(drive(env, 3)) == [0.0] * 3


@pytest.mark.filterwarnings("error::UserWarning")  # there is one before every further attempt
def test_no_server_at_all_is_an_error_at_once():
    pytest.importorskip("carla", reason="needs the CARLA client: pip install 'pompc[carla]'")
    nothing = nobody()
    config = CarlaRacingConfig(backend="carla", servers=(nothing,), timeout=60.0)
    began = time.monotonic()
    with (
        closing(CarlaRacing(config).make()) as env,
        pytest.raises(Unavailable, match=rf"there is no CARLA server at {re.escape(nothing)} .*refused"),
    ):
        env.reset(seed=0)
    assert time.monotonic() - began < config.timeout, "without the client's own time-out"


def test_after_a_refused_place_another_one_is_tried(server):
    server.fault("refuse_spawn", 5)
    with closing(family(server).make()) as env:
        env.reset(seed=0)
        assert len(server.state()["actors"]) == 1 + 3 + 1
        assert broken(drive(env, 2)) == [0.0] * 2


def test_a_server_that_refuses_all_spawns_keeps_no_actor(server):
    server.fault("refuse_spawn", 10_000)
    with (
        closing(family(server, retries=0).make()) as env,
        pytest.raises(Unavailable, match=r"spawn a car: .*collision.*, at all of 24 places"),
    ):
        env.reset(seed=0)
    assert server.state()["actors"] == ["spectator"]
    assert not server.state()["synchronous"]


def test_another_version_is_refused_before_its_stream_is_read(server):
    server.fault("server_version", "0.9.15")
    with (
        closing(family(server).make()) as env,
        pytest.raises(UserError, match=r"version 0\.9\.15, the client is 0\.9\.16"),
    ):
        env.reset(seed=0)


def test_the_leavings_of_a_dead_run_are_removed(server):
    before = server.state()["settings"]
    blind = SYNCHRONOUS.replace(
        "world.apply", "settings.no_rendering_mode, settings.max_substeps = True, 16\nworld.apply"
    )
    client(server, blind + spawn("pompc-ego") + "world.tick()\nos._exit(0)")
    assert server.state()["synchronous"]
    assert "vehicle.tesla.model3" in server.state()["actors"]
    with closing(family(server, timeout=SEEN_IDLE).make()) as env:
        with pytest.warns(
            UserWarning, match="in synchronous mode by a client that has not ticked it for 3 s: repaired"
        ):
            env.reset(seed=0)
        assert server.state()["actors"].count("vehicle.tesla.model3") == 3, "the dead one's car is gone"
        drive(env, 2)
    assert server.state()["settings"] == before, "and so are its settings"


def test_the_first_settings_are_restored_at_the_end_even_after_a_fault(server):
    before = server.state()["settings"]
    with closing(family(server, retries=3).make()) as env:
        env.reset(seed=0)
        server.fault("drop_snapshots", 1)
        with time_out(env), pytest.warns(UserWarning, match="the episode ends here"):
            drive(env, 1)
        client(server, SYNCHRONOUS.replace("world.apply", "settings.no_rendering_mode = True\nworld.apply"))
        with time_out(env, SEEN_IDLE), pytest.warns(UserWarning, match="repaired"):
            env.reset(seed=0)
        drive(env, 1)
    assert server.state()["settings"] == before


def test_a_run_that_pauses_keeps_its_server(server):
    """A run may learn for minutes between two ticks."""
    code = (
        "from served import CarlaRacing, CarlaRacingConfig\n"
        f"CarlaRacing(CarlaRacingConfig(backend='carla', servers=({address(server)!r},), timeout=0.5)).make().reset()"
    )
    with closing(family(server).make()) as env:
        env.reset(seed=0)
        environment = {
            **quiet(),
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3] / "support"), *sys.path]),
        }
        other = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60
        )
        assert f"{address(server)} is used by another run on this machine (pid {os.getpid()})" in other.stderr
        with pytest.raises(UserError, match="is used already in this process"), closing(family(server).make()) as again:
            again.reset(seed=0)
        assert broken(drive(env, 3)) == [0.0] * 3


def test_ticks_of_another_client_cost_one_episode(server):
    with closing(family(server).make()) as env:
        env.reset(seed=0)
        drive(env, 2)
        for _ in range(5):
            control.call(server.host, server.port, "tick_cue")
        with pytest.warns(UserWarning, match="6 ticks in one step: another client ticks, too"):
            assert broken(drive(env, 1)) == [1.0]
        env.reset(seed=0)
        assert broken(drive(env, 2)) == [0.0] * 2


def test_another_client_at_work_is_not_disturbed(server):
    code = (
        SYNCHRONOUS
        + "print('ticking', flush=True)\nimport time\nfor _ in range(10_000): world.tick(); time.sleep(0.01)"
    )
    setup = f"import carla\nclient = carla.Client({server.host!r}, {server.port})\nclient.set_timeout(5.0)\n"
    with subprocess.Popen(
        [sys.executable, "-c", setup + "world = client.get_world()\n" + code], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        try:
            with closing(family(server).make()) as env, pytest.raises(UserError, match="is driven by another client"):
                env.reset(seed=0)
            assert server.state()["synchronous"], "it still has its mode"
        finally:
            other.kill()
    client(server, ASYNCHRONOUS)


@pytest.mark.parametrize("kind", ["vehicle.", "sensor.other.", "sensor.camera."])
def test_an_actor_that_another_client_removes_costs_one_episode(server, kind):
    with closing(family(server, observe_camera=True).make()) as env:
        env.reset(seed=0)
        drive(env, 2)
        numbers = [actor.id for actor in env._carla._connection.cast()._actors if actor.type_id.startswith(kind)]
        client(server, f"client.apply_batch_sync([carla.command.DestroyActor(number) for number in {numbers}], False)")
        with pytest.warns(UserWarning, match=rf"({re.escape(kind)}|actor \d+ not found).*; the episode ends here"):
            assert broken(drive(env, 1)) == [1.0]
        env.reset(seed=0)
        assert broken(drive(env, 2)) == [0.0] * 2


def test_a_car_that_vanishes_before_the_first_episode_is_tried_again(server, monkeypatch):
    whole, ticks = Server.tick, []

    def tick(self):
        ticks.append(self)
        if len(ticks) == 10:
            client(server, f"client.apply_batch_sync([carla.command.DestroyActor({number()})], False)")
        return whole(self)

    def number():
        return next(
            actor.id for actor in ticks[0].world.get_actors() if actor.attributes.get("role_name") == "pompc-ego"
        )

    monkeypatch.setattr(Server, "tick", tick)
    with closing(family(server).make()) as env:
        with pytest.warns(UserWarning, match=r"removed by another client: vehicle\..* attempt 2 of 2"):
            env.reset(seed=0)
        assert len(ticks) > 20, "a second attempt"
        assert broken(drive(env, 2)) == [0.0] * 2


def test_a_world_that_was_not_loaded_is_refused(server, tmp_path, monkeypatch):
    """Every generated world has the same name."""
    loader = tmp_path / "loader.py"
    loader.write_text("import os\nos.kill(os.getpid(), 9)\n")
    monkeypatch.setattr(world, "LOADER", loader)
    replace_world(server, STRAIGHT)
    with (
        closing(family(server, retries=0).make()) as env,
        pytest.raises(Unavailable, match="load the world: the server shows another one"),
    ):
        env.reset(seed=0)


def test_a_loaded_world_whose_text_comes_back_changed_is_accepted(server, monkeypatch):
    monkeypatch.setattr(world, "shows", lambda *_: False)
    replace_world(server, (TRACKS / "esses.xodr").read_text(encoding="utf-8"))
    with closing(family(server, retries=0).make()) as env:
        env.reset(seed=0)
        assert broken(drive(env, 2)) == [0.0] * 2


CUT = """
import sys, numpy as np
from pompc.envs.carla_racing import CarlaRacing, CarlaRacingConfig
from pompc.envs.carla_racing.standin import control
host, port = {host!r}, {port}
env = CarlaRacing(CarlaRacingConfig(backend="carla", servers=(f"{{host}}:{{port}}",), timeout=5.0)).make()
action = np.array([0.0, 0.3], np.float32)
env.reset(seed=0)
env.step(action)
control.set_fault(host, port, "cut_stream", 1)
object.__setattr__(env.config, "timeout", 0.6)
broken = [env.step(action)[4]["broken"]]
object.__setattr__(env.config, "timeout", 5.0)
env.reset(seed=0)
broken.append(env.step(action)[4]["broken"])
env.close()
print(broken)
"""


def test_a_stream_that_breaks_off_costs_one_episode(server):
    """In another process: a client may abort on a message that it cannot read."""
    code = CUT.format(host=server.host, port=server.port)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=quiet())
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "[1.0, 0.0]"
