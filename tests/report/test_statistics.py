"""Statistics over runs against numbers worked by hand, enumeration and simulation."""

import itertools

import numpy as np
import pytest

from pompc.report.statistics import (
    FEWEST_RUNS,
    INTERVAL,
    RANGE,
    bootstrap_interval,
    curve_band,
    gain,
    interval_or_range,
    iqm,
    mean_probability,
    performance_profile,
    probability_of_improvement,
    profile_band,
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


def naive_iqm(scores):
    ordered = sorted(scores)
    cut = len(ordered) // 4
    middle = ordered[cut : len(ordered) - cut]
    return sum(middle) / len(middle)


@pytest.mark.parametrize("count", range(1, 13))
def test_the_interquartile_mean_is_that_of_its_definition_on_any_axis(count):
    scores = np.random.default_rng(count).normal(size=(3, count))
    expected = [naive_iqm(row) for row in scores]
    np.testing.assert_allclose(iqm(scores), expected)
    np.testing.assert_allclose(iqm(scores.T, axis=0), expected)


def test_the_band_of_a_curve_is_the_interval_of_its_points():
    """The draws are the same for all points, so a point's band does not depend on its neighbours."""
    curves = np.random.default_rng(0).normal(size=(7, 4)).cumsum(axis=1)
    band = curve_band(curves)
    assert band.extent == INTERVAL
    np.testing.assert_allclose(band.middle, [naive_iqm(point) for point in curves.T])
    assert (band.low <= band.middle).all()
    assert (band.middle <= band.high).all()
    for point in range(4):
        alone = curve_band(curves[:, [point]])
        np.testing.assert_allclose([band.low[point], band.high[point]], [alone.low[0], alone.high[0]])
    narrow = curve_band(curves, confidence=0.5)
    assert (narrow.high - narrow.low < band.high - band.low).all()
    np.testing.assert_array_equal(curve_band(curves, seed=1).low, curve_band(curves, seed=1).low)


def test_a_run_that_is_not_there_does_not_count_at_that_point():
    curves = np.array([[1.0, 1.0, np.nan], [2.0, np.nan, np.nan], [6.0, 5.0, np.nan]])
    band = curve_band(curves)
    assert band.extent == RANGE
    np.testing.assert_array_equal(band.runs, [3, 2, 0])
    np.testing.assert_array_equal(band.middle, [3, 3, np.nan])
    np.testing.assert_array_equal(band.low, [1, 1, np.nan])
    np.testing.assert_array_equal(band.high, [6, 5, np.nan])


def test_five_runs_have_an_interval_only_where_they_are_there():
    curves = np.repeat(np.arange(6.0)[:, None], 2, axis=1)
    curves[4:, 1] = np.nan
    band = curve_band(curves)
    assert 0 < band.low[0] < band.middle[0] < band.high[0] < 5  # an interval of six runs
    assert (band.low[1], band.high[1]) == (0, 3)  # the range of four


def test_the_probability_of_improvement_counts_pairs_and_half_of_the_ties():
    rng = np.random.default_rng(0)
    for _ in range(10):
        a, b = rng.integers(0, 4, 5).astype(float), rng.integers(0, 4, 7).astype(float)
        wins = [1.0 if x > y else 0.5 if x == y else 0.0 for x, y in itertools.product(a, b)]
        found = probability_of_improvement(a, b)
        other = probability_of_improvement(b, a)
        assert found.value == pytest.approx(np.mean(wins))
        assert found.value + other.value == pytest.approx(1)
        assert found.low <= found.value <= found.high


def test_a_method_that_is_always_better_improves_for_sure():
    found = probability_of_improvement(np.arange(5.0) + 10, np.arange(5.0))
    assert (found.value, found.low, found.high) == (1, 1, 1)
    same = probability_of_improvement(np.arange(5.0), np.arange(5.0))
    assert same.value == 0.5


def test_fewer_than_five_runs_have_a_probability_and_no_interval():
    found = probability_of_improvement(np.array([3.0, 4.0]), np.arange(9.0))
    assert found.value == pytest.approx((3.5 + 4.5) / 18)
    assert np.isnan([found.low, found.high]).all()


def test_the_interval_of_a_probability_is_that_of_all_draws():
    """Of A = 0, 0, 0, 0, 1 against five halves the probability is the share of ones in a draw: k / 5, k binomial."""
    found = probability_of_improvement(np.array([0.0, 0.0, 0.0, 0.0, 1.0]), np.full(5, 0.5))
    assert (found.value, found.low, found.high) == (
        0.2,
        0.0,
        pytest.approx(0.6),
    )  # P(k <= 2) = 0.942, P(k <= 3) = 0.993


def test_the_interval_of_a_probability_covers_the_truth_nearly_at_its_rate():
    """Of normal scores that differ by a mean of 1, P(A > B) = Phi(1 / sqrt 2) = 0.7602."""
    rng = np.random.default_rng(0)
    found = [probability_of_improvement(rng.normal(1, 1, 20), rng.normal(0, 1, 20)) for _ in range(50)]
    assert 43 <= sum(interval.low <= 0.7602 <= interval.high for interval in found) <= 50
    assert np.mean([interval.value for interval in found]) == pytest.approx(0.7602, abs=0.04)


def test_the_probability_over_tasks_is_the_mean_of_theirs():
    a, b = [np.full(5, 1.0), np.full(5, 0.0)], [np.full(5, 0.0), np.full(5, 0.0)]
    assert mean_probability(a, b).value == 0.75  # 1 on the first task, a tie on the second
    scaled = mean_probability([1000 * a[0], a[1]], [1000 * b[0], b[1]])
    assert scaled == mean_probability(a, b)  # scores of a task need no common scale


def test_a_profile_is_one_minus_the_distribution_of_the_scores():
    scores, thresholds = np.array([0.1, 0.5, 0.5, 0.9]), np.array([0.0, 0.1, 0.3, 0.5, 0.7, 0.9])
    np.testing.assert_array_equal(performance_profile(scores, thresholds), [1, 0.75, 0.75, 0.25, 0.25, 0])
    fine = np.linspace(0, 1, 10_001)
    area = performance_profile(scores, fine)[:-1].mean()
    assert area == pytest.approx(scores.mean(), abs=1e-3)  # of scores in [0, 1]


def test_the_band_of_a_profile_needs_five_runs_of_every_task():
    thresholds = np.linspace(-1, 2, 7)
    few = profile_band([np.arange(4.0), np.arange(5.0)], thresholds)
    np.testing.assert_array_equal(few.low, few.high)
    np.testing.assert_array_equal(few.middle, performance_profile(np.r_[np.arange(4), np.arange(5)], thresholds))
    enough = profile_band([np.array([0.0, 0, 0, 1, 1])], np.array([-1.0, 0.5, 1.5]))
    np.testing.assert_array_equal(enough.middle, [1, 0.4, 0])
    np.testing.assert_allclose(enough.low, [1, 0, 0])  # P(k = 0) = 0.078 of k binomial (5, 0.4)
    np.testing.assert_allclose(enough.high, [1, 0.8, 0])  # P(k <= 3) = 0.913, P(k <= 4) = 0.990


def test_a_gain_is_in_points_and_relative():
    found = gain(np.array([0.5, 0.9]), np.array([0.2, 0.6]))
    assert found.points.value == pytest.approx(0.3)
    assert found.relative.value == pytest.approx(0.75)
    assert np.isnan([found.points.low, found.relative.high]).all()
    loss = gain(np.full(FEWEST_RUNS, -30.0), np.full(FEWEST_RUNS, -20.0))
    assert (loss.points.value, loss.relative.value) == (-10, -0.5)
    assert (loss.points.low, loss.points.high, loss.relative.low) == (-10, -10, -0.5)


def test_the_interval_of_a_gain_is_near_the_normal_one():
    """The difference of the means of 40 runs each, whose standard deviation is 1 and 2."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(5, 1, 40), rng.normal(4, 2, 40)
    found = gain(a, b).points
    half = 1.96 * np.sqrt(a.var() / 40 + b.var() / 40)
    assert (found.value - found.low, found.high - found.value) == pytest.approx((half, half), rel=0.1)


def test_a_gain_over_nothing_is_infinite_or_unknown():
    found = gain(np.full(5, 0.5), np.zeros(5))
    assert (found.relative.value, found.relative.low) == (np.inf, np.inf)
    nothing = gain(np.zeros(5), np.zeros(5))
    assert np.isnan([nothing.relative.value, nothing.relative.low]).all()
    mixed = gain(np.ones(5), np.array([0.0, 0.0, 0.0, 0.0, 1.0]))
    assert (mixed.relative.value, mixed.relative.high) == (4.0, np.inf)  # a third of the draws have no success at all
