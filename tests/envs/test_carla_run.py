"""`pompc run` over CARLA stand-ins: it ends, is stopped, and outlives its server; nothing stays behind."""

import json
import signal
import subprocess
import time

import pytest
from served import quiet, rows, run_command


def start(directory, servers, *overrides):
    """The run as a process."""
    command = run_command(directory, servers, *overrides)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=quiet(), text=True, **pipes)


def wait_for_rows(process, directory, count):
    """Until the run has written so many rows of metrics."""
    deadline = time.monotonic() + 60
    while len(rows(directory / "metrics.csv")) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def assert_clean(server):
    """No actors, and nobody waits for a tick."""
    state = server.state()
    assert state["actors"] == ["spectator"], state
    assert not state["synchronous"], state


def test_it_trains_and_evaluates_on_two_servers(servers, tmp_path):
    process = start(tmp_path, servers, "steps=192")
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert [row["step"] for row in rows(tmp_path / "metrics.csv")] == ["64", "128", "192"]
    assert len(rows(tmp_path / "eval_episodes.csv")) == 2 * 3
    for server in servers:
        assert_clean(server)


def test_an_interrupt_saves_the_run_and_leaves_the_server_as_it_was(server, tmp_path):
    process = start(tmp_path, [server], "steps=100000")
    wait_for_rows(process, tmp_path, 2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert (tmp_path / "checkpoints" / "last.pt").exists()
    assert_clean(server)


def test_a_server_that_dies_and_comes_back_costs_an_episode(server, tmp_path):
    process = start(tmp_path, [server], "steps=640", "eval.at_start=false")
    wait_for_rows(process, tmp_path, 2)
    server.kill()
    time.sleep(0.5)
    server.restart()
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert sum(float(row["broken"]) for row in rows(tmp_path / "metrics.csv")) >= 1
    assert_clean(server)


@pytest.mark.timeout(150)
def test_a_server_that_is_gone_ends_the_run_which_goes_on_later(server, tmp_path):
    process = start(tmp_path, [server], "steps=320", "eval.at_start=false")
    wait_for_rows(process, tmp_path, 2)
    server.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2, errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith(f"pompc: error: the CARLA server at {server.host}:{server.port} has failed 3 times in a row")
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "interrupted"
    server.restart()
    process = start(tmp_path, [server], "steps=320", "eval.at_start=false")
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert rows(tmp_path / "metrics.csv")[-1]["step"] == "320"
    assert_clean(server)
