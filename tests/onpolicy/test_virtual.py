"""Virtual data: which rollouts, re-scored how, mixed how."""

import pytest
import torch
from line import LineModel

from pompc.dials import relative_variance
from pompc.networks.ensembles import bootstrap_mask, masked_huber
from pompc.onpolicy.virtual import (
    MIXES,
    VIRTUAL_SOURCES,
    bootstrapped_share,
    equal_weight,
    model_return,
    news_weight,
    others,
    virtual_targets,
)
from pompc.planner import MPPI, MPPIConfig


class Line(LineModel):
    """Steps of one action, reward is the position, the episode ends beyond 3."""

    def step(self, state, action):
        return state + action

    def reward(self, state, action, next_state):
        return next_state[..., 0]

    def terminated(self, state, action, next_state):
        return next_state[..., 0] > 3


def value(observation):
    return 10.0 + observation[..., 0]


@pytest.fixture
def planned():
    planner = MPPI(MPPIConfig(horizon=4, num_samples=16), Line(), Line(), 1)
    plan = planner.plan(torch.randn(3, 1), parameters=torch.randn(3, 5, 1))
    return planner, plan, torch.tensor([0, 4, 2])


def naive_targets(states, actions, discount, gae_lambda):
    """The lambda-return by its recursion, one rollout at a time."""
    rows = []
    for xs in states[..., 0].tolist():
        ends = next((h for h in range(len(xs) - 1) if xs[h + 1] > 3), None)
        last = len(xs) - 2 if ends is None else ends
        target = None
        out = []
        for h in range(last, -1, -1):
            bootstrap = 0.0 if h == ends else 10.0 + xs[h + 1]
            follow = bootstrap if target is None else (1 - gae_lambda) * bootstrap + gae_lambda * target
            target = xs[h + 1] * 0.5 + discount * follow
            out.append(target)
        rows += out[::-1]
    return torch.tensor(rows)


def test_targets_are_truncated_lambda_returns_that_stop_at_the_end_of_an_episode():
    actions = torch.rand(20, 6, 1)
    states = torch.cat([torch.zeros(20, 1, 1), actions.cumsum(1)], 1) + torch.rand(20, 1, 1)
    scoring = {"discount": 0.9, "gae_lambda": 0.8}
    rows = virtual_targets(states, actions, Line(), value, reward_scale=0.5, **scoring)
    expected = naive_targets(states, actions, 0.9, 0.8)
    assert len(rows) == len(expected) < 120  # some rollouts end early, their later rows are left out
    torch.testing.assert_close(rows["value_target"], expected)


def test_rollouts_with_a_non_finite_state_are_left_out():
    states = torch.zeros(3, 5, 1)
    states[1, 3] = torch.nan
    rows = virtual_targets(states, torch.zeros(3, 4, 1), Line(), value, reward_scale=1.0, discount=0.9, gae_lambda=0.9)
    assert len(rows) == 8
    assert torch.isfinite(rows["value_target"]).all()


@pytest.mark.parametrize(
    ("name", "count"), [("all", 4 * 16), ("others_plus_rest", 5 * 16 - 1), ("weighted", 4 * 3), ("nominal", 4)]
)
def test_sources_give_the_rollouts_they_name(planned, name, count):
    planner, plan, chosen = planned
    states, actions = VIRTUAL_SOURCES[name](plan, chosen, planner, 3)
    assert states.shape == (3, count, 5, 1)
    assert actions.shape == (3, count, 4, 1)
    torch.testing.assert_close(states[:, :, 1:] - states[:, :, :-1], actions)  # they are rollouts of the model
    torch.testing.assert_close(states[:, :, 0], plan.states[:, 0, :1, 0].expand(-1, count, -1))


def test_the_executed_candidate_is_left_out(planned):
    _, plan, chosen = planned
    rows, candidates = others(plan, chosen)
    assert rows.flatten().tolist() == [0, 1, 2]
    for row in range(3):
        assert candidates[row].tolist() == [c for c in range(5) if c != chosen[row]]


def test_weighted_rollouts_follow_the_planner(planned):
    planner, plan, chosen = planned
    _, actions = VIRTUAL_SOURCES["weighted"](plan, chosen, planner, 4000)
    mean = actions.view(3, 4, 4000, 4, 1).mean(2)
    torch.testing.assert_close(mean, plan.mean[others(plan, chosen)], atol=5e-3, rtol=0)


def test_model_return_of_one_certain_sample_is_its_discounted_sum():
    planner = MPPI(MPPIConfig(horizon=3, num_samples=1, num_zero_mean=0), Line(), Line(), 1)
    plan = planner.plan(torch.zeros(1, 1), mean=torch.ones(1, 3, 1), parameters=torch.zeros(1, 1, 1))
    rewards, final = model_return(plan, Line(), value, discount=0.5)
    assert rewards.item() == pytest.approx(1 + 0.5 * 2 + 0.25 * 3)
    assert final.item() == pytest.approx(0.125 * 13)
    far = planner.plan(torch.full((1, 1), 2.5), mean=torch.ones(1, 3, 1), parameters=torch.zeros(1, 1, 1))
    rewards, final = model_return(far, Line(), value, discount=0.5)  # the episode ends in the first step
    assert (rewards.item(), final.item()) == (pytest.approx(3.5), 0.0)


def test_the_bootstrapped_share_is_what_a_target_changes_by_when_all_values_do():
    actions = torch.rand(20, 6, 1)
    states = torch.cat([torch.zeros(20, 1, 1), actions.cumsum(1)], 1) + torch.rand(20, 1, 1)
    scoring = {"reward_scale": 0.5, "discount": 0.9, "gae_lambda": 0.8}
    low = virtual_targets(states, actions, Line(), value, **scoring)
    high = virtual_targets(states, actions, Line(), lambda x: value(x) + 1.0, **scoring)
    torch.testing.assert_close(high["value_target"] - low["value_target"], low["bootstrapped"], atol=1e-5, rtol=0)
    assert (low["bootstrapped"] == 0).any()  # a termination in the next step leaves nothing to bootstrap
    assert low["first"].sum() == 20


def test_a_target_of_n_steps_with_lambda_1_is_bootstrapped_by_the_discount_to_the_n():
    never = torch.zeros(1, 5, dtype=torch.bool)
    share = bootstrapped_share(never, never, discount=0.9, gae_lambda=1.0)
    torch.testing.assert_close(share, 0.9 ** torch.tensor([[5.0, 4, 3, 2, 1]]))


def test_virtual_rows_weigh_what_their_target_says_beyond_the_value():
    bootstrapped = torch.tensor([1.0, 0.95, 0.9, 0.5, 0.0])
    real = torch.tensor(0.9)
    torch.testing.assert_close(news_weight(bootstrapped, real), torch.tensor([0.0, 0.5, 1.0, 1.0, 1.0]))
    assert equal_weight(bootstrapped, real).tolist() == [1.0] * 5


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("name", MIXES)
def test_mixes_weigh_virtual_rows_by_the_ratio(name, ratio):
    real, virtual, real_weight, virtual_weight = MIXES[name](ratio, 256)
    assert real_weight + virtual_weight == pytest.approx(1)
    assert virtual_weight == pytest.approx(ratio, abs=1 / 256)
    assert (real > 0) == (ratio < 1)
    assert (virtual > 0) == (ratio > 0)


@pytest.mark.parametrize("name", MIXES)
def test_both_mixes_have_the_same_gradient_in_expectation(name):
    """Over minibatches that show every row equally often the expectation is exact, however the mix makes them up."""
    observation, target, slope = torch.randn(32), 3 * torch.randn(32), torch.ones(1, requires_grad=True)
    share = torch.cat([torch.full((24,), 0.75 / 24), torch.full((8,), 0.25 / 8)])  # 24 rows are real

    def loss(rows):
        values = slope * observation[rows]
        return masked_huber(values.unsqueeze(0), target[rows], torch.ones(1, len(rows)))

    num_real, num_virtual, real_weight, virtual_weight = MIXES[name](0.25, 8)
    steps = 24 // num_real
    real = torch.randperm(24).view(steps, num_real)
    virtual = 24 + torch.cat([torch.randperm(8) for _ in range(3)])[: steps * num_virtual].view(steps, num_virtual)
    losses = [real_weight * loss(a) + virtual_weight * loss(b) for a, b in zip(real, virtual, strict=True)]
    (gradient,) = torch.autograd.grad(torch.stack(losses).mean(), slope)
    distance = observation - target  # of the values from their targets; the slope of the Huber loss ends at 1
    torch.testing.assert_close(gradient, (share * distance.clamp(-1, 1) * observation).sum().unsqueeze(0))


def test_masked_huber_ignores_masked_rows_and_averages_members():
    values = torch.tensor([[0.0, 100.0], [1.0, 0.0]])
    mask = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    loss = masked_huber(values, torch.zeros(2), mask)
    assert loss.item() == pytest.approx((0.0 + 0.25) / 2)
    assert bootstrap_mask(2000, 5, 0.8, torch.device("cpu")).mean().item() == pytest.approx(0.8, abs=0.02)
    assert bootstrap_mask(7, 1, 1.0, torch.device("cpu")).min() == 1


def test_relative_variance_is_scale_free_and_zero_for_a_collapsed_ensemble():
    values, reward = torch.randn(5, 1000), torch.randn(1000)
    u = relative_variance(values, reward)
    assert u > 0
    assert relative_variance(values * 100 + 7, reward * 100) == pytest.approx(u, rel=1e-3)
    assert relative_variance(values[:1].expand(5, -1), reward) == pytest.approx(0, abs=1e-9)
    assert relative_variance(values[:1], reward) == 0
