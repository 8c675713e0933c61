"""PO-MPC's learned prior and soft target."""

import math

import pytest
import torch
from latent import BATCH, HORIZON, batch, deterministic, make

from pompc.algorithms.pompc import POMPC, POMPCConfig
from pompc.dials import ScheduleConfig
from pompc.errors import UserError


class TestLearnedPrior:
    @pytest.mark.parametrize("policy", ["clamped", "squashed"])
    @pytest.mark.parametrize("prior", ["forward", "reverse"])
    def test_it_finds_a_gaussian_plan(self, prior, policy):
        log_stds = {"log_std_min": -5.0, "log_std_max": 1.0}
        agent = make(POMPC, POMPCConfig, actions=1, prior=prior, policy=policy, learning_rate=3e-3, **log_stds)
        mean, std = self.trained(
            agent, torch.full((HORIZON + 1, BATCH, 1), 0.4), torch.full((HORIZON + 1, BATCH, 1), 0.1)
        )
        assert mean == pytest.approx(0.4, abs=0.05)
        assert std == pytest.approx(0.1, abs=0.04)

    def test_forward_covers_both_of_two_plans_and_reverse_settles_on_one(self):
        means = torch.full((HORIZON + 1, BATCH, 1), 0.5)
        means[:, ::2] = -0.5
        found = {}
        for prior in ("forward", "reverse"):
            log_stds = {"log_std_min": -5.0, "log_std_max": 1.0}
            agent = make(POMPC, POMPCConfig, actions=1, prior=prior, learning_rate=3e-3, **log_stds)
            with torch.no_grad():
                agent.prior.network.net[-1].bias[0] = 0.1
            found[prior] = self.trained(agent, means, torch.full_like(means, 0.3))
        assert found["forward"][1] == pytest.approx(math.hypot(0.5, 0.3), rel=0.1)
        assert found["reverse"][1] < 0.4

    def trained(self, agent, means, stds):
        """Fit the learned prior to the same plans at one state; return mean and std of its actions."""
        data = batch(actions=1)
        data["state"] = torch.full((HORIZON + 1, BATCH, agent.model.latent_dim), 1 / 8)
        data["plan_mean"], data["plan_std"] = means, stds
        torch.manual_seed(0)
        for _ in range(400):
            agent.prior.learn(agent, data)
        actions = agent.prior.network.sample(data["state"][0, :1].expand(4000, -1)).action
        return actions.mean().item(), actions.std().item()

    def test_it_does_not_learn_from_the_policys_loss(self):
        agent = make(POMPC, POMPCConfig)
        data = batch()
        agent.model_loss(data)
        loss, _ = agent.policy_loss(data)
        assert all(g is None for g in torch.autograd.grad(loss, list(agent.prior.parameters()), allow_unused=True))


class TestSoftTarget:
    @pytest.mark.parametrize("prior", ["plan", "forward"])
    def test_it_lowers_the_target_by_the_weighted_divergence(self, prior):
        plain, soft = (make(POMPC, POMPCConfig, prior=prior, kl_weight=2.0, soft_target=on) for on in (False, True))
        data = batch()
        data["terminated"][1, ::2] = 1
        data["plan_std"][2, 1] = 0  # the end of an episode has no plan
        data["encoded"] = plain.model.encode(data["observation"]).detach()
        targets = []
        for agent in (plain, soft):
            agent.critic.draw = lambda: None
            agent.policy.sample = deterministic(agent.policy)
            agent.return_scale.value.fill_(3.0)
            agent.imitation.scale.value.fill_(4.0)
            with torch.no_grad():
                targets.append(agent.value_target(data))
        gap = targets[0] - targets[1]
        sample = soft.policy.sample(data["encoded"][1:])
        with torch.no_grad():
            std = data["plan_std"][1:].clamp_min(1e-3)
            of_plan = soft.policy.divergence(sample, data["plan_mean"][1:], std)
            expected = of_plan if prior == "plan" else sample.gaussian_kl(*soft.prior.network(data["encoded"][1:]))
        expected = 0.9 * 2.0 * (3.0 / 4.0) * expected
        expected[1, ::2] = 0  # nothing counts after a termination
        if prior == "plan":
            expected[1, 1] = 0
        torch.testing.assert_close(gap, expected.detach(), rtol=1e-4, atol=1e-4)

    def test_it_needs_a_finite_lambda(self):
        with pytest.raises(UserError, match="finite kl_weight"):
            POMPCConfig(soft_target=True, kl_weight=math.inf)
        with pytest.raises(UserError, match="finite kl_weight"):
            POMPCConfig(soft_target=True, kl_weight=ScheduleConfig(schedule="fixed", initial=math.inf))

    def test_it_leaves_virtual_targets_to_the_plain_return(self):
        for ratio in (0.5, ScheduleConfig(schedule="exp")):
            with pytest.raises(UserError, match="soft_target=true needs virtual_ratio=0"):
                POMPCConfig(soft_target=True, virtual_ratio=ratio)
