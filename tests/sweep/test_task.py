"""One run as a process: its log, its end, and how it is stopped. The runs are small scripts."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from pompc.sweep.task import Task
from pompc.system.locking import exclusive

SCRIPT = """
import os, pathlib, signal, sys, time
signals = []
signal.signal(signal.SIGINT, lambda number, frame: signals.append(number))
pathlib.Path("ready").touch()
print("words:", *sys.argv[1:], flush=True)
{work}
"""
UNTIL_ASKED = "while len(signals) < {count}: time.sleep(0.01)\nprint('asked', len(signals))\nsys.exit(130)"


@pytest.fixture
def make(tmp_path):
    """Make a task of a script, whose run directory is ``run``."""

    def make(work="", words=("seed=1", "a b")):
        (tmp_path / "script.py").write_text(SCRIPT.format(work=work))
        log, stop = tmp_path / "logs/run.log", tmp_path / "stop"
        return Task(words, tmp_path, tmp_path / "run", log, stop, program=(str(tmp_path / "script.py"),))

    return make


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def in_thread():
    """Run tasks beside the test; return the codes once they have ended."""
    codes, threads = [], []

    def run(task):
        threads.append(threading.Thread(target=lambda: codes.append(task.run())))
        threads[-1].start()

        def code():
            threads[-1].join(20)
            return codes[-1]

        return code

    return run


def test_the_log_has_the_command_and_the_output_of_each_start(make):
    task = make("sys.exit(3)")
    assert task.run() == 3
    assert task.run() == 3
    assert task.log.read_text() == "$ pompc run seed=1 'a b'\nwords: seed=1 a b\n" * 2


@pytest.mark.parametrize("count", [1, 2])
def test_each_request_to_stop_is_passed_on_though_they_come_together(make, in_thread, tmp_path, count):
    task = make(UNTIL_ASKED.format(count=count))
    code = in_thread(task)
    wait_for((tmp_path / "ready").exists)
    task.stop.write_bytes(b"!" * count)
    assert code() == 130
    assert f"asked {count}" in task.log.read_text()


def test_a_task_that_was_asked_to_stop_before_does_not_start(make, tmp_path):
    task = make()
    task.stop.write_bytes(b"!")
    assert task.run() == 130
    assert not (tmp_path / "ready").exists()


def test_a_run_directory_in_use_is_waited_for(make, in_thread, tmp_path):
    task = make()
    (tmp_path / "run").mkdir()
    with exclusive(tmp_path / "run/.lock"):
        code = in_thread(task)
        wait_for(lambda: task.log.exists() and "waiting for process" in task.log.read_text())
        assert not (tmp_path / "ready").exists()
    assert code() == 0


def test_an_exception_here_ends_the_run_before_it_goes_on(make, tmp_path, monkeypatch):
    """submitit ends a job by an exception: the child notices that its standard input has ended."""
    task = make("sys.stdin.read()\npathlib.Path('ended').touch()")

    def leave(process):
        wait_for((tmp_path / "ready").exists)
        raise SystemExit

    with pytest.raises(SystemExit):
        task.run(leave)
    assert (tmp_path / "ended").exists()


def test_the_real_child_stops_when_its_parent_is_gone():
    command = [sys.executable, "-m", "pompc.sweep.child", "carla", "standin", "--port", "0"]
    pytest.importorskip("msgpack")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        assert child.stdout is not None
        assert child.stdout.readline()
        assert child.poll() is None
        child.stdin.close()  # pyright: ignore
        assert child.wait(20) in (0, -signal.SIGTERM)


def test_a_killed_parent_takes_its_run_along(make, tmp_path):
    work = "pathlib.Path('pid').write_text(str(os.getpid()))\nsys.stdin.read()\npathlib.Path('ended').touch()"
    task = make(work)
    code = f"from pathlib import Path, PosixPath\nfrom pompc.sweep.task import Task\n{task!r}.run()"
    parent = subprocess.Popen([sys.executable, "-c", code])
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_for((tmp_path / "ended").exists)


def test_a_run_directory_that_is_taken_during_the_start_is_waited_for(make, in_thread, tmp_path):
    """Two sweeps that start the same run at the same time both find its directory free."""
    work = "if not pathlib.Path('first').exists(): pathlib.Path('first').touch(); time.sleep(0.3); sys.exit(2)"
    task = make(work)
    (tmp_path / "run").mkdir()
    code = in_thread(task)
    wait_for((tmp_path / "first").exists)
    with exclusive(tmp_path / "run/.lock"):
        wait_for(lambda: "waiting for process" in task.log.read_text())
    assert code() == 0
    assert task.log.read_text().count("words: ") == 2
