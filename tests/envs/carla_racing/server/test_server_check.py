"""``pompc carla check`` names, in plain words, whatever answers at an address."""

import sys
from contextlib import closing

import pytest
from served import ASYNCHRONOUS, SYNCHRONOUS, address, broken, client, drive, family, nobody, replace_world, spawn

from pompc import cli
from pompc.envs.carla_racing.server import check as server_check
from pompc.envs.carla_racing.standin.maps import STRAIGHT


def check(capsys, where, code):
    """Return the lines of the standard output and of the error stream."""
    assert cli.main(["carla", "check", where]) == code
    out, err = capsys.readouterr()
    return out.splitlines(), err.splitlines()


def test_an_idle_server(server, capsys):
    before = server.state()
    out, err = check(capsys, address(server), 0)
    assert err == []
    assert out[0] == f"{address(server)}: a CARLA server of version 0.9.16, as the client"
    assert out[1:4] == ["map: Town10HD_Opt", "mode: asynchronous", "actors of other clients: none"]
    assert out[4].startswith("speed: ")
    assert float(out[4].split()[1].replace(",", "")) > 20
    after = server.state()
    assert {**after, "frame": 0, "listeners": 0} == {**before, "frame": 0, "listeners": 0}


def test_no_server(capsys):
    pytest.importorskip("carla", reason="needs the CARLA client: pip install 'pompc[carla]'")
    where = nobody()
    out, _ = check(capsys, where, 2)
    problem = "no CARLA server can be used (connect: Connection refused): is it running, and has it finished loading?"
    assert out == [f"{where}: {problem}"]


def test_another_version(server, capsys):
    server.fault("server_version", "0.9.13")
    out, _ = check(capsys, address(server), 2)
    assert len(out) == 1
    assert "version 0.9.13, the client is 0.9.16" in out[0]


def test_actors_of_other_clients_and_of_a_dead_run(server, capsys):
    client(server, spawn("pompc-ego") + spawn("hero", 5) + "world.wait_for_tick(5.0)\nos._exit(0)")
    before = server.state()
    out, _ = check(capsys, address(server), 0)
    assert out[2] == "mode: asynchronous"
    assert out[3].startswith("actors of other clients: vehicle.tesla.model3 (id ")
    assert out[3].endswith(", hero)")
    assert out[4] == "actors of an earlier run that did not end properly: 1; the next run removes them"
    assert out[5] == "speed: not measured, because that would disturb them"
    after = server.state()
    assert {**after, "frame": 0, "listeners": 0} == {**before, "frame": 0, "listeners": 0}, "looking changes nothing"
    client(
        server,
        "world.wait_for_tick(5.0)\ncars = world.get_actors().filter('vehicle.*')\n"
        "client.apply_batch_sync([carla.command.DestroyActor(car) for car in cars], False)",
    )


def test_actors_of_other_clients_in_a_world_that_a_run_would_replace(server, capsys):
    replace_world(server, STRAIGHT)
    client(server, spawn("hero", 0) + "world.wait_for_tick(5.0)\nos._exit(0)")
    out, _ = check(capsys, address(server), 2)
    assert out[-1].startswith("a run would have to load its world, which would destroy them")
    client(
        server,
        "world.wait_for_tick(5.0)\ncars = world.get_actors().filter('vehicle.*')\n"
        "client.apply_batch_sync([carla.command.DestroyActor(car) for car in cars], False)",
    )


def test_a_server_that_a_run_uses(server, capsys):
    with closing(family(server).make()) as env:
        env.reset(seed=0)
        out, _ = check(capsys, address(server), 2)
        assert out[1].startswith(f"{address(server)} is used already in this process")
        assert broken(drive(env, 2)) == [0.0] * 2


def test_a_server_left_in_synchronous_mode(server, capsys, monkeypatch):
    monkeypatch.setattr(server_check, "PATIENCE", 1.0)
    client(server, SYNCHRONOUS + "world.tick()\nos._exit(0)")
    before = server.state()
    out, _ = check(capsys, address(server), 0)
    assert out[2] == "mode: synchronous, and nobody has ticked it for 1 s: left on by a client that is gone?"
    assert out[3] == "actors, speed: not asked for, because that needs ticks; the next run repairs it"
    assert {**server.state(), "listeners": 0} == {**before, "listeners": 0}, "looking changes nothing"
    client(server, ASYNCHRONOUS)


@pytest.mark.parametrize("where", ["2000", "here:port", "a:2000:3"])
def test_an_address_is_host_and_port(where, capsys):
    _, err = check(capsys, where, 2)
    assert err == [f"pompc: error: {where!r} is no address of a server: give host:port, such as 127.0.0.1:2000"]


def test_a_missing_client(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "carla", None)
    _, err = check(capsys, "127.0.0.1:2000", 2)
    assert len(err) == 1
    assert "pip install 'pompc[carla]'" in err[0]


@pytest.mark.parametrize(
    "words",
    [["carla"], ["carla", "look"], ["carla", "standin", "--port", "-1"], ["carla", "standin", "--port", "70000"]],
)
def test_wrong_words_are_one_line(words, capsys):
    assert cli.main(words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
