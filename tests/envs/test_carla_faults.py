"""Faults of a CARLA server: the episode ends, the next one begins on a new connection, or one line says what is wrong."""

from contextlib import closing

import numpy as np
import pytest
from served import SYNCHRONOUS, broken, client, drive, family

from pompc.errors import Unavailable, UserError

# What is switched on in the middle of an episode.
PASSING = {
    "slow tick": ("slow_tick", 3.0),
    "dropped snapshots": ("drop_snapshots", 3),
    "hanging call": ("hang", "tick_cue"),
}
CLEARED = {"slow_tick": 0.0, "drop_snapshots": 0, "hang": ""}


@pytest.mark.filterwarnings("ignore:.*the episode ends here")
@pytest.mark.parametrize("fault", PASSING)
def test_a_step_that_gets_no_answer_ends_the_episode_and_the_next_begins_anew(fault, server):
    with closing(family(server, timeout=1.0).make()) as env:
        seen, _ = env.reset(seed=0)
        good = drive(env, 3)
        name, value = PASSING[fault]
        server.fault(name, value)
        observation, reward, terminated, truncated, info = env.step(np.zeros(2, np.float32))
        server.fault(name, CLEARED[name])
        assert broken(good) == [0, 0, 0]
        assert (info["broken"], reward, terminated, truncated) == (1, 0, False, True)
        np.testing.assert_array_equal(observation, good[-1][0])
        again, _ = env.reset(seed=0)
        np.testing.assert_allclose(again, seen, atol=2e-5)
        assert broken(drive(env, 3)) == [0, 0, 0]


@pytest.mark.filterwarnings("ignore:.*the episode ends here")
def test_a_stream_cut_within_a_frame_loses_at_most_the_episode(server):
    with closing(family(server, timeout=1.0).make()) as env:
        env.reset(seed=0)
        drive(env, 3)
        server.fault("cut_stream", 1)
        drive(env, 3)
        server.fault("cut_stream", 0)
        env.reset(seed=0)
        assert broken(drive(env, 5)) == [0] * 5


def test_a_spawn_that_is_refused_once_is_tried_again(server):
    server.fault("refuse_spawn", 1)
    with closing(family(server).make()) as env:
        env.reset(seed=0)
        assert broken(drive(env, 2)) == [0, 0]


def test_spawns_that_are_always_refused_are_one_line(server):
    server.fault("refuse_spawn", 1000)
    with closing(family(server).make()) as env, pytest.raises(UserError) as error:
        env.reset(seed=0)
    assert f"{server.host}:{server.port}" in str(error.value)
    assert "\n" not in str(error.value)


def test_another_version_is_refused_before_anything_else(server):
    server.fault("server_version", "0.9.15")
    with closing(family(server).make()) as env, pytest.raises(UserError, match=r"0\.9\.15.*0\.9\.16") as error:
        env.reset(seed=0)
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore:.*left in synchronous mode")
def test_synchronous_mode_left_on_by_a_dead_client_is_repaired(server):
    client(server, SYNCHRONOUS + "os._exit(0)")
    assert server.state()["synchronous"]
    with closing(family(server).make()) as env:
        env.reset(seed=0)
        assert broken(drive(env, 2)) == [0, 0]
    assert not server.state()["synchronous"]


def test_no_server_is_one_line():
    class Nobody:
        host, port = "127.0.0.1", 1

    pytest.importorskip("carla")
    with (
        closing(family(Nobody(), timeout=1.0).make()) as env,
        pytest.raises(Unavailable, match="no CARLA server") as error,
    ):
        env.reset(seed=0)
    assert "\n" not in str(error.value)
