"""The bound on the value error of mixed data, on random, fully known Markov chains."""

import numpy as np
import pytest

from pompc.onpolicy.bounds import value_error_bound


def chain(rng, states):
    p = rng.dirichlet(np.full(states, 0.3), size=states)
    return p, rng.uniform(0, 1, states)


def mixed_value(p, r, p_model, r_model, ratio, discount, horizon):
    """Compute the fixed point of (1 - rho) T + rho T_model^H."""
    identity = np.eye(len(r))
    step, gain, power = np.zeros_like(r), identity, discount * p_model
    for _ in range(horizon):
        step, gain = step + gain @ r_model, gain @ power
    operator = (1 - ratio) * discount * p + ratio * gain
    return np.linalg.solve(identity - operator, (1 - ratio) * r + ratio * step)


@pytest.mark.parametrize("horizon", [1, 5, 20])
def test_bound_holds_on_random_chains(horizon):
    rng = np.random.default_rng(horizon)
    shares = []
    for _ in range(300):
        p, r = chain(rng, 12)
        noise, reward_noise = chain(rng, 12)
        mix = rng.uniform(0, 0.5)
        p_model, r_model = (1 - mix) * p + mix * noise, r + rng.uniform(0, 0.3) * (reward_noise - 0.5)
        ratio, discount = rng.uniform(0, 1), rng.uniform(0.8, 0.99)
        value = np.linalg.solve(np.eye(12) - discount * p, r)
        error = np.abs(mixed_value(p, r, p_model, r_model, ratio, discount, horizon) - value).max()
        bound = value_error_bound(
            ratio=ratio,
            discount=discount,
            horizon=horizon,
            dynamics_error=0.5 * np.abs(p_model - p).sum(1).max(),
            reward_error=np.abs(r_model - r).max(),
            value_span=np.ptp(value),
        )
        assert error <= bound + 1e-9
        shares.append(error / bound)
    assert max(shares) > 0.1  # the bound is not vacuous


def test_bound_vanishes_with_the_ratio_and_with_the_model_error():
    known = {"discount": 0.99, "horizon": 20, "value_span": 50.0}
    assert value_error_bound(ratio=0.0, dynamics_error=0.3, reward_error=0.3, **known) == 0
    assert value_error_bound(ratio=1.0, dynamics_error=0.0, reward_error=0.0, **known) == 0
    values = [value_error_bound(ratio=r, dynamics_error=0.1, reward_error=0.1, **known) for r in (0.1, 0.3, 0.8)]
    assert values == sorted(values)


def test_the_bound_holds_with_the_wasserstein_distance_and_the_lipschitz_constant():
    """States lie on a line, where the distance of two distributions is the area between their distribution functions."""
    rng, shares = np.random.default_rng(0), []
    for _ in range(300):
        p, r = chain(rng, 12)
        place = np.sort(rng.uniform(0, 5, 12))
        moved = 0.3 * rng.uniform() * p[:, :-1]  # to the next state
        p_model = p.copy()
        p_model[:, :-1] -= moved
        p_model[:, 1:] += moved
        ratio, discount, horizon = rng.uniform(0, 1), rng.uniform(0.8, 0.99), int(rng.choice([1, 5, 20]))
        value = np.linalg.solve(np.eye(12) - discount * p, r)
        area = (np.abs((p_model - p).cumsum(1))[:, :-1] * np.diff(place)).sum(1).max()
        steepest = np.abs(np.diff(value) / np.diff(place)).max()
        error = np.abs(mixed_value(p, r, p_model, r, ratio, discount, horizon) - value).max()
        constants = {"dynamics_error": area, "reward_error": 0.0, "value_span": steepest}
        bound = value_error_bound(ratio=ratio, discount=discount, horizon=horizon, **constants)
        assert error <= bound + 1e-9
        shares.append(error / bound)
    assert max(shares) > 0.1
