"""BOOM: the released rules by the size of the action, and both alignments in closed form."""

import math

import pytest
import tiny
import torch
from latent import ACTIONS, HORIZON, batch, make, policy_loss, stilled
from torch import nn

from pompc.algorithms.boom import MIDDLE, Boom, BoomConfig
from pompc.algorithms.tdmpc2 import TDMPC2, TDMPC2Config
from pompc.algorithms.tdmpc_square import TDMPCSquare, TDMPCSquareConfig
from pompc.errors import UserError
from pompc.networks.layers import SimNorm


def prepared(scale=3.0, **options):
    return stilled(Boom, BoomConfig, scale, **options)


def weighed(agent, values, log_prob):
    """Sum log-densities ``[time, batch]`` by the softmax of values, weighted over time."""
    sums = (torch.softmax(values, -1) * log_prob).sum(-1)
    return sum(agent.config.temporal_decay**t * sums[t] for t in range(HORIZON)) / HORIZON


class TestReleasedRules:
    @pytest.mark.parametrize(("actions", "coef"), [(23, 1 / 50), (24, 1 / 1000), (48, 1 / 1000), (49, 1 / 50)])
    def test_the_size_of_the_action_decides_simnorm_and_coefficient(self, actions, coef):
        agent = make(Boom, BoomConfig, actions=actions)
        assert (agent.alignment_coef, actions in MIDDLE) == (coef, coef == 1 / 1000)
        kinds = {type(net[-1].activation) for net in (agent.model.encoder.net, agent.model.dynamics)}
        assert kinds == {nn.Identity if coef == 1 / 1000 else SimNorm}

    def test_what_is_given_wins(self):
        for actions in (2, 38):
            for on, kind in ((True, SimNorm), (False, nn.Identity)):
                agent = make(Boom, BoomConfig, actions=actions, simnorm=on, alignment_coef=0.3)
                assert isinstance(agent.model.dynamics[-1].activation, kind)
                assert agent.alignment_coef == 0.3

    def test_without_simnorm_a_latent_is_a_normalised_layer_of_any_size(self):
        agent, data = make(Boom, BoomConfig, simnorm=False, latent_dim=13), batch()
        state = agent.model.encode(data["observation"])
        torch.testing.assert_close(state.mean(-1), torch.zeros(state.shape[:-1]), rtol=0, atol=1e-5)
        torch.testing.assert_close(state.var(-1, correction=0), torch.ones(state.shape[:-1]), rtol=0, atol=0.05)

    def test_the_reward_head_is_deeper_and_starts_orthogonal(self):
        for start, rows in (("orthogonal", torch.eye(24)), ("zeros", torch.zeros(24, 24))):
            agent = tiny.agent(Boom, reward_init=start, mlp_dim=24)
            assert len(agent.model.reward_head) == 4
            last = agent.model.reward_head[-1].weight.detach()
            torch.testing.assert_close(last.T @ last, rows, rtol=0, atol=1e-5)
            assert not agent.critic.heads.linears[-1].weight.any()
        assert len(tiny.agent(Boom, reward_layers=1).model.reward_head) == 2


class TestAlignment:
    @pytest.mark.parametrize("coef", [None, 0.3])
    def test_the_released_loss_in_closed_form(self, coef):
        agent, data = prepared(entropy_coef=0.1, kl_weight=2.0, alignment_coef=coef, alignment_min_std=0.3)
        loss, metrics, sample = policy_loss(agent, data)

        def density(z, log_std):
            return ACTIONS * ((-z.square() / 2 - log_std).sum(-1) - math.log(2 * math.pi) / 2)

        log_prob = density(sample.noise, sample.log_std) - (1 - sample.action.square() + 1e-6).log().sum(-1)
        heads = agent.critic.values(agent.values.inputs(data["state"][:-1], sample.action), agent.critic.draw())
        value = torch.minimum(*heads) / 3
        std = sample.log_std.exp().clamp_min(0.3).detach()
        g = density((sample.action - data["plan_mean"][:-1]) / std, std.log()) / 3
        alignment = -weighed(agent, value.detach(), g)
        expected = agent.temporal_mean(0.1 * log_prob - value) + 2.0 * ACTIONS * (coef or 1 / 50) * alignment
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(metrics["kl"], alignment.detach())
        weights = list(agent.policy.parameters())
        ours, closed = (torch.autograd.grad(each, weights, retain_graph=True) for each in (loss, expected))
        torch.testing.assert_close(ours, closed, rtol=1e-4, atol=1e-6)

    def test_the_papers_alignment_is_the_policys_likelihood_of_the_plans_weighed_by_their_values(self):
        agent, data = prepared(entropy_coef=0.0, alignment="likelihood")
        _, metrics, sample = policy_loss(agent, data)
        planned = data["plan_mean"][:-1].clamp(-0.999, 0.999)
        normal = torch.distributions.Normal(sample.mean, sample.log_std.exp())
        log_prob = (normal.log_prob(planned.atanh()) - (1 - planned.square() + 1e-6).log()).sum(-1)
        with torch.no_grad():
            inputs = agent.values.inputs(data["state"][:-1], data["plan_mean"][:-1])
            value = torch.minimum(*agent.critic.values(inputs, agent.critic.draw())) / 3
        torch.testing.assert_close(metrics["kl"], -weighed(agent, value, log_prob / 3).detach(), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("alignment", ["density", "likelihood"])
    def test_a_strong_alignment_ends_at_the_plans(self, alignment):
        agent, data = prepared(alignment=alignment, kl_weight=1e4, learning_rate=1e-2)
        data["plan_mean"] = torch.full_like(data["plan_mean"], 0.4)
        for seed in range(40):
            torch.manual_seed(seed)
            loss, _ = agent.policy_loss(data)
            agent.optimizer_step("policy", loss, data)
        mean = agent.policy.action(agent.policy(data["state"][:-1])[0])
        torch.testing.assert_close(mean, torch.full_like(mean, 0.4), rtol=0, atol=0.1)

    def test_equal_values_weigh_all_states_alike(self):
        agent, data = prepared()
        with torch.no_grad():
            agent.critic.heads.linears[-1].weight.zero_()
        _, metrics, sample = policy_loss(agent, data)
        log_prob, _ = agent.alignment(agent, data, sample, torch.zeros(HORIZON, 16))
        torch.testing.assert_close(metrics["kl"], -agent.temporal_mean(log_prob / 3).detach())

    def test_below_the_threshold_only_the_values_differ_from_tdmpc2_squared(self):
        """With the mean of the heads both are TD-MPC2 on the states that have a plan."""
        agent, data = prepared(scale=1.5, policy_value="mean", reward_layers=2, reward_init="zeros")
        square = make(TDMPCSquare, TDMPCSquareConfig, scale_rate=0.0)
        square.load_state_dict(agent.state_dict())
        square.critic.draw = agent.critic.draw
        loss, metrics, _ = policy_loss(agent, data)
        torch.testing.assert_close(loss, policy_loss(square, data)[0], rtol=0, atol=0)
        assert metrics["kl"] == 0

    def test_an_infinite_lambda_is_refused(self):
        with pytest.raises(UserError, match="imitation alone, which boom is not"):
            BoomConfig(kl_weight=math.inf)


class TestOptionsOfOtherAlgorithms:
    def test_every_algorithm_may_climb_the_lesser_head(self):
        mean, least = (make(TDMPC2, TDMPC2Config, policy_value=name) for name in ("mean", "least"))
        state, action = torch.rand(4, 16), torch.rand(4, ACTIONS)
        for agent in (mean, least):
            agent.critic.draw = lambda: torch.tensor([0, 2])
        heads = mean.critic.values(mean.values.inputs(state, action), torch.tensor([0, 2]))
        torch.testing.assert_close(mean.values.of_action(state, action), heads.mean(0))
        torch.testing.assert_close(least.values.of_action(state, action), heads.amin(0))
        torch.testing.assert_close(least.values.mean(state, action), heads.mean(0))

    def test_null_is_simnorm_in_tdmpc2_whatever_the_action(self):
        for actions in (2, 38):
            found = [make(TDMPC2, TDMPC2Config, actions=actions, simnorm=on) for on in (None, True)]
            assert [type(agent.model.dynamics[-1].activation) for agent in found] == [SimNorm] * 2
