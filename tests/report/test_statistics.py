"""Statistics over runs against numbers worked by hand, enumeration and simulation."""

import numpy as np
import pytest

from pompc.report.statistics import (
    INTERVAL,
    RANGE,
    bootstrap_interval,
    interval_or_range,
    iqm,
)


def test_the_interquartile_mean_averages_the_middle_half():
    assert iqm(np.array([1.0, 100.0, 3.0, 5.0, 4.0, 2.0, 7.0, 6.0])) == 4.5  # of 3, 4, 5, 6
    assert iqm(np.array([9.0, 1.0, 2.0, 3.0, -50.0])) == 2.0  # of 1, 2, 3: a whole run leaves each side


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
