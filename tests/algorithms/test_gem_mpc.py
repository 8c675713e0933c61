"""GEM-MPC: the gate of its prior in its limits, and who proposes."""

import math

import pytest
import torch
from latent import ACTIONS, BATCH, HORIZON, batch, make, updated

from pompc.algorithms.gem_mpc import GEMMPC, GEMMPCConfig
from pompc.algorithms.pompc import POMPC, POMPCConfig
from pompc.errors import UserError


def prior_of(weights):
    return {name: value for name, value in weights.items() if name.startswith("prior.")}


class TestGate:
    @pytest.mark.parametrize("prior", ["forward", "reverse"])
    def test_open_it_is_pompc_bit_for_bit(self, prior):
        expected, wanted = updated(make(POMPC, POMPCConfig, prior=prior))
        weights, metrics = updated(make(GEMMPC, GEMMPCConfig, prior=prior, gate_margin=-math.inf))
        assert weights.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(weights[name], value), name
        for ours, theirs in zip(metrics, wanted, strict=True):
            assert ours["gate_open"] == 1
            assert all(torch.equal(ours[name], value) for name, value in theirs.items())

    def test_shut_the_prior_is_frozen_and_its_optimizer_untouched(self):
        agent = make(GEMMPC, GEMMPCConfig, gate_margin=math.inf)
        before = prior_of({name: value.clone() for name, value in agent.state_dict().items()})
        weights, metrics = updated(agent)
        assert all(torch.equal(weights[name], value) for name, value in before.items())
        assert not agent.optimizers["prior"].state
        assert all(found["gate_open"] == 0 and "prior_loss" not in found for found in metrics)

    def test_values_that_are_all_equal_shut_it(self):
        agent, data = make(GEMMPC, GEMMPCConfig), batch()
        with torch.no_grad():
            agent.critic.target.linears[-1].weight.zero_()
        agent.model_loss(data)
        assert not agent.prior.gate(agent, data).any()

    def test_it_compares_the_plan_with_the_priors_mean_by_the_same_two_slow_heads(self):
        agent, data = make(GEMMPC, GEMMPCConfig, gate_margin=0.1), batch()
        agent.model_loss(data)
        agent.return_scale.value.fill_(2.0)
        torch.manual_seed(7)
        gate = agent.prior.gate(agent, data)
        torch.manual_seed(7)
        chosen, state = agent.critic.draw(), data["state"][:-1]
        own = torch.tanh(agent.prior.network.net(state).chunk(2, -1)[0])
        with torch.no_grad():
            planned, mine = (
                agent.critic.target_values(torch.cat([state, action], -1), chosen).mean(0)
                for action in (data["plan_mean"][:-1], own)
            )
        assert torch.equal(gate, ((planned - mine) / 2 > 0.1).float())
        assert 0 < gate.mean() < 1

    def test_only_plans_that_pass_teach_the_prior(self, monkeypatch):
        """With the gate open for one state, the step is the one that this state alone gives."""
        steps = []
        for others in (0.0, 5.0):
            agent, data = make(GEMMPC, GEMMPCConfig, temporal_decay=1.0), batch()
            agent.model_loss(data)
            data["plan_mean"][:, 1:] += others
            gate = torch.zeros(HORIZON, BATCH)
            gate[:, 0] = 1
            monkeypatch.setattr(agent.prior, "gate", lambda agent, batch, gate=gate: gate)
            alone = agent.prior.distance(data)[:, 0].mean().item()
            loss = agent.prior.learn(agent, data)["prior_loss"]
            steps.append((loss, *prior_of(agent.state_dict()).values()))
        assert all(torch.equal(a, b) for a, b in zip(*steps, strict=True))
        assert loss.item() == pytest.approx(alone)

    def test_the_stored_plan_as_prior_is_refused(self):
        with pytest.raises(UserError, match="one of forward, reverse"):
            GEMMPCConfig(prior="plan")


class TestProposals:
    def proposals(self, count, prior=0.5, policy=-0.5, **options):
        """Propose from a prior and a policy of constant actions without noise."""
        agent = make(GEMMPC, GEMMPCConfig, num_proposals=count, proposal_noise=0.0 if count == 1 else 1.0, **options)
        for network, action in ((agent.prior.network, prior), (agent.policy, policy)):
            with torch.no_grad():
                network.net[-1].weight.zero_()
                network.net[-1].bias[:ACTIONS] = math.atanh(action)
                network.net[-1].bias[ACTIONS:] = -20.0
        return agent.proposals(torch.rand(3, 16))

    @pytest.mark.parametrize(("count", "of_prior"), [(1, 0), (2, 1), (5, 2), (24, 12)])
    def test_half_come_from_the_prior(self, count, of_prior):
        found = self.proposals(count, log_std_min=-20.0)
        assert found.shape == (3, 1, count, HORIZON, ACTIONS)
        expected = torch.full_like(found, -0.5)
        expected[:, :, :of_prior] = 0.5
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)

    def test_none_before_their_time(self):
        assert self.proposals(4, proposals_after=1) is None
