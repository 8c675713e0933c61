"""Event files for TensorBoard, read back with its own reader."""

import csv
import sys

import pytest
from small import complete, start_and_stop
from toy import toy_config

from pompc.cli import main
from pompc.errors import UserError
from pompc.training import tensorboard_log
from pompc.training.run import run

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
ON = ("tensorboard=true", "steps=192", "eval.every=48")


def events(directory):
    return accumulator.EventAccumulator(str(directory / "tensorboard"), {"scalars": 0, "images": 0}).Reload()


def points(found, name):
    return [(event.step, event.value) for event in found.Scalars(name)]


def column(directory, table, name):
    with open(directory / f"{table}.csv", newline="") as file:
        return [(int(row["step"]), float(row[name])) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never stopped."""
    return complete(toy_config(tmp_path_factory.mktemp("run"), *ON), curve=True)


def test_the_events_are_the_rows_of_the_files_under_the_names_of_wandb(whole):
    found = events(whole)
    for name, table in {"train/loss/policy": "metrics", "eval/reward": "eval", "time/wall_s": "timing"}.items():
        assert points(found, name) == [
            (step, pytest.approx(value, rel=1e-6)) for step, value in column(whole, table, name.partition("/")[2])
        ]
    pictures = found.Images("curve")
    assert [picture.step for picture in pictures] == [0, 48, 96, 144, 192]
    assert (pictures[0].width, pictures[0].height) == (960, 600)


@pytest.mark.parametrize("saved", [True, False], ids=["interrupted", "killed"])
def test_a_resumed_run_has_every_point_once(saved, whole, tmp_path):
    spec = toy_config(tmp_path, *ON)
    start_and_stop(spec, 11, save=saved)
    complete(spec)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    for name in ("train/loss/policy", "eval/reward"):
        assert points(events(tmp_path), name) == points(events(whole), name)


def test_a_run_that_starts_again_begins_its_curves_again(tmp_path):
    spec = toy_config(tmp_path, *ON)
    for _ in range(2):
        start_and_stop(spec, 2, save=False)  # before the first checkpoint
    assert [step for step, _ in points(events(tmp_path), "eval/reward")] == [0]
    assert [step for step, _ in points(events(tmp_path), "train/loss/policy")] == [16]


def test_it_is_off_by_default_and_needs_no_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    complete(toy_config(tmp_path, "steps=32"))
    assert not (tmp_path / "tensorboard").exists()


def test_a_missing_package_is_one_line_before_anything_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tensorboard_log, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^tensorboard=true needs the package tensorboard: pip install 'pompc\[tensor"):
        run(toy_config(tmp_path / "run", *ON))
    assert not (tmp_path / "run" / "metrics.csv").exists()
    command = ["run", "--algo", "ppo", "--env", "acrobot", "tensorboard=true", "wandb.mode=disabled"]
    assert main([*command, f"run_dir={tmp_path}/other"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_switch_does_not_change_which_run_it_is(tmp_path):
    codes = {toy_config(tmp_path, f"tensorboard={switch}").config_hash for switch in ("true", "false")}
    assert len(codes) == 1
