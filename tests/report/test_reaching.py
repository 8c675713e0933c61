"""How soon a score is reached: closed forms, censoring, enumeration."""

import itertools

import numpy as np
import pytest

from pompc.report.reaching import reaching, steps_to, steps_to_best, threshold_of

STEPS = np.array([0.0, 100.0, 200.0, 300.0])


@pytest.mark.parametrize(
    ("curve", "threshold", "expected"),
    [
        ([0, 10, 20, 30], 15, 150),
        ([0, 10, 20, 30], 10, 100),
        ([0, 10, 20, 30], 0, 0),
        ([5, 10, 20, 30], 1, 0),  # there at its first evaluation
        ([0, 10, 5, 30], 8, 80),  # the first crossing, though it falls back
        ([0, 10, 20, 30], 31, np.nan),
        ([0, np.nan, 20, 30], 10, 100),  # linear over an evaluation that is missing
        ([np.nan, np.nan, 20, 30], 25, 250),
        ([np.nan] * 4, 0, np.nan),
        ([0, 0, 0, -1], 1, np.nan),
    ],
)
def test_the_first_crossing_is_linear_between_evaluations(curve, threshold, expected):
    assert steps_to(STEPS, np.array(curve, dtype=float), threshold) == pytest.approx(expected, nan_ok=True)


def test_more_points_on_the_same_line_change_nothing():
    rng = np.random.default_rng(0)
    for _ in range(20):
        curve, threshold = rng.normal(size=4), rng.normal()
        fine = np.unique(np.concatenate([STEPS, rng.uniform(0, 300, 30)]))
        assert steps_to(fine, np.interp(fine, STEPS, curve), threshold) == pytest.approx(
            steps_to(STEPS, curve, threshold), nan_ok=True
        )


def test_the_threshold_is_a_share_of_the_best_mean_over_all_methods():
    a = np.array([[0.0, 40.0, 100.0], [0.0, 60.0, 60.0]])  # means 0, 50, 80
    b = np.array([[0.0, 90.0, 70.0]])  # its best is 90, in the middle
    assert threshold_of({"a": a}) == pytest.approx(0.95 * 80)
    assert threshold_of({"a": a, "b": b}, share=0.5) == pytest.approx(45)
    assert threshold_of({"a": a, "b": b}, share=0.5, origin=-10) == pytest.approx(40)  # half of the way from -10


def test_returns_below_zero_have_a_threshold_below_their_best():
    curves = {"a": np.array([[-400.0, -100.0]])}
    assert threshold_of(curves) == pytest.approx(-105)
    assert threshold_of(curves, origin=-500) == pytest.approx(-120)


def test_only_steps_that_all_runs_cover_have_a_mean():
    curves = {"a": np.array([[1.0, 2.0, 99.0], [3.0, 4.0, np.nan]])}
    assert threshold_of(curves, share=1.0) == 3.0
    assert np.isnan(threshold_of({"a": np.array([[1.0, np.nan], [np.nan, 1.0]])}))


def test_runs_that_never_are_there_are_counted_and_censored_at_their_end():
    curves = {
        "fast": np.array([[0.0, 100.0, 100.0, 100.0], [0.0, 100.0, 100.0, 100.0], [0.0, 100.0, 100.0, 100.0]]),
        "slow": np.array([[0.0, 0.0, 50.0, 100.0], [0.0, 10.0, 20.0, 30.0], [0.0, 10.0, 20.0, np.nan]]),
    }
    found = steps_to_best(STEPS, curves)
    fast, slow = found["fast"], found["slow"]
    assert (fast.threshold, fast.reached, fast.runs) == (95.0, 3, 3)
    assert (fast.median, fast.low, fast.high) == (95.0, 95.0, 95.0)
    assert np.isnan(fast.censored_at)
    assert (slow.reached, slow.runs, slow.median, slow.high) == (1, 3, np.inf, np.inf)
    assert slow.low == 290.0  # the first of fewer than five runs
    assert slow.censored_at == 200.0  # the run that ended first without being there
    assert slow.steps == (290.0, np.inf, np.inf)


def test_the_median_is_infinite_once_half_of_the_runs_never_arrive():
    there, never = np.array([0.0, 100.0]), np.array([0.0, 1.0])
    places = np.array([0.0, 10.0])
    for arrived, total, is_infinite in [(2, 3, False), (2, 4, True), (3, 5, False), (2, 5, True)]:
        curves = [there] * arrived + [never] * (total - arrived)
        found = reaching([places] * total, curves, threshold=50.0)
        assert np.isinf(found.median) == is_infinite
        assert found.reached == arrived


def test_the_bounds_of_the_median_of_five_runs_are_those_of_all_draws():
    """3,125 draws with replacement, of which the sorted medians have their 2.5 % ends at two of the runs' steps."""
    first = [10.0, 20.0, 30.0, 40.0, np.inf]
    curves = [np.array([0.0, 100.0 * (100 / step)]) for step in first]  # reaches 100 at its step
    found = reaching([np.array([0.0, 100.0])] * 5, curves, threshold=100.0)
    np.testing.assert_allclose(found.steps, first)
    medians = np.sort([np.median(draw) for draw in itertools.product(first, repeat=5)])
    assert found.median == 30.0
    assert (found.low, found.high) == (
        np.quantile(medians, 0.025, method="lower"),
        np.quantile(medians, 0.975, method="higher"),
    )
    assert np.isinf(found.high)


def test_a_method_that_is_there_at_its_first_evaluation_has_an_upper_bound():
    late = [np.array([100.0, 200.0])] * 2
    found = reaching(late, [np.array([9.0, 9.0]), np.array([0.0, 9.0])], threshold=5.0)
    assert (found.at_first, found.is_bound) == (1, True)
    assert not reaching(late, [np.array([0.0, 9.0])] * 2, threshold=5.0).is_bound
    early = [np.array([0.0, 200.0])] * 2
    assert not reaching(early, [np.array([9.0, 9.0])] * 2, threshold=5.0).is_bound  # no run begins before step 0
