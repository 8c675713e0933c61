"""A search by Optuna, with runs that end at once and returns that are functions of the values."""

import json
import math
import os
import signal
import time

import pytest
from sweeping import RUN, InstantLauncher, write_csv

from pompc.cli import main

optuna = pytest.importorskip("optuna")

RANGES = ("planner.horizon=interval(2,9)", "planner.temperature=tag(log,interval(1e-2,1))")
pytestmark = pytest.mark.usefixtures("elsewhere")


def sweep(*words):
    return main(["sweep", *RUN, "--name", "mine", *words])


def trials():
    backend = optuna.storages.journal.JournalFileBackend("sweeps/mine/search.journal")
    storage = optuna.storages.JournalStorage(backend)
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).trials


def states():
    return [trial.state.name for trial in trials()]


def test_the_best_trial_is_the_one_with_the_largest_return(use, capsys):
    use(InstantLauncher(returns=lambda values: -float(values["planner"]["temperature"])))
    assert sweep("planner.temperature=tag(log,interval(1e-3,1))", "search=4") == 0
    best = min(trials(), key=lambda trial: trial.params["planner.temperature"])
    assert [trial.value for trial in trials()] == [-trial.params["planner.temperature"] for trial in trials()]
    output = capsys.readouterr().out
    assert f"best: {best.value:.6g} in trial {best.number}\n" in output
    assert f"planner.temperature={best.params['planner.temperature']!r} seed=0  # runs/" in output


def test_drawn_values_lie_in_their_ranges_and_are_whole_where_the_option_is(use):
    launcher = use(InstantLauncher())
    assert sweep(*RANGES, "planner.num_samples=range(16,21,2)", "planner.noise=white,coloured", "search=4") == 0
    for trial in trials():
        assert isinstance(trial.params["planner.horizon"], int)
        assert 2 <= trial.params["planner.horizon"] <= 9
        assert 1e-2 <= trial.params["planner.temperature"] <= 1
        assert trial.params["planner.num_samples"] in (16, 18, 20)
        assert trial.params["planner.noise"] in ("white", "coloured")
    assert len(set(launcher.done)) == 4


def test_a_trial_is_the_mean_over_its_seeds(use):
    launcher = use(InstantLauncher(returns=lambda values: float(values["seed"] * 10 + values["planner"]["horizon"])))
    assert sweep("planner.horizon=3,5", "seed=0,1,2", "search=2") == 0
    assert len(launcher.done) in (3, 6), "both trials may draw the same value"
    for trial in trials():
        assert trial.value == 10 + int(trial.params["planner.horizon"])


def test_trials_with_the_same_values_share_their_runs(use):
    """A launcher that is asked twice for one run would start a second process in its directory."""

    def act(task, number):
        time.sleep(0.3)
        task.directory.mkdir(parents=True, exist_ok=True)
        write_csv(task.directory / "eval.csv", [{"step": 100, "reward": 1.0}])
        return 0

    launcher = use(InstantLauncher(act=act, jobs=4))
    assert sweep("planner.horizon=3,5", "search=4") == 0
    assert states() == ["COMPLETE"] * 4
    assert len(launcher.done) == len(set(launcher.done)) <= 2


@pytest.mark.parametrize(("objective", "value"), [("last", 1.0), ("best", 5.0)])
def test_the_objective_is_the_last_or_the_best_evaluation(use, objective, value):
    def returns(values):
        return 1.0

    class Launcher(InstantLauncher):
        def run(self, task):
            code = super().run(task)
            write_csv(task.directory / "eval.csv", [{"step": 0, "reward": 5.0}, {"step": 100, "reward": 1.0}])
            return code

    use(Launcher(returns=returns))
    assert sweep(*RANGES, "search=1", f"objective={objective}") == 0
    assert [trial.value for trial in trials()] == [value]


def test_a_larger_search_continues_the_smaller_one_with_new_draws(use, tmp_path):
    use(InstantLauncher())
    assert sweep(*RANGES, "search=2") == 0
    before = [trial.params for trial in trials()]
    launcher = use(InstantLauncher())
    assert sweep(*RANGES, "search=4") == 0
    after = [trial.params for trial in trials()]
    assert after[:2] == before
    assert len({json.dumps(params) for params in after}) == 4
    assert len(launcher.done) == 2
    launcher = use(InstantLauncher())
    assert sweep(*RANGES, "search=4") == 0
    assert launcher.done == []


def test_a_stopped_trial_goes_on_with_its_values(use):
    def act(task, number):
        if number == 2:
            os.kill(os.getpid(), signal.SIGINT)
            while not task.asked:
                pass
            return 130

    first = use(InstantLauncher(act=act))
    assert sweep(*RANGES, "search=3") == 130
    assert states() == ["COMPLETE", "RUNNING"]
    second = use(InstantLauncher())
    assert sweep(*RANGES, "search=3") == 0
    assert second.done[0] == first.done[1], "the same words, and so the same run"
    assert states() == ["COMPLETE"] * 3


def test_a_failed_trial_is_said_and_tried_again_by_the_same_command(use, capsys):
    first = use(InstantLauncher(act=lambda task, number: 1 if number == 1 else None))
    assert sweep(*RANGES, "search=2") == 1
    assert states() == ["FAIL", "COMPLETE"]
    assert "failed: " in capsys.readouterr().out
    second = use(InstantLauncher())
    assert sweep(*RANGES, "search=2") == 0
    assert second.done == [first.done[0]]
    assert states() == ["FAIL", "COMPLETE", "COMPLETE"]


def test_a_trial_without_a_return_fails_and_is_said(use, capsys):
    use(InstantLauncher(returns=lambda values: math.nan))
    assert sweep(*RANGES, "search=1") == 1
    assert states() == ["FAIL"]
    assert "has no return that is a number" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["planner.horizon=interval(0,9)", "search=2"], "planner.horizon must be positive"),
        (["planner.horizn=interval(1,9)", "search=2"], "did you mean 'planner.horizon'?"),
        (["planner.noise=white,brown", "search=2"], "must be one of"),
    ],
)
def test_the_ends_of_a_range_are_checked_before_the_first_trial(use, words, message, tmp_path, capsys):
    launcher = use(InstantLauncher())
    assert sweep(*words) == 2
    assert message in capsys.readouterr().err
    assert launcher.done == []
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_what_is_searched(capsys):
    assert sweep(*RANGES, "seed=0,1", "search=7", "--dry-run") == 0
    title, searched, fixed = capsys.readouterr().out.splitlines()
    assert title == "sweeps/mine: 7 trials of 2 runs each"
    assert "interval(2,9)" in searched
    assert fixed == "in all: algo=mppi env=linear_system steps=100"
