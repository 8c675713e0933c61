"""The wandb run: what it is called, what it holds, and that a resumed run repeats nothing in it."""

import csv
import threading
from pathlib import Path

import pytest
from small import complete, start_and_stop
from toy import toy_config
from wandb_files import config, history, of_kind, parts, summary

from pompc import __version__
from pompc.training.metric_names import METRICS
from pompc.training.wandb_log import run_group, wandb_mode

OFFLINE = ("wandb.mode=offline", "steps=192", "eval.every=48", "seed=2")


def column(run: Path, table: str, name: str) -> list[float]:
    with open(run / f"{table}.csv", newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


def logged(rows: list[dict], name: str) -> list[tuple[float, float]]:
    """Collect where a name was logged: environment steps and values."""
    return [(row["env_step"], row[name]) for row in rows if name in row]


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A run that was never stopped: its directory, its wandb file and the threads that it left behind."""
    before = set(threading.enumerate())
    run = complete(toy_config(tmp_path_factory.mktemp("run"), *OFFLINE, "wandb.tags=[night]"))
    left = [one for one in threading.enumerate() if not one.daemon and one not in before]
    (file,) = parts(run)
    return run, file, left


@pytest.fixture(scope="module")
def finished(ended):
    """The directory and the wandb file of a run that was never stopped."""
    return ended[:2]


def test_the_run_is_named_grouped_and_tagged(finished):
    run, file = finished
    (record,) = of_kind(file, "run")
    code = config(file)["config_hash"]
    assert record.display_name == f"toy-point-{code}-2"
    assert (record.run_group, record.job_type, record.project) == (f"toy/point/{code}", "train", "pompc")
    assert list(record.tags) == ["toy", "point", f"pompc-{__version__}", "night"]
    assert record.run_id == (run / "wandb" / "run_id").read_text()


def test_a_group_of_ones_own_comes_first():
    who = {"algo": "a", "env": "b", "config_hash": "c", "seed": 1}
    assert [run_group(who, group) for group in (None, "mine")] == ["a/b/c", "mine"]


def test_the_configuration_is_nested_and_says_by_what_to_group(finished):
    values = config(finished[1])
    assert (values["algorithm"], values["environment"], values["version"]) == ("toy", "point", __version__)
    assert (values["eval"]["episodes"], values["algo"]["name"], values["num_envs"]) == (3, "toy", 4)


def test_every_row_has_all_axes_and_its_numbers_are_those_of_the_files(finished):
    run, file = finished
    rows = history(file)
    assert [row["env_step"] for row in rows] == [row["_step"] for row in rows] == list(range(0, 193, 16))
    assert all({"time/wall_s", "time/model_steps"} <= row.keys() for row in rows)
    assert [value for _, value in logged(rows, "eval/reward")] == column(run, "eval", "reward")
    assert [step for step, _ in logged(rows, "eval/reward")] == column(run, "eval", "step")
    assert [value for _, value in logged(rows, "train/loss/policy")] == column(run, "metrics", "loss/policy")
    assert [value for _, value in logged(rows, "time/env_steps_per_s")] == column(run, "timing", "env_steps_per_s")
    assert len(logged(rows, "curve/path")) == 5


def test_the_summary_tells_the_best_and_the_last_evaluation_and_the_speed(finished):
    run, file = finished
    rewards, steps = column(run, "eval", "reward"), column(run, "eval", "step")
    found, best = summary(file), rewards.index(max(rewards))
    assert best not in (0, len(rewards) - 1), "another seed is needed"
    assert (found["best/reward"], found["best/env_step"]) == (rewards[best], steps[best])
    assert (found["final/reward"], found["final/env_step"]) == (rewards[-1], 192)
    assert found["eval/reward"] == {"max": max(rewards), "last": rewards[-1]}
    seconds = column(run, "timing", "wall_s")[-1]
    assert (found["final/wall_s"], found["final/env_steps_per_s"]) == (seconds, 192 / seconds)
    assert (found["final/kl_weight"], found["final/virtual_ratio"]) == (0, 0)
    assert {name for name in found if name.startswith(("best/", "final/"))} <= METRICS.keys()


def test_wandb_knows_which_value_is_the_best_and_over_what_to_draw(finished):
    metrics = {metric.name or metric.glob_name: metric for metric in of_kind(finished[1], "metric")}
    assert (metrics["*"].step_metric, metrics["eval/reward"].step_metric) == ("env_step", "env_step")
    assert (metrics["eval/reward"].summary.max, metrics["eval/reward"].summary.last) == (True, True)
    assert (metrics["eval/cost"].summary.min, metrics["eval/cost"].summary.max) == (True, False)


def test_there_are_system_figures_and_nothing_goes_on_after_the_end(ended):
    _, file, threads = ended
    keys = {item.key for record in of_kind(file, "stats") for item in record.item}
    assert "memory_percent" in keys
    assert threads == []
    assert of_kind(file, "exit")[0].exit_code == 0


@pytest.mark.parametrize("saved", [True, False], ids=["interrupted", "killed"])
def test_a_resumed_run_logs_nothing_twice_and_leaves_nothing_out(saved, finished, tmp_path):
    """A kill loses what came after the checkpoint of step 128: the run makes it again, and wandb has it already."""
    spec = toy_config(tmp_path, *OFFLINE)
    start_and_stop(spec, 11, save=saved)
    assert column(tmp_path, "eval", "step")[-1] == 144, "an evaluation after the checkpoint"
    complete(spec)
    first, second = map(history, parts(tmp_path))
    assert of_kind(parts(tmp_path)[1], "run")[0].run_id == of_kind(parts(tmp_path)[0], "run")[0].run_id
    whole = history(finished[1])
    for name in ("train/loss/policy", "eval/reward"):
        assert logged([*first, *second], name) == logged(whole, name), name
    assert [step for step, _ in logged([*first, *second], "curve/path")] == [
        step for step, _ in logged(whole, "curve/path")
    ]
    steps = [row["_step"] for row in [*first, *second]]
    assert steps == sorted(set(steps)), "wandb sync appends parts whose steps go on"


def test_a_picture_below_the_step_of_a_resumed_run_is_not_lost(tmp_path, monkeypatch):
    """Wandb continues one step after the last and drops what lies before it."""
    import wandb

    sent = []

    class Run:
        step, summary = 321, {}

        def log(self, row, step):
            sent.append((row["env_step"], step))

        def define_metric(self, *_, **__): ...

        def finish(self): ...

    monkeypatch.setattr(wandb, "init", lambda **_: Run())
    complete(toy_config(tmp_path, "steps=32", "eval.every=1000", "eval.at_start=false", "wandb.mode=online"))
    assert sent
    assert all(place == 321 and step <= 32 for step, place in sent)


def test_a_run_that_never_finished_takes_no_rows_of_the_next_one(tmp_path, request):
    """As when wandb failed in the middle, and its run was left alone."""
    import wandb

    left = wandb.init(mode="offline", dir=str(tmp_path), settings=wandb.Settings(silent=True, console="off"))
    request.addfinalizer(left.finish)
    (file,) = parts(complete(toy_config(tmp_path / "run", *OFFLINE)))
    assert [row["env_step"] for row in history(file) if "eval/reward" in row] == [0, 48, 96, 144, 192]


def test_a_new_start_in_the_same_directory_is_another_run(tmp_path):
    spec = toy_config(tmp_path, *OFFLINE)
    for _ in range(2):
        start_and_stop(spec, 2, save=False)  # before the first checkpoint
    first, second = parts(tmp_path)
    assert of_kind(first, "run")[0].run_id != of_kind(second, "run")[0].run_id
    assert [row["env_step"] for row in history(first)] == [row["env_step"] for row in history(second)] == [0, 16]


@pytest.mark.parametrize(
    ("environment", "netrc", "mode"),
    [
        ({}, "", "offline"),
        ({"WANDB_API_KEY": "x"}, "", "online"),
        ({}, "machine api.wandb.ai login user password x\n", "online"),
        ({}, "machine elsewhere.org login user password x\n", "offline"),
        ({"WANDB_BASE_URL": "https://wandb.here.org"}, "machine wandb.here.org login u password x\n", "online"),
        ({"WANDB_MODE": "disabled", "WANDB_API_KEY": "x"}, "", "disabled"),
        ({}, "not a netrc file", "offline"),
    ],
)
def test_wandb_is_online_only_with_a_login(environment, netrc, mode, tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "netrc").write_text(netrc)
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert wandb_mode("auto") == mode
    assert wandb_mode("disabled") == "disabled"
    assert wandb_mode("offline") == "offline"
