"""``pompc carla check`` says in plain words what is at an address."""

import sys

import pytest
from served import SYNCHRONOUS, address, client, nobody, spawn

from pompc import cli


def check(capsys, where, code):
    """The lines it prints, and those on the error stream."""
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


def test_nothing_there(capsys):
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


def test_a_server_left_in_synchronous_mode(server, capsys):
    client(server, SYNCHRONOUS + spawn("pompc-ego") + spawn("hero", 5) + "world.tick()\nos._exit(0)")
    out, _ = check(capsys, address(server), 0)
    assert out[2] == "mode: synchronous mode was left on by a client that is gone; the next run repairs it"
    assert out[3].startswith("actors of other clients: vehicle.tesla.model3 (id ")
    assert out[3].endswith(", hero)")
    assert out[4] == "actors of an earlier run that did not end properly: 1; the next run removes them"
    assert out[5] == "speed: not measured, because that would disturb them"
    assert server.state()["synchronous"], "looking changes nothing"
    clean = (
        "world.tick()\nclient.apply_batch_sync([carla.command.DestroyActor(a) for a in world.get_actors()], False)\n"
        "s = world.get_settings()\ns.synchronous_mode, s.fixed_delta_seconds = False, None\nworld.apply_settings(s)"
    )
    client(server, clean)


@pytest.mark.parametrize("where", ["2000", "here:port", "a:2000:3"])
def test_an_address_is_host_and_port(where, capsys):
    _, err = check(capsys, where, 2)
    assert err == [f"pompc: error: {where!r} is no address of a server: give host:port, such as 127.0.0.1:2000"]


def test_a_missing_client(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "carla", None)
    _, err = check(capsys, "127.0.0.1:2000", 2)
    assert len(err) == 1
    assert "pip install 'pompc[carla]'" in err[0]


@pytest.mark.parametrize("words", [["carla"], ["carla", "look"], ["carla", "standin", "--port", "-1"]])
def test_wrong_words_are_one_line(words, capsys):
    assert cli.main(words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
