"""Errors of values against closed forms: a reward of 2 in every step, so that all values are known."""

import math

import numpy as np
import pytest

from pompc.training.diagnosis import value_errors

REWARD, DISCOUNT, STEPS = 2.0, 0.9, 30


def errors(value, *, terminated, steps=None):
    steps = STEPS if steps is None else steps
    given = (np.full(steps, REWARD), np.full(steps, DISCOUNT))
    return value_errors(np.asarray(value, dtype=float), *given, terminated=terminated)


def exact_values(*, terminated):
    left = np.arange(STEPS, 0, -1)
    shown = 1 - DISCOUNT**left if terminated else np.ones(STEPS)
    return REWARD * shown / (1 - DISCOUNT)


@pytest.mark.parametrize("terminated", [False, True])
@pytest.mark.parametrize("shift", [0.0, 3.0, -0.5])
def test_exact_values_have_no_error_and_shifted_ones_their_shift(terminated, shift):
    exact = exact_values(terminated=terminated)
    found = errors(exact + shift, terminated=terminated)
    assert found["value"] == pytest.approx((exact + shift).mean())
    assert found["value_error"] == pytest.approx(shift, abs=1e-10)
    assert found["value_error_rms"] == pytest.approx(abs(shift), abs=1e-10)
    assert found["value_error_start"] == pytest.approx(shift, abs=1e-10)


def test_after_a_termination_every_step_counts_alike():
    shift = np.random.default_rng(0).normal(size=STEPS)
    found = errors(exact_values(terminated=True) + shift, terminated=True)
    assert found["value_error"] == pytest.approx(shift.mean())
    assert found["value_error_rms"] == pytest.approx(math.sqrt((shift**2).mean()))
    assert found["value_error_start"] == pytest.approx(shift[0])


def test_a_time_limit_is_no_termination():
    """The values of a truncated episode are of one that goes on: as those of a terminated one they are too high."""
    exact = exact_values(terminated=False)
    assert errors(exact, terminated=False)["value_error"] == pytest.approx(0.0, abs=1e-10)
    assert errors(exact, terminated=True)["value_error"] > 1


def test_an_error_of_the_last_value_counts_at_most_three_times():
    for steps in range(2, STEPS):
        value = exact_values(terminated=False)[:steps].copy()
        value[-1] += 1.0
        found = errors(value, terminated=False, steps=steps)["value_error"]
        assert math.isnan(found) == (1 - DISCOUNT ** (steps - 1) < 0.25)
        assert math.isnan(found) or -3 <= found < 0


@pytest.mark.parametrize("steps", [1, 3])
def test_a_truncated_episode_that_is_short_for_its_discount_tells_nothing(steps):
    found = errors(np.full(steps, 20.0), terminated=False, steps=steps)
    assert found["value"] == 20.0
    assert all(math.isnan(found[name]) for name in ("value_error", "value_error_rms", "value_error_start"))


def test_without_a_discount_only_terminated_episodes_tell_something():
    given = (np.array([3.0, 2.0, 1.0]), np.ones(3), np.ones(3))
    assert value_errors(*given, terminated=True)["value_error"] == 0.0
    assert math.isnan(value_errors(*given, terminated=False)["value_error"])
