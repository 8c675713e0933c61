"""Rows of metrics: several calls of ``learn`` make one; pending updates make none."""

import csv
import math

import pytest
import small
import torch
from small import start_and_stop
from toy import Toy, toy_config

from pompc.errors import NonFiniteError
from pompc.metrics import mean_metrics
from pompc.training import session


def rows(directory):
    with open(directory / "metrics.csv") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def test_metrics_are_averaged_over_the_calls_that_report_them():
    calls = [
        {"a": 1.0, "d": 3},
        {"a": torch.tensor(2.0), "b": 5.0, "d": 4},
        {"a": 6.0, "b": torch.tensor(7.0, requires_grad=True).detach(), "d": 5},
    ]
    assert mean_metrics(calls) == {"a": 3.0, "d": 4.0, "b": 6.0}
    assert all(type(value) is float for value in mean_metrics(calls).values())
    assert mean_metrics([{"x": 2.5}]) == {"x": 2.5}
    assert mean_metrics(calls, last=("d", "b")) == {"a": 3.0, "d": 5.0, "b": 7.0}


def test_means_do_not_lose_digits_nor_hide_what_is_infinite():
    large = [{"x": 1e8 + i} for i in range(4)]  # float32 has steps of 8 there
    assert mean_metrics(large)["x"] == 1e8 + 1.5
    assert mean_metrics([{"x": 1.0}, {"x": math.inf}])["x"] == math.inf


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """18 batches of 16 steps, a row for each."""
    directory = tmp_path_factory.mktemp("alone")
    start_and_stop(toy_config(directory, "steps=288"), 1000)
    return directory


@pytest.mark.parametrize("batches", [2, 3])
def test_a_row_of_several_batches_is_their_sum_and_mean(batches, alone, tmp_path, monkeypatch):
    monkeypatch.setattr(Toy, "batches_per_row", property(lambda self: batches))
    start_and_stop(toy_config(tmp_path, "steps=288"), 1000)
    whole, parts = rows(tmp_path), rows(alone)
    assert [row["step"] for row in whole] == [16 * batches * (i + 1) for i in range(18 // batches)]
    for index, row in enumerate(whole):
        those = parts[batches * index : batches * (index + 1)]
        assert row["episodes"] == sum(part["episodes"] for part in those)
        assert row["updates"] == those[-1]["updates"]
        assert row["cost_per_step"] == pytest.approx(sum(part["cost_per_step"] for part in those) / batches)
        assert ("return" in row) is (row["episodes"] > 0)
        if row["episodes"]:
            returns = sum(part["return"] * part["episodes"] for part in those if part["episodes"])
            assert row["return"] == pytest.approx(returns / row["episodes"])
    ends = [small.final_state(run) for run in (alone, tmp_path)]
    assert small.differences(ends[0]["agent"], ends[1]["agent"]) == []  # how rows are cut changes no learning


def pending_after(monkeypatch, every, updates):
    """Toys that have ``updates`` pending after every ``every``-th call of ``learn`` and make two of them at a time."""
    learn, log = Toy.learn, []

    def learns(self, data):
        row = learn(self, data)
        self.pending = updates if self.updates % every == 0 else 0
        log.append("learn")
        return row

    def catches_up(self):
        assert self.pending > 0
        self.pending = max(self.pending - 2, 0)
        log.append("catch up")

    monkeypatch.setattr(Toy, "learn", learns)
    monkeypatch.setattr(Toy, "catch_up", catches_up)
    monkeypatch.setattr(Toy, "pending_updates", property(lambda self: getattr(self, "pending", 0)))
    return log


def test_pending_updates_are_made_before_the_next_step_and_end_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr(Toy, "batches_per_row", property(lambda self: 3))
    log = pending_after(monkeypatch, every=4, updates=5)
    seen = start_and_stop(toy_config(tmp_path, "steps=160", "eval.every=1000"), 1000, save=False)
    burst = ["learn"] * 4 + ["catch up"] * 3
    assert log == burst + burst + ["learn"] * 3  # the third row is full after three: 11 batches of 16 steps
    assert [row["step"] for row in rows(tmp_path)] == [48, 64, 112, 128, 176]
    # The call counts, not the catching up; a row has the last call's count.
    assert [row["updates"] for row in rows(tmp_path)] == [3, 4, 7, 8, 11]
    assert [(record.step, record.pending_updates) for record in seen] == [
        *[(0, 0), (48, 0), (64, 5), (64, 3), (64, 1), (64, 0)],
        *[(112, 0), (128, 5), (128, 3), (128, 1), (128, 0), (176, 0)],
    ]
    assert [bool(record.metrics) for record in seen[1:6]] == [True, True, False, False, False]


def test_a_run_is_over_at_its_last_step_whatever_is_pending(tmp_path, monkeypatch):
    log = pending_after(monkeypatch, every=2, updates=4)
    seen = start_and_stop(toy_config(tmp_path, "steps=32"), 1000, save=False)
    assert log == ["learn", "learn"]
    assert (seen[-1].step, seen[-1].pending_updates) == (32, 4)
    assert seen[-1].evaluation is not None


def test_evaluations_and_checkpoints_come_once_while_updates_are_pending(tmp_path, monkeypatch):
    """A step that is passed by collecting is not passed again by catching up."""
    pending_after(monkeypatch, every=2, updates=6)
    cfg = toy_config(tmp_path, "steps=160", "eval.every=32", "checkpoint.every=32")
    saves, save = [], session.Session.save
    monkeypatch.setattr(
        session.Session, "save", lambda self, **of: saves.append((self.counters.step, of["last"])) or save(self, **of)
    )
    seen = start_and_stop(cfg, 1000, save=False)
    assert [record.step for record in seen if record.evaluation] == [0, 32, 64, 96, 128, 160]
    assert [step for step, last in saves if last] == [32, 64, 96, 128, 160]


def test_a_bad_number_while_catching_up_leaves_its_evidence(tmp_path, monkeypatch):
    pending_after(monkeypatch, every=2, updates=4)

    def fails(self):
        raise NonFiniteError("model loss", "here")

    monkeypatch.setattr(Toy, "catch_up", fails)
    with pytest.raises(NonFiniteError, match="model loss") as caught:
        start_and_stop(toy_config(tmp_path), 1000, save=False)
    assert "began at environment step 32" in caught.value.__notes__[0]
    assert (tmp_path / "crash" / "step_32.pt").exists()


@pytest.mark.parametrize(("envs", "expected"), [(2, [8, 16, 24, 28, 32, 40, 48]), (3, [9, 18, 24, 27, 33, 42, 48])])
def test_rows_of_off_policy_agents_end_at_multiples_of_log_every(envs, expected, tmp_path):
    """The burst of 10 updates begins with the first step beyond 26 transitions and is made 8 at a time."""
    options = (f"num_envs={envs}", "steps=48", "eval.every=1000", "eval.episodes=1")
    cfg = small.config(
        tmp_path, "tdmpc2", "dmc/cartpole-swingup", *options, "env.action_repeat=1", "env.episode_frames=8"
    )
    seen = start_and_stop(cfg, 1000, save=False)
    table = rows(tmp_path)
    assert [row["step"] for row in table] == expected
    assert "model_loss" not in table[0]
    assert math.isfinite(table[-1]["model_loss"])
    assert [record.step for record in seen if record.step and not record.metrics] == [expected[3]]
    began = {2: 28, 3: 27}[envs]  # afterwards one update per two transitions
    assert small.final_state(tmp_path)["training"]["updates"] == 10 + (expected[-1] - began) // 2


def test_the_evaluation_before_training_can_be_spared(tmp_path):
    without = small.complete(small.config(tmp_path / "a", "mppi", "acrobot", "steps=64", "eval.at_start=false"))
    with_it = small.complete(small.config(tmp_path / "b", "mppi", "acrobot", "steps=64"))
    first = [(run / "eval.csv").read_text().splitlines()[1].split(",")[0] for run in (without, with_it)]
    assert first == ["64", "0"]
    assert (without / "metrics.csv").read_bytes() == (with_it / "metrics.csv").read_bytes()
