"""Value targets and returns of a planner's rollouts."""

import pytest
import torch
from line import LineModel
from tensordict import TensorDict

from pompc.models import KnownModel
from pompc.onpolicy.mixing import VIRTUAL_WEIGHTS
from pompc.onpolicy.virtual_targets import (
    bootstrapped_share,
    model_errors,
    model_return,
    virtual_metrics,
    virtual_targets,
)
from pompc.planner import MPPI, MPPIConfig


class Line(LineModel):
    """Moves by the action; the reward is the position; the episode ends beyond 3."""

    def step(self, state, action):
        return state + action

    def reward(self, state, action, next_state):
        return next_state[..., 0]

    def terminated(self, state, action, next_state):
        return next_state[..., 0] > 3


MODEL = KnownModel(Line())


def value(observation):
    return 10.0 + observation[..., 0]


def naive_targets(states, actions, discount, gae_lambda):
    """Compute the lambda-return by its recursion, one rollout at a time."""
    targets = []
    for xs in states[..., 0].tolist():
        ends = next((h for h in range(len(xs) - 1) if xs[h + 1] > 3), None)
        last = len(xs) - 2 if ends is None else ends
        target = None
        out = []
        for h in range(last, -1, -1):
            bootstrap = 0.0 if h == ends else 10.0 + xs[h + 1]
            later = bootstrap if target is None else (1 - gae_lambda) * bootstrap + gae_lambda * target
            target = xs[h + 1] * 0.5 + discount * later
            out.append(target)
        targets += out[::-1]
    return torch.tensor(targets)


def test_targets_are_truncated_lambda_returns_that_stop_at_the_end_of_an_episode():
    actions = torch.rand(20, 6, 1)
    states = torch.cat([torch.zeros(20, 1, 1), actions.cumsum(1)], 1) + torch.rand(20, 1, 1)
    scoring = {"discount": 0.9, "gae_lambda": 0.8}
    virtual = virtual_targets(states, actions, MODEL, value, reward_scale=0.5, **scoring)
    expected = naive_targets(states, actions, 0.9, 0.8)
    assert len(virtual) == len(expected) < 120  # some rollouts end early and have fewer transitions
    torch.testing.assert_close(virtual["value_target"], expected)


def test_rollouts_with_a_non_finite_state_are_left_out():
    states = torch.zeros(3, 5, 1)
    states[1, 3] = torch.nan
    virtual = virtual_targets(
        states, torch.zeros(3, 4, 1), MODEL, value, reward_scale=1.0, discount=0.9, gae_lambda=0.9
    )
    assert len(virtual) == 8
    assert torch.isfinite(virtual["value_target"]).all()


def test_model_return_of_one_certain_sample_is_its_discounted_sum():
    planner = MPPI(MPPIConfig(horizon=3, num_samples=1, num_zero_mean=0), Line(), Line(), 1)
    plan = planner.plan(torch.zeros(1, 1), mean=torch.ones(1, 3, 1), parameters=torch.zeros(1, 1, 1))
    rewards, final = model_return(plan, MODEL, value, discount=0.5)
    assert rewards.item() == pytest.approx(1 + 0.5 * 2 + 0.25 * 3)
    assert final.item() == pytest.approx(0.125 * 13)
    far = planner.plan(torch.full((1, 1), 2.5), mean=torch.ones(1, 3, 1), parameters=torch.zeros(1, 1, 1))
    rewards, final = model_return(far, MODEL, value, discount=0.5)  # the episode ends in the first step
    assert (rewards.item(), final.item()) == (pytest.approx(3.5), 0.0)


def test_the_bootstrapped_share_is_the_change_of_a_target_of_a_whole_rollout_when_all_values_change_by_one():
    actions = torch.rand(20, 6, 1)
    actions[:10] = 0.0
    states = torch.cat([torch.zeros(20, 1, 1), actions.cumsum(1)], 1) + torch.rand(20, 1, 1)
    scoring = {"reward_scale": 0.5, "discount": 0.9, "gae_lambda": 0.8}
    low = virtual_targets(states, actions, MODEL, value, **scoring)
    high = virtual_targets(states, actions, MODEL, lambda x: value(x) + 1.0, **scoring)
    change = high["value_target"] - low["value_target"]
    torch.testing.assert_close(change[:60], low["bootstrapped"][:60], atol=1e-5, rtol=0)
    assert (change == 0).any()  # a termination in the next step leaves nothing to bootstrap
    assert low["first"].sum() == 20
    assert len(set(low["bootstrapped"].tolist())) == 6  # one number for every step, whatever ends


@pytest.mark.parametrize("name", VIRTUAL_WEIGHTS)
@pytest.mark.parametrize("end", [0.002, 0.01, 0.05])
def test_weighted_targets_of_an_exact_model_leave_the_true_value_where_it_is(name, end):
    """Every step costs 1 and ends the episode with probability ``end``, so every state has the same value."""
    torch.manual_seed(0)
    gamma = 0.998
    true = -1.0 / (1 - gamma * (1 - end))

    class Chain(Line):
        def reward(self, state, action, next_state):
            return -torch.ones_like(action[..., 0])

        def terminated(self, state, action, next_state):
            return action[..., 0] < end

    virtual = virtual_targets(
        torch.zeros(5000, 21, 1),
        torch.rand(5000, 20, 1),
        KnownModel(Chain()),
        lambda observation: torch.full(observation.shape[:-1], true),
        reward_scale=1.0,
        discount=gamma,
        gae_lambda=0.97,
    )
    real = torch.tensor(1 - (1 - gamma) / (1 - gamma * 0.97))
    weight = VIRTUAL_WEIGHTS[name](virtual["bootstrapped"], real)
    pull = weight * (virtual["value_target"] - true)
    of_rollout = pull.new_zeros(5000).index_add(0, virtual["first"].long().cumsum(0) - 1, pull)
    assert abs(of_rollout.mean()) < 3 * of_rollout.std() / 5000**0.5


def test_a_target_of_n_steps_with_lambda_1_is_bootstrapped_by_the_discount_to_the_n():
    never = torch.zeros(1, 5, dtype=torch.bool)
    share = bootstrapped_share(never, never, discount=0.9, gae_lambda=1.0)
    torch.testing.assert_close(share, 0.9 ** torch.tensor([[5.0, 4, 3, 2, 1]]))


def test_metrics_compare_targets_of_real_states_and_are_absent_without_virtual_data():
    virtual = {"value_target": torch.tensor([3.0, 100.0, 5.0]), "first": torch.tensor([True, False, True])}
    virtual = TensorDict({**virtual, "weight": torch.tensor([1.0, 0.2, 0.6])}, batch_size=[3])
    metrics = virtual_metrics(virtual, torch.tensor([1.0, 2.0]))
    assert metrics == {"virtual_bias": pytest.approx(2.5), "virtual_weight": pytest.approx(0.6)}
    assert virtual_metrics(None, torch.ones(2)) == virtual_metrics(virtual[:0], torch.ones(2)) == {}


def test_model_errors_are_those_of_one_step():
    observation, action = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.5], [-0.5]])
    after = {"observation": torch.tensor([[0.6], [0.1]]), "reward": torch.tensor([[0.5], [1.5]])}
    data = TensorDict({"observation": observation, "action": action, "next": after}, batch_size=[2])
    # The model predicts 0.5 for both states and both rewards.
    expected = {"model_error": 0.25, "model_error_max": 0.4, "reward_error": 0.5, "reward_error_max": 1.0}
    assert model_errors(data, MODEL) == pytest.approx(expected)
