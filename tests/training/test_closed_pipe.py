"""A run whose reader goes away (``| head``, a ``tee`` that Ctrl-C ends first) goes on, and stops when it is told to."""

import json
import signal
import subprocess
import sys
import time

import pytest
from small import environment

ARGUMENTS = ("run", "--algo", "ppo", "--env", "acrobot", "algo.batch_size=64", "eval.episodes=1", "env.time_limit=5")


@pytest.mark.parametrize("told", [True, False])
def test_a_run_nobody_reads_goes_on_to_its_end_or_to_ctrl_c(told, tmp_path):
    length = "steps=1000000" if told else "steps=320"
    options = [length, "eval.every=64", "eval.video=false", "wandb.mode=disabled", f"run_dir={tmp_path}"]
    command = [sys.executable, "-m", "pompc", *ARGUMENTS, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        try:
            assert process.stdout.readline()
            process.stdout.close()
            if told:
                wait_for_evaluations(tmp_path / "eval.csv", 4)
                process.send_signal(signal.SIGINT)
            assert process.wait(60) == (130 if told else 0)
            said = process.stderr.read().decode().splitlines()
            assert [line.startswith("pompc: stopping") for line in said] == ([True] if told else [])
        finally:
            process.kill()
    known = json.loads((tmp_path / "run.json").read_text())
    assert known["status"] == ("interrupted" if told else "finished")
    assert known["step"] > 0
    assert (tmp_path / "checkpoints" / "last.pt").exists()


def wait_for_evaluations(file, rows):
    """Wait until so many evaluations are written; each has tried to print a line."""
    deadline = time.monotonic() + 60
    while not file.exists() or file.read_bytes().count(b"\n") <= rows:
        assert time.monotonic() < deadline
        time.sleep(0.02)
