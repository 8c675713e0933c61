"""A run that is told to stop writes a checkpoint and says so; a killed one loses nothing that matters."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from small import assert_same, command_line, complete, config
from toy import Toy, run_toy, toy_config

from pompc import cli
from pompc.errors import UserError
from pompc.training.run import run
from pompc.training.stopping import StopRequest

LENGTH = ("steps=1600", "eval.every=800", "checkpoint.every=160")  # 100 batches


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return complete(toy_config(tmp_path_factory.mktemp("whole"), *LENGTH))


def run_held(directory: str, batches: int) -> None:
    """Run, and learn from no further batch before the file ``go`` exists, so that no signal comes too late."""
    learn = Toy.learn

    def held(self, data):
        while self.updates >= batches and not Path(directory, "go").exists():
            time.sleep(0.005)
        return learn(self, data)

    Toy.learn = held  # in this process alone
    run_toy(str(Path(directory, "output")), directory, *LENGTH)


def start(context, directory: Path, batches: int):
    process = context.Process(target=run_held, args=(str(directory), batches))
    process.start()
    return process


def wait_for_rows(directory: Path, rows: int, process) -> None:
    """Wait until the run has written that much of metrics.csv."""
    metrics, deadline = directory / "metrics.csv", time.monotonic() + 60
    while not metrics.exists() or metrics.read_bytes().count(b"\n") <= rows:
        assert process.exitcode is None, f"the run has ended with {process.exitcode}"
        assert time.monotonic() < deadline, "the run does not move"
        time.sleep(0.01)


def status(directory: Path) -> dict:
    return json.loads((directory / "run.json").read_text())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_writes_a_checkpoint_and_the_same_command_continues(number, context, uninterrupted, tmp_path, capsys):
    process = start(context, tmp_path, 90)
    wait_for_rows(tmp_path, 10, process)
    with pytest.raises(UserError, match=rf"in use: already running \(pid {process.pid}\)") as error:
        run(toy_config(tmp_path, *LENGTH))
    assert "\n" not in str(error.value)

    os.kill(process.pid, number)
    (tmp_path / "go").touch()
    process.join(30)
    assert process.exitcode == 130
    known = status(tmp_path)
    assert (known["status"], known["step"] % 16) == ("interrupted", 0)
    lines = (tmp_path / "output").read_text().splitlines()
    assert lines[-1] == f"interrupted at step {known['step']:,}; run the same command to continue"
    assert sum("interrupted" in line for line in lines) == 1

    assert run(toy_config(tmp_path, *LENGTH)) == 0
    assert f"continues at step {known['step']:,}" in capsys.readouterr().out
    assert_same(uninterrupted, tmp_path)
    before = (tmp_path / "checkpoints" / "last.pt").read_bytes()
    assert run(toy_config(tmp_path, *LENGTH)) == 0
    assert capsys.readouterr().out.splitlines() == [f"{tmp_path} is finished (1,600 steps)"]
    assert (tmp_path / "checkpoints" / "last.pt").read_bytes() == before


def test_kills_at_random_moments_change_nothing(context, uninterrupted, tmp_path):
    draw = random.Random(3)
    for kill in range(6):
        # Every kill in its own part of the 100 batches, however fast they are; a checkpoint comes every 10.
        process = start(context, tmp_path, 12 * kill + 6)
        wait_for_rows(tmp_path, 12 * kill, process)
        time.sleep(draw.uniform(0.0, 0.03))
        process.kill()
        process.join(30)
        assert process.exitcode == -signal.SIGKILL
    assert run(toy_config(tmp_path, *LENGTH)) == 0
    assert_same(uninterrupted, tmp_path)


def test_the_command_line_obeys_ctrl_c(context, tmp_path, capsys):
    overrides = [f"run_dir={tmp_path}", "steps=1000000", "eval.episodes=1", "env.time_limit=5", "wandb.mode=disabled"]
    arguments = ["run", "--algo", "ppo", "--env", "acrobot", "algo.batch_size=64", *overrides]
    process = context.Process(target=command_line, args=(arguments, str(tmp_path / "out"), str(tmp_path / "err")))
    process.start()
    try:
        wait_for_rows(tmp_path, 1, process)
        assert cli.main(arguments) == 2
        (refusal,) = capsys.readouterr().err.splitlines()
        os.kill(process.pid, signal.SIGINT)
        process.join(30)
    finally:
        process.kill()
    assert f"already running (pid {process.pid})" in refusal
    assert process.exitcode == 130
    (said,) = (tmp_path / "err").read_text().splitlines()
    assert said.startswith("pompc: stopping after this ")
    assert (tmp_path / "out").read_text().splitlines()[-1].startswith("interrupted at step ")
    assert (tmp_path / "checkpoints" / "last.pt").exists()


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    """A signal during building, before the first batch, is not lost either."""
    stop, before = StopRequest(), signal.getsignal(signal.SIGINT)  # ignored if the tests run in the background
    with stop.listening():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.received
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_directory_is_free_again_when_its_process_is_gone(tmp_path, capsys):
    cfg = config(tmp_path, "mppi", "acrobot", "steps=32", "eval.episodes=1")
    (tmp_path / ".lock").write_text("1")  # the pid of a process that lives, but does not hold the lock
    assert run(cfg) == 0
