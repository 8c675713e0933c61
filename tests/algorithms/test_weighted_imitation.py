"""The other actors of TD-M(PC)^2's code: closed forms and limit cases of three imitation losses."""

import math

import pytest
import torch
from latent import ACTIONS, HORIZON, make, policy_loss, stilled, updated

from pompc.algorithms.tdmpc_square import TDMPCSquare, TDMPCSquareConfig
from pompc.algorithms.weighted_imitation import WeightedImitation, WeightedImitationConfig
from pompc.config.spec import configure
from pompc.errors import UserError
from pompc.registry import ALGORITHMS


def prepared(**options):
    return stilled(WeightedImitation, WeightedImitationConfig, 2.0, **options)


def likelihood(sample, data):
    """Evaluate the executed actions under the squashed Gaussian, by torch's own distribution."""
    action = data["action"][:-1].clamp(-0.999, 0.999)
    normal = torch.distributions.Normal(sample.mean, sample.log_std.exp())
    return (normal.log_prob(action.atanh()) - (1 - action.square() + 1e-6).log()).sum(-1)


class TestAdvantage:
    def test_equal_values_and_a_large_temperature_make_it_the_plain_likelihood(self):
        for options in ({}, {"advantage_temperature": math.inf}):
            agent, data = prepared(**options)
            if not options:
                with torch.no_grad():
                    agent.critic.heads.linears[-1].weight.zero_()
            loss, metrics, sample = policy_loss(agent, data)
            torch.testing.assert_close(loss, -agent.temporal_mean(likelihood(sample, data)), rtol=1e-4, atol=1e-4)
            assert metrics["imitation_weight"] == 1

    @pytest.mark.parametrize("released", [False, True])
    def test_better_actions_weigh_more_unless_the_released_sign_is_asked_for(self, released):
        agent, data = prepared(released_sign=released, advantage_temperature=0.5, least_weight=0.2, largest_weight=3.0)
        loss, _, sample = policy_loss(agent, data)
        with torch.no_grad():
            states = data["state"][:-1]
            executed, drawn = (
                agent.critic.values(agent.values.inputs(states, action), agent.critic.draw()).mean(0) / 2
                for action in (data["action"][:-1], sample.action)
            )
        weights = ((executed - drawn) * (-1 if released else 1) / 0.5).exp().clamp(0.2, 3.0)
        assert weights.std() > 0.1
        assert (weights[executed > drawn] > 1).all().item() is not released
        expected = -agent.temporal_mean(weights * likelihood(sample, data))
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)

    def test_it_finds_the_better_of_two_actions(self):
        """The same states with a good and a bad action: the policy goes to the good one, or to the bad one as released."""
        ends = {}
        for released in (False, True):
            agent, data = prepared(released_sign=released, learning_rate=1e-2, log_std_min=-2.0, log_std_max=-1.0)
            data["action"] = torch.full_like(data["action"], 0.5)
            data["action"][:, ::2] = -0.5
            agent.values.of_action = lambda state, action: 4 * action.mean(-1)  # good is positive
            for seed in range(60):
                torch.manual_seed(seed)
                loss, _ = agent.policy_loss(data)
                agent.optimizer_step("policy", loss, data)
            ends[released] = agent.policy.action(agent.policy(data["state"][:-1])[0]).mean().item()
        assert ends[False] > 0.2
        assert ends[True] < -0.2


class TestDensity:
    def test_it_is_the_prior_of_tdmpc_square_alone(self):
        agent, data = prepared(imitation="density")
        square = make(TDMPCSquare, TDMPCSquareConfig, scale_rate=0.0, scale_threshold=0.0, kl_weight=0.0)
        square.return_scale.value.fill_(2.0)
        data["plan_std"] = data["plan_std"] + 1.0  # then no density is above one
        loss, _, sample = policy_loss(agent, data)
        torch.testing.assert_close(loss, square.temporal_mean(square.planner_kl(data, sample)), rtol=1e-5, atol=1e-5)

    def test_densities_above_one_count_as_one_and_far_draws_are_cut(self):
        agent, data = prepared(imitation="density")
        _, _, sample = policy_loss(agent, data)
        data["plan_mean"][:-1], data["plan_std"] = sample.action.detach(), torch.full_like(data["plan_std"], 0.05)
        assert policy_loss(agent, data)[0] == 0
        data["plan_mean"] += 1e4
        loss, _, _ = policy_loss(agent, data)
        torch.testing.assert_close(loss, agent.temporal_mean(torch.full((HORIZON, 1), 5e4 / 2)))

    def test_the_return_does_not_matter(self):
        found = []
        for factor in (1.0, -3.0):
            agent, data = prepared(imitation="density")
            with torch.no_grad():
                agent.critic.heads.linears[-1].weight.mul_(factor)
            loss, metrics, _ = policy_loss(agent, data)
            found.append(torch.autograd.grad(loss, list(agent.policy.parameters())))
            assert "return_term" not in metrics
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


class TestSquare:
    def test_without_lambda_it_is_tdmpc_square_without_its_prior(self):
        expected, _ = updated(make(TDMPCSquare, TDMPCSquareConfig, kl_weight=0.0))
        weights, _ = updated(make(WeightedImitation, WeightedImitationConfig, imitation="square", kl_weight=0.0))
        assert all(torch.equal(weights[name], value) for name, value in expected.items())

    def test_lambda_weighs_the_summed_squared_distance(self):
        losses = []
        for weight in (0.0, 2.5):
            agent, data = prepared(imitation="square", kl_weight=weight)
            loss, _, sample = policy_loss(agent, data)
            losses.append(loss)
        distance = ACTIONS * (sample.action - data["action"][:-1]).square().mean(-1)
        torch.testing.assert_close(losses[1] - losses[0], 2.5 * agent.temporal_mean(distance), rtol=1e-4, atol=1e-5)


def test_the_presets_are_settings_of_one_file():
    found = {}
    for name in ("awac", "bc", "bc_sac", "tdmpc_square_late", "tdmpc_square_arc75"):
        algo = configure(name, "dmc/cartpole-swingup").values
        found[name] = (ALGORITHMS[name].target.rpartition(":")[2], algo["kl_weight"], algo["algo"])
    assert {name: (cls, weight) for name, (cls, weight, _) in found.items()} == {
        "awac": ("WeightedImitation", math.inf),
        "bc": ("WeightedImitation", math.inf),
        "bc_sac": ("WeightedImitation", 1.0),
        "tdmpc_square_late": ("TDMPCSquare", 1.0),
        "tdmpc_square_arc75": ("TDMPCSquare", 1.0),
    }
    imitations = [found[name][2]["imitation"] for name in ("awac", "bc", "bc_sac")]
    assert imitations == ["advantage", "density", "square"]
    assert found["tdmpc_square_late"][2]["scale_threshold"] == 10.0
    assert found["tdmpc_square_arc75"][2]["num_proposals"] == 384


def test_weights_have_an_order():
    with pytest.raises(UserError, match=r"algo\.least_weight=20\.0 must not exceed algo\.largest_weight=10\.0"):
        WeightedImitationConfig(least_weight=20.0)
