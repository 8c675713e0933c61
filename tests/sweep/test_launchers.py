"""Real runs by each launcher."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from pompc.cli import main
from pompc.sweep.options import SlurmConfig, SweepConfig
from pompc.sweep.task import Task

SMALL = (
    *("--algo", "mppi", "--env", "linear_system", "steps=64", "num_envs=2", "algo.batch_size=32", "eval.every=64"),
    *("eval.episodes=2", "eval.video=false", "wandb.mode=disabled", "planner.horizon=3", "planner.num_samples=8"),
    *("env.time_limit=12", "--name", "mine"),
)


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def logs():
    return [file.read_text() for file in Path("sweeps/mine/logs").iterdir()]


def test_a_process_of_this_machine_does_the_run_that_its_words_say(capsys):
    assert main(["sweep", *SMALL, "seed=1"]) == 0
    (log,) = logs()
    assert "finished: " in log
    assert main(["run", *SMALL[:-2], "--seed", "1"]) == 0
    assert "is finished (64 steps)" in capsys.readouterr().out, "the run is that of the same words"


def test_slurm_s_stand_in_does_a_run(capsys):
    pytest.importorskip("submitit")
    assert main(["sweep", *SMALL, "launcher=slurm", "slurm.cluster=local"]) == 0
    assert "finished: " in logs()[0]
    assert list(Path("sweeps/mine/submitit").glob("*_result.pkl"))


SAVING = """
import os, pathlib, signal, sys, time
if pathlib.Path("saved").exists():
    sys.exit(0)
def save(number, frame):
    time.sleep(0.5)
    pathlib.Path("saved").touch()
    sys.exit(130)
signal.signal(signal.SIGINT, save)
pathlib.Path("parent").write_text(str(os.getppid()))
pathlib.Path("ready").touch()
while True:
    time.sleep(0.01)
"""


def test_a_preempted_job_saves_its_run_and_is_queued_again(tmp_path):
    submitit = pytest.importorskip("submitit")
    from pompc.sweep.launchers.slurm import SlurmLauncher, SlurmTask

    (tmp_path / "script.py").write_text(SAVING)
    task = Task((), tmp_path, Path("run"), tmp_path / "log", tmp_path / "stop", (str(tmp_path / "script.py"),))
    launcher = SlurmLauncher(SweepConfig(slurm=SlurmConfig(cluster="local", minutes=5)), tmp_path)
    job = launcher._executor.submit(SlurmTask(task, 20.0))
    assert isinstance(job, submitit.Job)
    _wait_for((tmp_path / "ready").exists)
    os.kill(int((tmp_path / "parent").read_text()), signal.SIGUSR2)  # as Slurm does
    assert job.result() == 0, "the second start of the job saw what the first one had saved"
    assert task.log.read_text().count("$ pompc run") == 2


def test_ray_does_a_run_and_stops_another(tmp_path, capfd):
    pytest.importorskip("ray")
    pytest.importorskip("msgpack")
    assert main(["sweep", *SMALL, "launcher=ray"]) == 0
    assert "finished: " in logs()[0]
    from pompc.sweep.launchers.ray import RayLauncher

    program = ("-m", "pompc.sweep.child", "carla", "standin", "--port", "0")
    task = Task((), tmp_path, Path("run"), tmp_path / "log", tmp_path / "stop", program)
    launcher = RayLauncher(SweepConfig(), tmp_path)
    try:
        codes = []
        thread = threading.Thread(target=lambda: codes.append(launcher.run(task)))
        thread.start()
        _wait_for(lambda: task.log.exists() and "ready" in task.log.read_text())
        task.stop.write_bytes(b"!")
        thread.join(30)
        assert codes == [0], "it stopped by itself: no signal killed it"
    finally:
        launcher.close()


def _wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
