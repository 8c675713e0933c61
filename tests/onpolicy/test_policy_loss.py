"""The policy loss at zero, finite and infinite lambda."""

import math

import pytest
import torch
from hierarchy import SMALL, collect, problem

from pompc.algorithms.ppo import PPO, PPOConfig


class Pulled(PPO):
    """PPO whose divergence is the distance of its mean from 0.5."""

    def planner_kl(self, batch):
        return (self.actor(batch["observation"])[0] - 0.5).abs().squeeze(-1)


@pytest.fixture
def agent():
    return Pulled(PPOConfig(**SMALL, entropy_coef=0.1), problem())


def gradient(agent, loss):
    return torch.autograd.grad(loss, list(agent.actor.parameters()), materialize_grads=True)


def test_lambda_weighs_the_divergence_against_the_surrogate(agent):
    batch = agent.real_batch(collect(agent)[0])
    surrogate, without = agent.policy_loss(batch)
    agent.kl_weight.value = 3.0
    loss, metrics = agent.policy_loss(batch)
    assert loss.item() == pytest.approx((surrogate + 3 * agent.planner_kl(batch).mean()).item())
    assert metrics.keys() - without.keys() == {"return_term", "kl_term", "return_grad_norm", "kl_grad_norm"}


def test_at_infinite_lambda_only_the_divergence_is_left(agent):
    batch = agent.real_batch(collect(agent)[0])
    batch["log_prob"].fill_(-1e6)  # no policy drew these actions, so that the surrogate is not finite
    batch["advantage"].neg_()
    agent.kl_weight.value = math.inf
    loss, metrics = agent.policy_loss(batch)
    expected = agent.planner_kl(batch).mean()
    assert torch.equal(loss, expected)
    assert metrics.keys() == {"kl_term", "kl_grad_norm"}
    assert all(torch.equal(a, b) for a, b in zip(gradient(agent, loss), gradient(agent, expected), strict=True))
    assert gradient(agent, agent.policy_loss(batch)[0])[-1].abs().sum() > 0


def test_an_update_at_infinite_lambda_moves_the_mean_alone_and_the_values_as_ever(agent):
    other = Pulled(PPOConfig(**SMALL, entropy_coef=0.1), problem())
    other.load_state_dict(agent.state_dict())
    (data,) = collect(agent)
    agent.kl_weight.value = math.inf
    std, before = agent.actor.log_std.clone(), (agent.actor(data["observation"])[0] - 0.5).abs().mean()
    for one in (agent, other):
        torch.manual_seed(0)
        one.learn(data.clone())
    assert torch.equal(agent.actor.log_std, std)
    assert (agent.actor(data["observation"])[0] - 0.5).abs().mean() < before
    assert all(torch.equal(a, b) for a, b in zip(agent.values.parameters(), other.values.parameters(), strict=True))


def test_without_samples_the_loss_is_zero_at_any_lambda(agent):
    batch = agent.real_batch(collect(agent)[0])[:0]
    for weight in (0.0, 1.0, math.inf):
        agent.kl_weight.value = weight
        assert agent.policy_loss(batch) == (0.0, {})
