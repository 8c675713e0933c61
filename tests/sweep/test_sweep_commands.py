"""``pompc sweep`` from its words to its exit code, with runs that end at once."""

import csv
import os
import signal
import sys
import time

import pytest
import yaml
from sweeping import RUN, InstantLauncher

from pompc.cli import main
from pompc.sweep import launchers
from pompc.sweep.folder import SweepFolder
from pompc.system.locking import exclusive

pytestmark = pytest.mark.usefixtures("elsewhere")


def sweep(*words):
    return main(["sweep", *RUN, "--name", "mine", *words])


def status(name="mine"):
    with open(f"sweeps/{name}/status.csv", newline="") as file:
        return {row["run"]: row for row in csv.DictReader(file)}


def test_every_combination_is_run_once_and_the_folder_says_so(use, tmp_path, capsys):
    launcher = use(InstantLauncher())
    assert sweep("seed=0,1", "planner.horizon=3,3,4") == 0
    assert len(launcher.done) == len(set(launcher.done)) == 4
    assert launcher.closed == 1
    content = yaml.safe_load((tmp_path / "sweeps/mine/sweep.yaml").read_text())
    assert content["words"] == ["algo=mppi", "env=linear_system", "steps=100", "seed=0,1", "planner.horizon=3,3,4"]
    assert len(content["versions"]) == 1
    assert all((tmp_path / run / "run.json").exists() for run in content["runs"])
    assert set(status()) == {f"seed={seed} planner.horizon={horizon}" for seed in (0, 1) for horizon in (3, 4)}
    row = status()["seed=0 planner.horizon=3"]
    assert (row["state"], row["exit_code"], row["step"], row["return"]) == ("done", "0", "100", "1")
    output = capsys.readouterr().out
    assert "4 runs (2 combinations mean the same as others), 1 at a time" in output
    assert output.endswith("pompc compare sweeps/mine\n")
    assert "\x1b" not in output, "no terminal, no control codes"


def test_the_same_command_runs_nothing_again(use, capsys):
    use(InstantLauncher())
    assert sweep("seed=0,1") == 0
    launcher = use(InstantLauncher())
    assert sweep("seed=0,1") == 0
    assert launcher.done == []
    assert "2 are finished" in capsys.readouterr().out


def test_another_sweep_does_not_run_the_finished_runs_of_the_first(use):
    use(InstantLauncher())
    sweep("seed=0,1")
    launcher = use(InstantLauncher())
    assert main(["sweep", *RUN, "seed=0,1,2"]) == 0
    assert [words[-1] for words in launcher.done] == ["seed=2"]


def test_a_failed_run_is_said_with_its_log_and_does_not_stop_the_others(use, capsys):
    use(InstantLauncher(act=lambda task, number: 7 if "seed=1" in task.words else None))
    assert sweep("seed=0,1,2") == 1
    assert {row["state"] for row in status().values()} == {"done", "failed"}
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("failed: ")]
    assert "seed=1 (exit code 7; log sweeps/mine/logs/mppi-linear_system-seed1-" in line
    assert line.endswith("last words")
    again = use(InstantLauncher())
    assert sweep("seed=0,1,2") == 0
    assert [words[-1] for words in again.done] == ["seed=1"], "the same command tries it again"


def test_an_error_of_a_cluster_fails_its_run_alone_and_stands_in_the_log(use, capsys):
    def act(task, number):
        if number == 1:
            raise ConnectionError("the node is gone")

    use(InstantLauncher(act=act))
    assert sweep("seed=0,1") == 1
    output = capsys.readouterr().out
    assert "failed: seed=0 (not run; log " in output
    assert "ConnectionError: the node is gone" in output
    assert sorted(row["state"] for row in status().values()) == ["done", "failed"]


def wait_for_requests(task, count):
    while task.asked < count:
        time.sleep(0.01)


def test_ctrl_c_asks_the_running_runs_and_leaves_the_waiting_ones(use, capsys):
    def act(task, number):
        os.kill(os.getpid(), signal.SIGINT)
        wait_for_requests(task, 1)
        return 130

    launcher = use(InstantLauncher(act=act))
    assert sweep("seed=0,1,2") == 130
    assert len(launcher.done) == 1
    assert {row["state"] for row in status().values()} == {"stopped", "waiting"}
    assert "run the same command to continue" in capsys.readouterr().out
    assert not SweepFolder("mine", "").stop.exists(), "the next start is not stopped by it"
    use(InstantLauncher())
    assert sweep("seed=0,1,2") == 0


def test_another_ctrl_c_asks_again(use):
    def act(task, number):
        os.kill(os.getpid(), signal.SIGINT)
        wait_for_requests(task, 1)
        os.kill(os.getpid(), signal.SIGINT)
        wait_for_requests(task, 2)
        return 130

    use(InstantLauncher(act=act))
    assert sweep("seed=0") == 130


def test_a_second_start_of_a_running_sweep_says_so(use, capsys):
    launcher = use(InstantLauncher())
    folder = SweepFolder("mine", "")
    folder.path.mkdir(parents=True)
    with exclusive(folder.path / ".lock"):
        assert sweep("seed=0") == 2
    assert f"sweeps/mine is running (pid {os.getpid()})" in capsys.readouterr().err
    assert launcher.done == []


def test_the_name_of_another_sweep_is_refused(use, capsys):
    use(InstantLauncher())
    sweep("seed=0")
    assert sweep("seed=0,1") == 2
    assert "sweeps/mine is another sweep" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=0,1", "planner.horizn=3"], "did you mean 'planner.horizon'? (in seed=0)"),
        (["planner.horizon=3,0"], "planner.horizon must be positive, not 0 (in planner.horizon=0)"),
        (["--algo", "ppo,mpi"], "unknown algorithm 'mpi'; did you mean 'mppi'?"),
        (["kl_weight=0,0.5"], "kl_weight must be 0: mppi learns neither a policy nor values (in kl_weight=0.5)"),
        (["steps=100,200"], "would write to the same directory"),
        (["seed=0,1", "run_dir=here"], "would write to the same directory here"),
        (["--name", "a/b"], "--name 'a/b'"),
        (["--jobs", "0"], "not a whole number of at least 1"),
    ],
)
def test_what_is_wrong_with_any_run_is_one_line_and_nothing_starts(use, words, message, tmp_path, capsys):
    launcher = use(InstantLauncher())
    assert sweep(*words) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert launcher.done == []
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_lists_commands_that_resolve_to_the_named_directories(tmp_path, capsys):
    assert sweep("seed=0,1", "planner.horizon=4", "--dry-run") == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == "sweeps/mine: 2 runs"
    for line in lines:
        command, _, directory = line.partition("  # ")
        assert main(["show", *command.split()[2:]]) == 0
        assert capsys.readouterr().out.startswith(f"# run directory: {directory}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("words", "extra"), [(["launcher=ray"], "ray"), (["launcher=slurm"], "slurm")])
def test_a_missing_extra_is_named(monkeypatch, words, extra, capsys):
    monkeypatch.setattr(launchers, "find_spec", lambda name: None)
    assert sweep("seed=0,1", *words) == 2
    assert f"launcher={extra} needs pip install 'pompc[{extra}]'" in capsys.readouterr().err


def test_a_search_without_optuna_names_the_extra(monkeypatch, capsys):
    monkeypatch.setattr(launchers, "find_spec", lambda name: None)
    assert sweep("planner.horizon=range(3,9)", "search=2") == 2
    assert "search= needs pip install 'pompc[search]'" in capsys.readouterr().err


def test_slurm_without_slurm_is_said_at_once(monkeypatch, capsys):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable))
    assert sweep("launcher=slurm") == 2
    assert "there is no srun here" in capsys.readouterr().err
