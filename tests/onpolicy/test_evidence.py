"""The squared bias of virtual targets: exact where the model is, right where its error is known, blind to noise."""

import math

import pytest
import torch
from line import LineModel
from tensordict import TensorDict

from pompc.models import KnownModel
from pompc.onpolicy.evidence import GROUPS, mean_squared_bias, measure_evidence

SCORING = {"reward_scale": 0.5, "discount": 0.9, "gae_lambda": 0.8}
ENVS, TIME, HORIZON = 4, 30, 5


class Drift(LineModel):
    """Moves by the action; the reward is the new position plus an error; the episode ends beyond 40."""

    def __init__(self, reward_error=0.0):
        self.reward_error = reward_error

    def step(self, state, action):
        return state + action

    def reward(self, state, action, next_state):
        return next_state[..., 0] + self.reward_error

    def terminated(self, state, action, next_state):
        return next_state[..., 0] > 40


def value(observation):
    return 3.0 + observation[..., 0]


def executed(*, noise=0.0, rollouts=3):
    """Make trajectories of the exact model, with the rollouts that repeat them; two are cut off in the middle."""
    actions = torch.rand(ENVS, TIME + HORIZON, 1)
    states = torch.cat([torch.zeros(ENVS, 1, 1), actions.cumsum(1)], 1)
    reward = states[:, 1:] + noise * torch.randn(ENVS, TIME + HORIZON, 1)
    done = torch.zeros(ENVS, TIME, 1, dtype=torch.bool)
    windows = states.unfold(1, HORIZON + 1, 1).transpose(2, 3)[:, :TIME]
    controls = actions.unfold(1, HORIZON, 1).transpose(2, 3)[:, :TIME]
    virtual = {"states": windows, "actions": controls}
    after = {
        "observation": states[:, 1 : TIME + 1],
        "reward": reward[:, :TIME],
        "done": done,
        "terminated": done.clone(),
    }
    virtual = {name: x.unsqueeze(2).expand(-1, -1, rollouts, -1, -1) for name, x in virtual.items()}
    entries = {"observation": states[:, :TIME], "virtual": virtual, "next": after}
    return TensorDict(entries, batch_size=[ENVS, TIME])


def measured(data, model, rollouts=10_000, **scoring):
    known = {"virtual_news": 0.1, "real_news": 0.2, "rollouts": rollouts, **SCORING, **scoring}
    return measure_evidence(data, KnownModel(model), value, **known)


def news_and_error(error):
    """Compute the news of a 5-step lambda-return and the error that every reward's error makes of it."""
    powers = [0.9**h * 0.8**h for h in range(HORIZON)]
    bootstrapped = sum((1 - 0.8) * 0.9 * p for p in powers[:-1]) + 0.9 * powers[-1]
    return 1 - bootstrapped, error * SCORING["reward_scale"] * sum(powers)


def test_an_exact_model_that_follows_what_was_executed_has_no_bias():
    assert measured(executed(), Drift()).squared_bias == pytest.approx(0.0, abs=1e-9)


def test_a_constant_reward_error_gives_the_values_that_error_over_one_minus_the_discount():
    """Values learned from the model alone are off by scale * error / (1 - discount), whatever horizon and lambda."""
    news, target = news_and_error(0.7)
    assert target / news == pytest.approx(0.5 * 0.7 / (1 - 0.9))
    for rollouts in (10_000, 40):  # 40: at a few steps only
        evidence = measured(executed(), Drift(0.7), rollouts)
        assert evidence.squared_bias == pytest.approx((0.5 * 0.7 / (1 - 0.9)) ** 2, rel=1e-4)
    assert (evidence.virtual_news, evidence.real_news) == (0.1, 0.2)


def test_the_bias_scales_with_the_square_of_the_reward_units():
    data = executed()
    one, ten = (measured(data, Drift(0.7), reward_scale=scale).squared_bias for scale in (0.5, 5.0))
    assert ten == pytest.approx(100 * one, rel=1e-3)


def test_broken_steps_and_non_finite_rollouts_are_left_out():
    data = executed()
    data["virtual", "states"] = data["virtual", "states"].clone()
    data["virtual", "states"][0, 3] = torch.nan
    data["next", "broken"] = torch.zeros(ENVS, TIME, 1)
    data["next", "broken"][1, 7] = 1
    data["observation"] = data["observation"].clone()
    data["observation"][1, 7] = 1e9
    data["next", "done"][1, 6] = True
    assert measured(data, Drift(0.7)).squared_bias == pytest.approx((0.5 * 0.7 / 0.1) ** 2, rel=1e-4)


def test_noise_of_real_targets_is_no_bias():
    """The plain mean square would be the noise's; the estimate is zero in the mean over batches, and not always above."""
    news, _ = news_and_error(0.0)
    found = [measured(executed(noise=4.0), Drift()).squared_bias * news**2 for _ in range(60)]
    plain = 0.25 * 16 * sum((0.72**h) ** 2 for h in range(HORIZON))
    assert abs(sum(found) / 60) < 0.05 * plain
    assert min(found) < 0


def test_biases_of_both_signs_at_different_values_do_not_cancel():
    """Half of the states, those of low value, have the bias -1, the others 1."""
    state = torch.rand(8, 200)
    sign = torch.where(state > state.median(), 1.0, -1.0)
    usable = torch.ones(8, 200, dtype=torch.bool)
    assert sign.mean().abs() < 1e-6
    assert mean_squared_bias(sign, state, usable) == pytest.approx(1.0, abs=2e-3)
    assert 200 % GROUPS == 0


def test_pairs_come_from_different_environments():
    """The mean product over all pairs of states of one group in different environments, by its definition."""
    difference, state = torch.randn(3, 16), torch.rand(3, 16)
    usable = torch.rand(3, 16) > 0.2
    order = sorted((state[e, k].item(), e, k) for e in range(3) for k in range(16) if usable[e, k])
    group = {(e, k): rank * GROUPS // len(order) for rank, (_, e, k) in enumerate(order)}
    products = [
        (difference[a] * difference[b]).item() for a in group for b in group if a[0] != b[0] and group[a] == group[b]
    ]
    assert mean_squared_bias(difference, state, usable) == pytest.approx(sum(products) / len(products), abs=1e-6)


def test_one_environment_has_nothing_to_compare():
    assert math.isnan(mean_squared_bias(torch.ones(1, 9), torch.rand(1, 9), torch.ones(1, 9, dtype=torch.bool)))
