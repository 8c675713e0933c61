"""Virtual value targets from the planner's latent rollouts have an annealed share of the value loss."""

import pytest
import tiny
import torch
from latent import ACTIONS, BATCH, HORIZON, batch, deterministic, make

from pompc.algorithms.adaptive_pompc import AdaptivePOMPC, AdaptivePOMPCConfig
from pompc.dials import ScheduleConfig, disagreement
from pompc.offpolicy.disagreement import move_dials
from pompc.offpolicy.losses import value_loss


class TestAdaptive:
    def test_the_share_of_virtual_targets_decays_and_slower_under_disagreement(self):
        ratios = []
        for std in (0.0, 1.0):
            agent = make(AdaptivePOMPC, AdaptivePOMPCConfig, random_value_scale=0.0)  # heads that can be made to agree
            head = agent.critic.heads.linears[-1]
            with torch.no_grad():
                head.weight.copy_(head.weight[:1] + std * torch.randn_like(head.weight))
                for part in (*agent.critic.heads.linears[:-1], *agent.critic.heads.norms):
                    part.weight.copy_(part.weight[:1].expand_as(part.weight))
                    part.bias.copy_(part.bias[:1].expand_as(part.bias))
            data = batch()
            data["state"] = agent.model.encode(data["observation"]).detach()
            data["reward"] *= 0  # only the variance of the values is left
            for _ in range(200):
                move_dials(agent, data, {})
            ratios.append(agent.virtual_ratio.value)
        assert 0 < ratios[0] < ratios[1] < 0.3
        assert ratios[0] == pytest.approx(0.3 * 0.9999**200, rel=1e-3)

    def test_virtual_targets_reach_the_values_alone(self):
        agent = make(AdaptivePOMPC, AdaptivePOMPCConfig)
        data = batch()
        data["planned"] = torch.rand(HORIZON + 1, BATCH, 2, HORIZON, ACTIONS) * 2 - 1
        data["encoded"] = agent.model.encode(data["observation"])
        virtual = agent.virtual_batch(data)
        assert virtual.batch_size == (HORIZON, 2 * BATCH)
        loss = value_loss(agent, virtual["state"], virtual["action"], virtual["target"])
        gradients = torch.autograd.grad(
            loss, [*agent.model.parameters(), *agent.policy.parameters()], allow_unused=True
        )
        assert all(gradient is None for gradient in gradients)
        loss.backward()
        assert agent.critic.heads.linears[0].weight.grad.abs().max() > 0

    def test_the_value_loss_is_the_mix_by_rho(self):
        losses = {}
        for ratio in (0.0, 0.3, 1.0):
            agent = make(AdaptivePOMPC, AdaptivePOMPCConfig, virtual_ratio=ratio, dropout=0.0)
            agent.critic.draw = lambda: None
            agent.policy.sample = deterministic(agent.policy)
            data = batch()
            data["planned"] = torch.rand(
                HORIZON + 1, BATCH, 2, HORIZON, ACTIONS, generator=torch.Generator().manual_seed(1)
            )
            losses[ratio] = agent.model_loss(data)[0].item()
        assert losses[0.3] == pytest.approx(0.7 * losses[0.0] + 0.3 * losses[1.0], rel=1e-5)
        assert losses[1.0] != pytest.approx(losses[0.0], rel=1e-4)


class TestUncertainty:
    """The uncertainty that moves rho is large before learning and far from the data, and small near them."""

    def learner(self, **options):
        rho = ScheduleConfig(schedule="inv", initial=0.3, decay=0.99, ema=0.9)
        sizes = {"mlp_dim": 48, "latent_dim": 32, "encoder_dim": 32, "ensemble_size": 5}
        learning = {"learning_rate": 2e-3, "discount": 0.5, "virtual_ratio": rho}
        return tiny.agent(AdaptivePOMPC, **{**sizes, **learning, **options})

    def data(self, agent, count=64):
        """Make observations and actions of a corner of the world, and a reward that depends on both."""
        data = tiny.batch(agent, count)
        data["observation"].mul_(0.3)[..., 0] += 1
        data["action"].mul_(0.3)
        data["reward"] = data["observation"][..., :1] + data["action"][..., :1]
        data["planned"] = data["action"][:, :, None, None].expand(-1, -1, 1, agent.horizon, -1)
        return data

    @torch.no_grad()
    def at(self, agent, observation, action, reward):
        values = agent.critic.values(agent.values.inputs(agent.encode(observation), action))
        return disagreement(values, reward)

    @pytest.mark.parametrize("seed", [0, 1])
    def test_it_falls_near_the_data_stays_large_far_from_them_and_slows_rho(self, seed):
        torch.manual_seed(seed)
        agent, uncertainties, ratios = self.learner(), [], [0.3]
        far = 3 * torch.randn(256, 3) - torch.tensor([4.0, 0, 0])
        edge = torch.rand(256, 2) * 0.3 + 0.7
        for _ in range(150):
            uncertainties.append(agent.update(self.data(agent))["uncertainty"].item())
            ratios.append(agent.virtual_ratio.value)
        seen = self.data(agent, 256)
        observation, action, reward = seen["observation"][0], seen["action"][0], seen["reward"][0]
        known = self.at(agent, observation, action, reward)
        assert uncertainties[0] > 0.5
        assert max(uncertainties[:10]) == max(uncertainties)
        assert known < uncertainties[0] / 2
        assert sum(uncertainties[-20:]) / 20 < uncertainties[0] / 2
        assert self.at(agent, far, action, reward) > 1.5 * known
        assert self.at(agent, observation, edge, reward) > 1.5 * known
        early, late = ratios[30] / ratios[0], ratios[150] / ratios[120]
        assert early > 0.99 ** (30 / 3), "less than a third of the exponential's speed while nothing is known"
        assert late < early, "faster once something is"

    def test_without_random_networks_heads_agree_before_they_know_anything(self):
        agent = self.learner(random_value_scale=0.0)
        assert agent.update(self.data(agent))["uncertainty"] < 1e-4

    def test_it_does_not_depend_on_the_units_and_lies_below_one(self):
        values, reward = torch.randn(5, 200), torch.randn(200)
        for factor in (1e-2, 1.0, 1e3):
            assert disagreement(values * factor, reward * factor) == pytest.approx(
                disagreement(values, reward), rel=1e-2
            )
        assert 0.99 < disagreement(torch.randn(5, 1).expand(-1, 200), torch.zeros(200)) <= 1
        assert disagreement(values[:1].expand(5, -1), reward) == pytest.approx(0, abs=1e-6)

    def test_it_is_a_metric_only_if_a_dial_moves(self):
        moving, fixed = self.learner(), self.learner(virtual_ratio=0.3)
        assert "uncertainty" in moving.update(self.data(moving))
        assert "uncertainty" not in fixed.update(self.data(fixed))
