"""A run whose reader goes away (``| head``, a ``tee`` that Ctrl-C ends first) goes on, and stops when it is told to."""

import json
import os
import signal
import subprocess
import sys
import time

from small import command_line, environment

ARGUMENTS = ("run", "--algo", "ppo", "--env", "acrobot", "algo.batch_size=64", "eval.episodes=1", "env.time_limit=5")


def words(directory, steps):
    options = ["eval.every=64", "eval.video=false", "wandb.mode=disabled", f"run_dir={directory}"]
    return [*ARGUMENTS, f"steps={steps}", *options]


def test_a_run_nobody_reads_goes_on_to_its_end(tmp_path):
    command = [sys.executable, "-m", "pompc", *words(tmp_path, 320)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        try:
            assert process.stdout.readline()
            process.stdout.close()
            assert process.wait(60) == 0
            assert process.stderr.read() == b""
        finally:
            process.kill()
    assert status(tmp_path) == "finished"


def test_a_run_nobody_reads_goes_on_to_ctrl_c(context, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    arguments = (words(tmp_path / "run", 1_000_000), str(tmp_path / "pipe"), str(tmp_path / "errors"))
    process = context.Process(target=command_line, args=arguments)
    process.start()
    try:
        with open(tmp_path / "pipe") as output:
            assert output.readline()
        wait_for_evaluations(tmp_path / "run" / "eval.csv", 4)
        os.kill(process.pid, signal.SIGINT)
        process.join(60)
    finally:
        process.kill()
    assert process.exitcode == 130
    (said,) = (tmp_path / "errors").read_text().splitlines()
    assert said.startswith("pompc: stopping")
    assert status(tmp_path / "run") == "interrupted"


def status(directory):
    """Read how a run with a checkpoint ended."""
    known = json.loads((directory / "run.json").read_text())
    assert known["step"] > 0
    assert (directory / "checkpoints" / "last.pt").exists()
    return known["status"]


def wait_for_evaluations(file, rows):
    """Wait until so many evaluations are written; each has tried to print a line."""
    deadline = time.monotonic() + 60
    while not file.exists() or file.read_bytes().count(b"\n") <= rows:
        assert time.monotonic() < deadline
        time.sleep(0.02)
