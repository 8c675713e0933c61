"""Signals are answered at once, wherever a run is; nothing is lost unless the answer to the second one says so."""

import json
import signal

import pytest
import toy
from small import assert_same, complete
from toy import Toy, toy_config

from pompc.training import checkpoint, session, stopping
from pompc.training.run import run

BATCHES = 320 // 16


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return complete(toy_config(tmp_path_factory.mktemp("whole")))


def press(times: int = 1) -> None:
    """Press Ctrl-C."""
    for _ in range(times):
        signal.raise_signal(signal.SIGINT)


class Pressing:
    """A method with Ctrl-C pressed in its ``at``-th call, some times; what was not obeyed there comes after it.

    Args:
        original: the method.
        at: which call, from 1.
        times: how often.
        counts: whether a call counts, given its arguments.
    """

    def __init__(self, original, at, times, counts=lambda *arguments: True):
        self.original, self.at, self.times, self.counts = original, at, times, counts
        self.calls = 0

    def __get__(self, instance, owner):
        return lambda *arguments, **options: self(instance, *arguments, **options)

    def __call__(self, *arguments, **options):
        if self.counts(*arguments):
            self.calls += 1
            if self.calls == self.at:
                press(self.times)
        return self.original(*arguments, **options)


def interrupt(directory, patch, capfd, owner, name, at, times, counts=lambda *_: True, overrides=()) -> Pressing:
    """Run and press Ctrl-C; the run must end as interrupted."""
    with patch.context() as here:
        pressing = Pressing(getattr(owner, name), at, times, counts)
        here.setattr(owner, name, pressing)
        capfd.readouterr()
        assert run(toy_config(directory, *overrides)) == 130
    assert json.loads((directory / "run.json").read_text())["status"] == "interrupted"
    assert not list(directory.rglob("*.tmp"))
    return pressing


def playing(agent, td, explore) -> bool:
    return not explore


@pytest.mark.parametrize("at", [1, 9, 14, 40], ids=["before training", "and later", "the next one", "near the end"])
def test_an_evaluation_is_broken_off_and_made_again(at, uninterrupted, tmp_path, monkeypatch, capfd):
    pressing = interrupt(tmp_path, monkeypatch, capfd, Toy, "act", at, 1, playing)
    assert pressing.calls == at  # not a step more
    out, err = capfd.readouterr()
    assert err == (
        "pompc: stopping after this step of the evaluation, which is repeated when the run continues; Ctrl-C again stops "
        "now\n"
    )
    assert out.splitlines()[-1].startswith("interrupted at step ")
    assert out.splitlines()[-1].endswith("; run the same command to continue")
    assert run(toy_config(tmp_path)) == 0
    assert_same(uninterrupted, tmp_path)


@pytest.mark.parametrize("at", [3, 30])
def test_the_second_one_does_not_wait_for_a_step_and_loses_nothing(at, uninterrupted, tmp_path, monkeypatch, capfd):
    interrupt(tmp_path, monkeypatch, capfd, Toy, "act", at, 2, playing)
    assert capfd.readouterr().out.splitlines()[-1].endswith("; run the same command to continue")
    assert run(toy_config(tmp_path)) == 0
    assert_same(uninterrupted, tmp_path)


def test_the_first_one_in_training_waits_for_the_batch(uninterrupted, tmp_path, monkeypatch, capfd):
    pressing = interrupt(tmp_path, monkeypatch, capfd, Toy, "learn", 7, 1)
    assert pressing.calls == 7
    out, err = capfd.readouterr()
    assert err.startswith("pompc: stopping after this batch, which is saved; Ctrl-C again stops now and goes back to")
    assert err.count("\n") == 1
    assert out.splitlines()[-1] == "interrupted at step 112; run the same command to continue"
    assert run(toy_config(tmp_path)) == 0
    assert_same(uninterrupted, tmp_path)


@pytest.mark.parametrize(("at", "last"), [(7, 64), (2, None)])
def test_the_second_one_in_training_goes_back_to_the_last_checkpoint(
    at, last, uninterrupted, tmp_path, monkeypatch, capfd
):
    interrupt(tmp_path, monkeypatch, capfd, Toy, "learn", at, 2)
    said = capfd.readouterr().out.splitlines()[-1]
    if last is None:
        assert said == "interrupted before the first checkpoint; run the same command to start again"
    else:
        assert said == f"interrupted at step 96; run the same command to continue from the checkpoint of step {last}"
    assert run(toy_config(tmp_path)) == 0
    assert_same(uninterrupted, tmp_path)


def test_a_checkpoint_is_written_whole_whatever_is_pressed(uninterrupted, tmp_path, monkeypatch, capfd):
    last = lambda path, state: path.name == "last.pt"  # noqa: E731
    interrupt(tmp_path, monkeypatch, capfd, checkpoint, "save", 2, 2, last)
    assert capfd.readouterr().err.splitlines() == [
        "pompc: stopping when the checkpoint is written",
        "pompc: the checkpoint is being written: a moment",
    ]
    assert run(toy_config(tmp_path)) == 0
    assert_same(uninterrupted, tmp_path)


def test_rows_of_an_evaluation_are_written_whole(uninterrupted, tmp_path, monkeypatch, capfd):
    evaluations = lambda log, row: "episode" in row  # noqa: E731
    interrupt(tmp_path, monkeypatch, capfd, session.CSVLog, "write", 5, 2, evaluations)
    assert capfd.readouterr().err.splitlines()[0] == "pompc: stopping after this evaluation"
    assert run(toy_config(tmp_path)) == 0
    assert_same(uninterrupted, tmp_path)


def test_what_must_be_obeyed_there_costs_what_came_after_the_checkpoint(uninterrupted, tmp_path, monkeypatch, capfd):
    """A third Ctrl-C in the middle of a write: a disk or a service that hangs must not hold the terminal."""
    evaluations = lambda log, row: "episode" in row  # noqa: E731
    interrupt(tmp_path, monkeypatch, capfd, session.CSVLog, "write", 5, 3, evaluations)
    assert "continue from the checkpoint of step 64" in capfd.readouterr().out.splitlines()[-1]
    assert run(toy_config(tmp_path)) == 0
    assert_same(uninterrupted, tmp_path)


@pytest.mark.parametrize("times", [1, 2])
def test_a_film_is_given_up_and_made_by_the_same_command(times, uninterrupted, tmp_path, monkeypatch, capfd):
    film = ("eval.video=true",)
    interrupt(tmp_path, monkeypatch, capfd, toy.PointGym, "render", 3, times, overrides=film)
    assert "the training is done" in capfd.readouterr().err
    assert not (tmp_path / "video.mp4").exists()
    before = (tmp_path / "checkpoints" / "last.pt").stat().st_mtime_ns
    assert run(toy_config(tmp_path, *film)) == 0
    assert (tmp_path / "video.mp4").exists()
    assert (tmp_path / "checkpoints" / "last.pt").stat().st_mtime_ns == before
    assert_same(uninterrupted, tmp_path)
    assert capfd.readouterr().out.splitlines()[-1] == f"finished: {tmp_path / 'eval.csv'}"


def test_a_stop_that_comes_with_the_last_batch_does_not_wait_for_the_evaluation(
    uninterrupted, tmp_path, monkeypatch, capfd
):
    interrupt(tmp_path, monkeypatch, capfd, Toy, "learn", BATCHES, 1)
    assert run(toy_config(tmp_path)) == 0
    assert_same(uninterrupted, tmp_path)


def test_a_terminal_that_has_gone_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(stopping.os, "write", lambda *_: (_ for _ in ()).throw(OSError("gone")))
    stop = stopping.StopRequest()
    with stop.listening():
        press()
    assert stop.received
