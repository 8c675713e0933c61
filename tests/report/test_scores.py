"""The statistics of a comparison against small tables worked by hand."""

import numpy as np
import pytest

from pompc.errors import UserError
from pompc.report.scores import (
    INTERVAL,
    RANGE,
    Bounds,
    bootstrap_interval,
    bounds_of,
    interquartile_mean,
    interval_or_range,
    over_all,
    run_scores,
    summary,
)


def write_episodes(path, returns):
    """A run's episodes: an early evaluation, which does not count, and a last one."""
    path.mkdir()
    rows = [f"50,-999,{episode}" for episode in range(len(returns))]
    rows += [f"100,{value},{episode}" for episode, value in enumerate(returns)]
    (path / "eval_episodes.csv").write_text("\n".join(["step,reward,episode", *rows, ""]))
    return path


def test_the_interquartile_mean_averages_the_middle_half():
    assert interquartile_mean(np.array([1.0, 100.0, 3.0, 5.0, 4.0, 2.0, 7.0, 6.0])) == 4.5  # of 3, 4, 5, 6
    assert interquartile_mean(np.array([9.0, 1.0, 2.0, 3.0, -50.0])) == 2.0  # of 1, 2, 3: a whole run leaves each side


def test_a_run_has_one_score_its_mean_over_the_last_evaluation(tmp_path):
    """Two runs fail in every second episode, so pooled episodes have a middle half that no run has as its mean."""
    runs = [write_episodes(tmp_path / "a", [0, 0, 600, 600]), write_episodes(tmp_path / "b", [0, 590, 600, 610])]
    scores = run_scores(runs)
    np.testing.assert_array_equal(scores["reward"], [300, 450])
    row = summary("ppo", scores)
    assert (row["runs"], row["return"], row["iqm"], row["step"]) == (2, 375, 375, 100)
    assert row["std"] == pytest.approx(150 / np.sqrt(2))
    assert row["points"] == "300.0 450.0"


def test_the_interval_of_five_runs_equals_that_of_all_their_draws():
    """Of 0, 0, 0, 0, 1 a draw has k ones with k binomial (5, 0.2), and its middle three have k - 1 of them.

    So the interquartile mean is 0, 1/3, 2/3 with cumulative probabilities 0.737, 0.942, 0.993.
    """
    assert bootstrap_interval([np.array([0.0, 0.0, 0.0, 0.0, 1.0])]) == pytest.approx((0, 2 / 3))


def test_runs_are_drawn_within_their_task():
    """Always five of each task, so the middle six are three of each: drawn over both, they would differ."""
    assert bootstrap_interval([np.full(5, 0.2), np.full(5, 0.6)]) == pytest.approx((0.4, 0.4))


def test_the_interval_covers_the_truth_nearly_at_its_rate():
    rng = np.random.default_rng(0)
    intervals = np.array([bootstrap_interval([rng.normal(3.0, 1.0, 10)], seed=trial) for trial in range(100)])
    covered = (intervals[:, 0] <= 3.0) & (intervals[:, 1] >= 3.0)
    assert 85 <= covered.sum() <= 99
    assert (np.diff(intervals) > 0.3).all()


@pytest.mark.parametrize(("counts", "extent"), [((1,), RANGE), ((4,), RANGE), ((5,), INTERVAL), ((5, 4), RANGE)])
def test_fewer_than_five_runs_of_a_task_have_a_range_and_no_interval(counts, extent):
    tasks = [np.arange(count) + 10.0 * task for task, count in enumerate(counts)]
    row = interval_or_range(tasks)
    assert row["extent"] == extent
    scores = np.concatenate(tasks)
    whole = (row["low"], row["high"]) == (scores.min(), scores.max())
    assert whole == (extent == RANGE)


def test_several_environments_have_one_normalised_score():
    """On a: 0.1 and 0.3; on b, whose returns go from -100 to 100: 0.5 and 0.9. Mean 0.45, of the middle two 0.4."""
    scores = {"a": {"ppo": np.array([100.0, 300.0])}, "b": {"ppo": np.array([0.0, 80.0]), "mppi": np.array([1.0])}}
    rows, note = over_all(scores, [Bounds.parse("0:1000"), Bounds.parse("b=-100:100")])
    (row,) = rows
    assert (row["algorithm"], row["runs"], row["extent"]) == ("ppo", 4, RANGE)
    assert [row[key] for key in ("return", "iqm", "low", "high")] == pytest.approx([0.45, 0.4, 0.1, 0.9])
    assert note == "not on every environment, so not in the score over all: mppi"


def test_an_environment_without_bounds_is_named():
    scores = {"dmc-a": {"ppo": np.array([1.0])}, "b": {"ppo": np.array([1.0])}}
    assert over_all(scores, [Bounds.parse("dmc-*=0:1000")]) == (
        [],
        "no score over all environments: --bounds ENV=LOW:HIGH is missing for b",
    )


def test_the_last_bounds_that_fit_hold():
    bounds = [Bounds.parse(text) for text in ("0:1", "dmc-*=0:1000", "dmc-cup-catch=0:500")]
    found = [bounds_of(env, bounds) for env in ("acrobot", "dmc-walker-walk", "dmc-cup-catch")]
    assert [entry.high for entry in found if entry] == [1, 1000, 500]
    assert bounds_of("acrobot", bounds[1:]) is None


@pytest.mark.parametrize("text", ["", "5", "a=5", "a=x:1", "1:1", "a=2:1", "0:inf", "nan:1"])
def test_bounds_of_another_form_are_refused(text):
    with pytest.raises(UserError, match=rf"^--bounds {text}: "):
        Bounds.parse(text)
