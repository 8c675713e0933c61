"""The racing task on a CARLA server (a stand-in with the embedded physics) is the embedded task."""

import math
import re
from contextlib import closing
from itertools import pairwise

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from served import COAST, broken, client, drive, embedded, family, spawn

from pompc.envs.carla_racing.physics.opponents import Opponents
from pompc.envs.carla_racing.physics.vehicle import Car
from pompc.envs.carla_racing.track.track import TRACKS
from pompc.errors import UserError

OTHER_GEAR = "vehicle.lincoln.mkz_2017"  # its full steer is 70 degrees, less at speed
TOLERANCE = 2e-5  # poses and velocities travel as 32-bit numbers, twice: a relative 1e-7 of some hundred metres


def blind(env, draw):
    """Drive without looking: first gently, then violently."""
    gentle = env.episode.steps < 30
    return draw.uniform(-0.1, 0.4, 2) if gentle else draw.uniform(-1.3, 1.3, 2)


def careful(env, draw):
    """Follow the middle of the track, shakily."""
    car, ahead = env.car, env.track.curvature_at(env.car.s + 3.0)
    steer = 2.58 / 0.4 * ahead - 0.15 * car.n - 1.2 * car.e
    return np.array([steer, 0.4 * (9.0 - car.vx)]) + draw.normal(0.0, 0.15, 2)


@pytest.mark.parametrize(
    ("driver", "options", "end"),
    [
        (blind, {"num_opponents": 3}, (True, False)),
        (careful, {"num_opponents": 0, "danger_zones": False, "time_limit": 30.0}, (False, True)),
        (careful, {"num_opponents": 2, "time_limit": 15.0, "control_step": 0.1, "substep": 0.02}, (False, True)),
        (blind, {"num_opponents": 0, "vehicle": OTHER_GEAR}, (True, False)),
    ],
)
def test_the_same_controls_give_the_same_episode(server, driver, options, end):
    draw = np.random.default_rng(0)
    with closing(family(server, **options).make()) as there, closing(embedded(**options).make()) as here:
        for seed in range(2):
            np.testing.assert_allclose(there.reset(seed=seed)[0], here.reset(seed=seed)[0], atol=TOLERANCE)
            one, other = (None, 0.0, False, False, {}), None
            while not (one[2] or one[3]):
                action = driver(here, draw).astype(np.float32)
                one, other = there.step(action), here.step(action)
                np.testing.assert_allclose(one[0], other[0], atol=TOLERANCE)
                assert one[1] == pytest.approx(other[1], abs=TOLERANCE)
                assert one[2:4] == other[2:4]
                assert one[4] == pytest.approx({**other[4], "broken": 0.0}, abs=1e-4)
            assert there.car == pytest.approx(here.car, abs=1e-4)
            assert one[2:4] == end
            assert here.episode.steps > 15


def test_an_episode_begins_at_its_start_wherever_the_last_one_ended(server):
    with closing(family(server).make()) as there, closing(embedded().make()) as here:
        for s, speed in ((3.0, 0.0), (626.5, 30.0), (300.0, 12.0)):
            car = Car(s, -1.5, 0.3, speed, 0.0, 0.0, 0.0, 0.0)
            traffic = Opponents([100.0, 500.0], [2.5, -2.5], [8.0, 9.0], [8.0, 9.0], [1.0, 0.0])
            np.testing.assert_allclose(there.place(car, traffic), here.place(car, traffic), atol=TOLERANCE)
            assert there.car[3:] == (speed, 0.0, 0.0, 0.0, 0.0)
            drive(there, 20, np.array([1.0, -0.2], np.float32))


def test_gymnasium_accepts_it(server):
    with closing(family(server, num_opponents=1, time_limit=1.0).make(render_mode="rgb_array")) as env:
        check_env(env)


def test_opponents_are_where_the_task_says(server):
    code = (
        "world.wait_for_tick(5.0) if not world.get_settings().synchronous_mode else None\n"
        "import time\ntime.sleep(0.3)\n"
        "result = sorted([a.get_transform().location.x, a.get_transform().location.y] for a in world.get_actors() "
        "if a.attributes.get('role_name') == 'pompc-opponent')"
    )
    with closing(family(server, num_opponents=3).make()) as env:
        env.reset(seed=4)
        drive(env, 9)
        traffic = env.opponents
        x, y, _ = env.track.cartesian(traffic.s, traffic.n)
        watcher = client_while(server, env, code)
        np.testing.assert_allclose(watcher, sorted(zip(x.tolist(), (-y).tolist(), strict=True)), atol=1e-3)


def client_while(server, env, code):
    """Run ``code`` in another client; it sees actors once the environment has ticked again, so the car stands still."""
    from threading import Thread

    result = []
    thread = Thread(target=lambda: result.append(client(server, code)))
    thread.start()
    poses = env._carla._poses(env.opponents)
    while thread.is_alive():
        env._carla._connection.cast().drive(0.0, -1.0, 0.0, poses)
        thread.join(0.02)
    return result[0]


def test_a_touch_that_only_the_sensor_reports_is_a_collision(server):
    """Beside an opponent and turned towards it: the boxes overlap, but the centres are further than the rule asks."""
    car = Car(50.0, 0.0, 0.5, 6.0, 0.0, 0.0, 0.0, 0.0)
    traffic = Opponents([50.5], [2.35], [6.0], [6.0], [1.0])
    with (
        closing(family(server, num_opponents=1).make()) as there,
        closing(embedded(num_opponents=1).make()) as here,
    ):
        results = []
        for env in (there, here):
            env.task.advance = lambda opponents: opponents  # it stays there
            env.place(car, traffic)
            results.append(env.step(np.zeros(2, np.float32)))
        for _ in range(20):  # the event comes on its own thread, so perhaps with a later step
            if results[0][2]:
                break
            env_step = there.step(np.array([0.0, -1.0], np.float32))
            results[0] = env_step
        assert results[0][2]
        assert results[0][4]["cost"] == 1.0
        assert not results[1][2]
        there.place(car._replace(s=200.0), traffic)
        assert not any(step[2] for step in drive(there, 3)), "the next episode does not remember it"


def test_settings_are_those_of_the_task_during_a_drive_and_the_old_ones_afterwards(server):
    read = (
        "s = world.get_settings()\nresult = [s.synchronous_mode, s.fixed_delta_seconds or 0, s.substepping, "
        "s.max_substep_delta_time, s.max_substeps, s.no_rendering_mode]"
    )
    client(server, "s = world.get_settings()\ns.fixed_delta_seconds, s.max_substeps = 0.04, 7\nworld.apply_settings(s)")
    before = client(server, read)
    with closing(family(server, substep=0.025).make()) as env:
        env.reset(seed=0)
        assert client(server, read) == [True, 0.05, True, 0.025, 10, True]
    assert client(server, read) == before == [False, 0.04, True, 0.01, 7, False]
    client(
        server, "s = world.get_settings()\ns.fixed_delta_seconds, s.max_substeps = None, 10\nworld.apply_settings(s)"
    )


@pytest.fixture
def other_track(tmp_path):
    """The circuit in a file that no server has loaded."""
    path = tmp_path / "mirror.xodr"
    path.write_text((TRACKS / "esses.xodr").read_text().replace('name="esses"', 'name="other"'))
    return str(path)


def test_a_world_is_made_of_the_track_once(server, other_track):
    assert server.state()["map"] == "Town10HD_Opt"
    pool = family(server, track=other_track)
    with closing(pool.make()) as env:
        env.reset(seed=0)
        state = server.state()
        assert state["map"] == "OpenDriveMap"
        drive(env, 3)
    with closing(family(server, track=other_track).make()) as env:
        env.reset(seed=1)
        assert server.state()["episode"] == state["episode"], "loading it again would take seconds"


def test_a_town_needs_a_circuit_in_its_coordinates(server):
    with (
        closing(family(server, map="Town01").make()) as env,
        pytest.raises(UserError, match=r"track esses leaves the roads of Town01 on .* give env.track"),
    ):
        env.reset(seed=0)
    with (
        closing(family(server, map="Mars").make()) as env,
        pytest.raises(UserError, match=r"no map 'Mars': take one of .*Town01, Town10HD_Opt"),
    ):
        env.reset(seed=0)
    with closing(family(server, map="Town10HD_Opt").make()) as env:
        env.reset(seed=0)
        assert server.state()["map"] == "Town10HD_Opt"


@pytest.mark.parametrize("vehicle", ["vehicle.mine", "model3", "vehicle.*", "sensor.camera.rgb"])
def test_an_unknown_vehicle_is_one_line(server, vehicle):
    with (
        closing(family(server, vehicle=vehicle).make()) as env,
        pytest.raises(UserError, match=rf"no {re.escape(vehicle)}: take another env.vehicle, such as vehicle\."),
    ):
        env.reset(seed=0)


def test_actors_of_other_clients_are_left_alone(server, other_track):
    stranger = spawn("hero") + "result = car.id"
    number = client(server, stranger)
    try:
        with closing(family(server).make()) as env:
            env.reset(seed=0)
            drive(env, 5)
        assert server.state()["actors"] == ["spectator", "vehicle.tesla.model3"]
        refused = r"1 actors of other clients, which loading the track would destroy: .*model3 \(id \d+, hero\)"
        with closing(family(server, track=other_track).make()) as env, pytest.raises(UserError, match=refused):
            env.reset(seed=0)
        assert server.state()["actors"] == ["spectator", "vehicle.tesla.model3"]
    finally:
        client(server, f"client.apply_batch_sync([carla.command.DestroyActor({number})], False)")


def test_pictures_come_from_the_chase_camera_or_from_above(server):
    shown = []
    for options in ({}, {"chase_camera": False}):
        with closing(family(server, **options).make(render_mode="rgb_array")) as env:
            env.reset(seed=0)
            drive(env, 2)
            shown.append(env.render())
            assert ("sensor.camera.rgb" in server.state()["actors"]) == (not options)
    assert [frame.shape for frame in shown] == [(480, 640, 3)] * 2
    assert [frame.dtype for frame in shown] == [np.uint8] * 2
    with closing(embedded().make(render_mode="rgb_array")) as env:
        env.reset(seed=0)
        drive(env, 2)
        assert np.abs(env.render().astype(int) - shown[1]).mean() < 0.1
    assert np.abs(shown[0].astype(int) - shown[1]).mean() > 10


def test_observations_may_be_pictures(server):
    with closing(family(server, observe_camera=True, frame_stack=3).make()) as env:
        first, _ = env.reset(seed=0)
        assert env.observation_space.contains(first)
        assert first.shape == (9, 64, 64)
        np.testing.assert_array_equal(first[:3], first[6:])
        seen = [first] + [result[0] for result in drive(env, 4)]
        for before, after in pairwise(seen):
            np.testing.assert_array_equal(after[:6], before[3:])
        again, _ = env.reset(seed=0)
        np.testing.assert_array_equal(again, first)


def test_the_first_picture_is_waited_for(server):
    server.fault("slow_stream", 0.1)
    with closing(family(server, observe_camera=True, retries=0).make()) as env:
        env.reset(seed=0)
        assert broken(drive(env, 3)) == [0.0] * 3


def test_a_lost_speed_is_a_warning(server):
    with closing(family(server).make()) as env:
        env.reset(seed=0)
        env.place(Car(100.0, 0.0, 0.0, 12.0, 0.0, 0.0, 0.0, 0.0), env.opponents)
        ego = env._carla._connection.cast().ego
        ego.set_simulate_physics(False)
        ego.set_simulate_physics(True)
        with pytest.warns(UserWarning, match=r"begins an episode with 0\.\d m/s, not 12\.0"):
            drive(env, 1)


def test_the_environment_that_began_the_last_episode_holds_the_server(server):
    pool = family(server)
    with closing(pool.make()) as one, closing(pool.make()) as other:
        one.reset(seed=0)
        seen = drive(one, 4)[-1][0]
        other.reset(seed=1)
        results = drive(one, 2)
        assert broken(results) == [1.0, 1.0]
        for observation, reward, terminated, truncated, info in results:
            np.testing.assert_array_equal(observation, seen)
            assert (reward, terminated, truncated) == (0.0, False, True)
            assert math.isnan(info["success"])
        assert broken(drive(other, 3)) == [0.0] * 3
        one.reset(seed=0)
        assert broken(drive(one, 2)) == [0.0] * 2
        other.close()
        assert broken(drive(one, 2)) == [0.0] * 2, "the server is left with its last user"
    assert pool.make().step(COAST)[4]["broken"] == 1.0, "no episode, no server"
