"""Actions in [-1, 1] arrive inside an environment's bounds, in its type."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from pompc.data.actions import UnitAction, to_box
from pompc.errors import UserError


class Keeps(gymnasium.Env):
    """Keeps the last action."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, low, high, dtype):
        self.action_space = spaces.Box(np.array(low, dtype), np.array(high, dtype), dtype=dtype)

    def step(self, action):
        self.action = action
        return np.zeros(1, np.float32), 0.0, False, False, {}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_no_action_leaves_bounds_that_their_type_cannot_halve(dtype):
    generator = np.random.default_rng(0)
    low = generator.uniform(-3, 3, 200).astype(dtype)
    high = low + generator.uniform(0, 1, 200).astype(dtype)
    env = UnitAction(Keeps(low, high, dtype), "Keeps")
    for action in (-np.ones(200), np.ones(200), *generator.uniform(-1, 1, (50, 200))):
        env.step(action.astype(np.float32))
        assert env.unwrapped.action.dtype == dtype
        assert env.unwrapped.action_space.contains(env.unwrapped.action)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_ends_and_the_middle_of_asymmetric_bounds(dtype):
    low, high = np.array([-0.1, -0.3, 2.0], dtype), np.array([0.7, 0.1, 2.0], dtype)
    for unit, own in ((-1, low), (1, high), (-5, low), (5, high)):
        assert np.array_equal(to_box(np.full(3, unit, np.float32), low, high), own), unit
    np.testing.assert_allclose(to_box(np.zeros(3, np.float32), low, high), [0.3, -0.1, 2.0], rtol=1e-6)


def test_entries_whose_bounds_are_equal_are_held():
    env = UnitAction(Keeps([-1, 0.1, 0], [1, 0.1, 0], np.float64), "Keeps")
    for unit in np.linspace(-1, 1, 21, dtype=np.float32):
        env.step(np.full(3, unit))
        np.testing.assert_array_equal(env.unwrapped.action, [env.unwrapped.action[0], 0.1, 0.0])
        assert env.unwrapped.action[0] == pytest.approx(unit)


def test_the_environment_gets_a_copy():
    env, action = UnitAction(Keeps([-1], [1], np.float32), "Keeps"), np.array([0.5], np.float32)
    env.step(action)
    env.unwrapped.action[0] = 9
    assert action[0] == 0.5


LARGEST = np.finfo(np.float32).max


@pytest.mark.parametrize(
    ("low", "high", "dtype", "says"),
    [
        (
            [-1, -LARGEST],
            [1, LARGEST],
            np.float32,
            "unbounded actions: entry 1 runs from -3.40282e\\+38 to 3.40282e\\+38",
        ),
        ([-1e300], [1e300], np.float64, "unbounded actions: entry 0"),
        ([0], [LARGEST], np.float32, "unbounded actions: entry 0"),
        ([-np.inf], [0], np.float32, "unbounded actions: entry 0 runs from -inf to 0"),
        ([-65504], [65504], np.float16, "unbounded actions: entry 0"),
    ],
)
def test_ranges_that_cannot_be_scaled_are_refused_with_their_entry(low, high, dtype, says):
    with pytest.raises(UserError, match=f"Keeps has {says}.*finite bounds"):
        UnitAction(Keeps(low, high, dtype), "Keeps")


@pytest.mark.parametrize(("low", "says"), [(2, "impossible actions: entry 1 runs from 2 to 1"), (np.nan, "unbounded")])
def test_bounds_changed_after_their_box_was_made_are_refused(low, says):
    env = Keeps([-1, -1], [1, 1], np.float32)
    env.action_space.low[1] = low
    with pytest.raises(UserError, match=says):
        UnitAction(env, "Keeps")


def test_wide_ranges_that_can_be_scaled_are_taken():
    env = UnitAction(Keeps([-1e10], [1e10], np.float32), "Keeps")
    env.step(np.ones(1, np.float32))
    assert env.unwrapped.action == np.float32(1e10)
