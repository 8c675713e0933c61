"""Virtual value targets from the planner's latent rollouts, mixed in by an annealed ratio."""

import pytest
import torch
from latent import ACTIONS, BATCH, HORIZON, batch, deterministic, make

from pompc.algorithms.adaptive_pompc import AdaptivePOMPC, AdaptivePOMPCConfig


class TestAdaptive:
    def test_the_share_of_virtual_targets_decays_and_slower_under_disagreement(self):
        ratios = []
        for spread in (0.0, 1.0):
            agent = make(AdaptivePOMPC, AdaptivePOMPCConfig)
            head = agent.critic.heads.linears[-1]
            with torch.no_grad():
                head.weight.copy_(head.weight[:1] + spread * torch.randn_like(head.weight))
                for part in (*agent.critic.heads.linears[:-1], *agent.critic.heads.norms):
                    part.weight.copy_(part.weight[:1].expand_as(part.weight))
                    part.bias.copy_(part.bias[:1].expand_as(part.bias))
            data = batch()
            data["state"] = agent.model.encode(data["observation"]).detach()
            data["reward"] *= 0  # the spread of the values alone is the measure
            for _ in range(200):
                agent.move_dials(data)
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
        loss = agent.value_loss(virtual["state"], virtual["action"], virtual["target"])
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
