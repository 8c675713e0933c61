"""Trackers get the finite numbers of a row, and none of them can stop a training."""

import math

import pytest

from pompc.training.trackers import Axes, Trackers

AXES = Axes(16, 0.5, 3)


class Notes:
    """A tracker that remembers, and that fails from a call on."""

    def __init__(self, fails=()):
        self.got, self.fails = [], fails

    def _take(self, what, *details):
        if what in self.fails:
            raise OSError(f"no {what}")
        self.got.append((what, *details))

    def log(self, group, axes, numbers):
        self._take("log", group, axes, dict(numbers))

    def media(self, name, axes, path):
        self._take("media", name, axes, path)

    def close(self, summary):
        self._take("close", summary)


def test_a_row_without_its_step_its_texts_and_what_is_not_finite():
    notes = Notes()
    Trackers({"notes": lambda: notes}).log(
        "train", AXES, {"step": 16, "a": 1.5, "b": math.nan, "c": math.inf, "d": "text", "e": 2}
    )
    assert notes.got == [("log", "train", AXES, {"a": 1.5, "e": 2})]


@pytest.mark.parametrize("what", ["log", "media", "close"])
def test_one_that_fails_is_left_out_from_then_on_which_is_said_once(what, tmp_path):
    good, bad = Notes(), Notes(fails=(what,))
    trackers = Trackers({"bad": lambda: bad, "good": lambda: good})

    def use():
        for _ in range(2):
            trackers.log("train", AXES, {"a": 1.0})
            trackers.media("curve", AXES, tmp_path)
        trackers.close(lambda: {"final/reward": 1.0})

    with pytest.warns(UserWarning, match=f"bad stopped .OSError: no {what}.; the training continues, the CSV") as said:
        use()
    assert len(said) == 1
    assert [name for name, *_ in good.got] == ["log", "media", "log", "media", "close"]
    assert what not in [name for name, *_ in bad.got]
    trackers.log("train", AXES, {"a": 1.0})  # after the end: nothing
    assert len(good.got) == 5


def test_one_that_cannot_start_costs_the_others_nothing():
    def unable():
        raise RuntimeError("the service is gone")

    good = Notes()
    with pytest.warns(UserWarning, match="bad stopped .RuntimeError: the service is gone"):
        trackers = Trackers({"bad": unable, "good": lambda: good})
    trackers.close(dict)
    assert good.got == [("close", {})]
