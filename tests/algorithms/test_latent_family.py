"""The special cases of the latent family come out equal, and what each algorithm adds does what its paper says."""

import dataclasses
import math

import pytest
import torch
from tensordict import TensorDict

from pompc.agent import Problem
from pompc.algorithms.adaptive_pompc import AdaptivePOMPC, AdaptivePOMPCConfig
from pompc.algorithms.bmpc import BMPC, BMPCConfig
from pompc.algorithms.pompc import POMPC, POMPCConfig
from pompc.algorithms.tdmpc2 import TDMPC2, TDMPC2Config
from pompc.algorithms.tdmpc_square import TDMPCSquare, TDMPCSquareConfig
from pompc.errors import UserError
from pompc.learning.latent_config import latent_planner

HORIZON, BATCH, ACTIONS, OBSERVATION = 3, 16, 2, 5
SIZES = {"encoder_dim": 16, "mlp_dim": 24, "latent_dim": 16, "num_values": 5, "num_proposals": 4}
SQUASHED = {"policy": "squashed", "log_std_min": -10.0, "log_std_max": 2.0}


def make(cls, config_cls, actions=ACTIONS, **options):
    """A small agent, always with the same weights."""
    planner = dataclasses.replace(latent_planner(), num_samples=32, num_elites=8, num_iterations=2)
    config = config_cls(**{**SIZES, "planner": planner, "discount": 0.9, "batch_size": BATCH, **options})
    problem = Problem(
        observation_dim=OBSERVATION, action_dim=actions, num_envs=1, task_model=lambda: None, device=torch.device("cpu")
    )
    torch.manual_seed(0)
    agent = cls(config, problem)
    torch.manual_seed(1)  # a learned prior drew numbers, too
    with torch.no_grad():  # heads that start at zero would hide what depends on values and rewards
        for part in (agent.critic.heads.linears[-1], agent.model.reward_head[-1]):
            part.weight.normal_(0, 0.3)
        agent.critic.follow(1.0)
    return agent


def batch(seed=1, actions=ACTIONS):
    """A batch of sequences with a plan for every step."""
    generator = torch.Generator().manual_seed(seed)
    shape = (HORIZON + 1, BATCH)
    draw = lambda *size: torch.randn(*shape, *size, generator=generator)  # noqa: E731
    entries = {
        "observation": draw(OBSERVATION),
        "action": draw(actions).tanh(),
        "reward": draw(1),
        "terminated": torch.zeros(*shape, 1),
        "prior_mean": draw(actions).tanh(),
        "prior_std": 0.05 + draw(actions).abs(),
    }
    return TensorDict(entries, batch_size=shape)


def updated(agent, updates=3):
    """Weights and metrics after some updates, every one on random numbers of its own seed."""
    metrics = []
    for index in range(updates):
        torch.manual_seed(100 + index)
        metrics.append(agent.update(batch(index)))
    return {name: value.clone() for name, value in agent.state_dict().items()}, metrics


def assert_equal(a, b, ignore=()):
    """Every weight of ``a`` is in ``b``, bit for bit."""
    for name, value in a.items():
        if not name.startswith(ignore):
            assert torch.equal(value, b[name]), name


class TestLambdaZero:
    """lambda = 0 is TD-MPC2's update."""

    @pytest.mark.parametrize("options", [{}, {"convex": True}, {"prior": "plan"}, {"prior": "reverse"}], ids=str)
    def test_every_weight_is_that_of_tdmpc2(self, options):
        reference, expected = updated(make(TDMPC2, TDMPC2Config))
        weights, metrics = updated(make(POMPC, POMPCConfig, kl_weight=0.0, **SQUASHED, **options))
        assert_equal(reference, weights)
        assert all(torch.equal(m["policy_loss"], e["policy_loss"]) for m, e in zip(metrics, expected, strict=True))

    def test_a_positive_lambda_is_something_else(self):
        reference, _ = updated(make(TDMPC2, TDMPC2Config))
        weights, _ = updated(make(POMPC, POMPCConfig, kl_weight=0.1, **SQUASHED))
        assert not torch.equal(reference["policy.net.2.weight"], weights["policy.net.2.weight"])

    def test_the_dial_works_on_tdmpc2_itself(self):
        weights, _ = updated(make(TDMPC2, TDMPC2Config, kl_weight=1.0))
        expected, _ = updated(make(POMPC, POMPCConfig, kl_weight=1.0, prior="plan", **SQUASHED))
        assert_equal(weights, expected)


class TestLambdaInfinity:
    """lambda = infinity with Q-iteration is BMPC's imitation variant."""

    @pytest.mark.parametrize("convex", [False, True])
    def test_every_weight_is_that_of_bmpc(self, convex):
        reference, _ = updated(make(BMPC, BMPCConfig, state_values=False))
        options = {"kl_weight": math.inf, "prior": "plan", "average_target": True, "convex": convex}
        weights, metrics = updated(make(POMPC, POMPCConfig, **options))
        assert_equal(reference, weights)
        assert "return_scale" not in metrics[-1]

    def test_the_return_does_not_matter(self):
        """Other values, same policy."""
        agents = [make(POMPC, POMPCConfig, kl_weight=math.inf, prior="plan") for _ in range(2)]
        with torch.no_grad():
            agents[1].critic.heads.linears[-1].weight.mul_(-3)
        found = [updated(agent, 1)[0]["policy.net.2.weight"] for agent in agents]
        assert torch.equal(*found)

    @pytest.mark.parametrize("weight", [0.1, 1.0, 9.0])
    def test_large_lambda_tends_to_it(self, weight):
        """The gradient's direction goes from the return's to the divergence's."""

        def gradient(kl_weight):
            agent = make(POMPC, POMPCConfig, kl_weight=kl_weight, prior="plan", entropy=0.0)
            data = batch()
            torch.manual_seed(5)
            agent.model_loss(data)
            torch.manual_seed(6)
            agent.critic.draw = lambda: None
            agent.policy.sample = deterministic(agent.policy)
            loss, _ = agent.policy_loss(data)
            return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(agent.policy.parameters()))])

        ends, middle = (gradient(0.0), gradient(math.inf)), gradient(weight)
        torch.testing.assert_close(middle, ends[0] + weight * ends[1], rtol=1e-4, atol=1e-6)


def deterministic(policy):
    """The policy's draws without noise."""
    sample = policy.sample

    def without_noise(state, *rest):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "randn_like", torch.zeros_like)
            return sample(state, *rest)

    return without_noise


class TestConvexForm:
    def test_weights_sum_to_one_in_the_ratio_lambda(self):
        for weight in (0.0, 0.111, 1.0, 9.0):
            returns, kl = make(POMPC, POMPCConfig, kl_weight=weight, convex=True).loss_weights()
            assert returns + kl == pytest.approx(1)
            assert kl == pytest.approx(weight * returns)


class TestMonteCarloGate:
    """TD-M(PC)^2 is the gated Monte-Carlo point."""

    def prepared(self, cls, config_cls, **options):
        agent, data = make(cls, config_cls, actions=1, entropy=0.0, **options), batch(actions=1)
        torch.manual_seed(3)
        agent.model_loss(data)
        return agent, data

    def test_its_prior_is_the_monte_carlo_kl_without_the_policys_own_entropy(self):
        square, data = self.prepared(TDMPCSquare, TDMPCSquareConfig, scale_threshold=0.0)
        pompc, _ = self.prepared(POMPC, POMPCConfig, prior="plan", **SQUASHED)
        torch.manual_seed(4)
        sample = square.policy.sample(data["state"][:-1])
        kl = pompc.planner_prior(data, sample)
        cross_entropy = square.planner_prior(data, sample) * square.return_scale.value
        torch.testing.assert_close(kl, cross_entropy + square.policy.log_prob(sample))

    def test_below_the_threshold_it_is_tdmpc2_on_the_states_that_have_a_plan(self):
        square, data = self.prepared(TDMPCSquare, TDMPCSquareConfig, scale_threshold=2.0)
        reference, _ = self.prepared(TDMPC2, TDMPC2Config)
        square.critic.draw = reference.critic.draw = lambda: None
        torch.manual_seed(4)
        loss, metrics = square.policy_loss(data)
        torch.manual_seed(4)
        sample = reference.policy.sample(data["state"][:-1])
        value = reference.critic.values(reference.critic_inputs(data["state"][:-1], sample.action)).mean(0)
        reference.return_scale.update(value[0])
        torch.testing.assert_close(loss, -reference.temporal_mean(reference.return_scale(value)))
        assert metrics["kl"] == 0

    def test_the_gate_opens_with_the_scale(self):
        square, data = self.prepared(TDMPCSquare, TDMPCSquareConfig)
        assert square.planner_prior(data).abs().max() == 0
        square.return_scale.value.fill_(2.01)
        assert square.planner_prior(data).abs().min() > 0

    def test_the_weight_grows_with_the_action(self):
        losses = []
        for weight in (0.0, 1.0, 2.0):
            square, data = self.prepared(TDMPCSquare, TDMPCSquareConfig, scale_threshold=0.0, kl_weight=weight)
            square.critic.draw = lambda: None
            torch.manual_seed(4)
            losses.append(square.policy_loss(data))
        (base, _), (one, metrics), (two, _) = losses
        assert (one - base).item() == pytest.approx(metrics["kl"].item() / 61, rel=1e-3)
        assert (two - one).item() == pytest.approx((one - base).item(), rel=1e-3)


class TestLearnedPrior:
    @pytest.mark.parametrize("policy", ["clamped", "squashed"])
    @pytest.mark.parametrize("prior", ["forward", "reverse"])
    def test_it_finds_a_gaussian_plan(self, prior, policy):
        spread = {"log_std_min": -5.0, "log_std_max": 1.0}
        agent = make(POMPC, POMPCConfig, actions=1, prior=prior, policy=policy, learning_rate=3e-3, **spread)
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
            spread = {"log_std_min": -5.0, "log_std_max": 1.0}
            agent = make(POMPC, POMPCConfig, actions=1, prior=prior, learning_rate=3e-3, **spread)
            with torch.no_grad():
                agent.prior.net[-1].bias[0] = 0.1
            found[prior] = self.trained(agent, means, torch.full_like(means, 0.3))
        assert found["forward"][1] == pytest.approx(math.hypot(0.5, 0.3), rel=0.1)
        assert found["reverse"][1] < 0.4

    def trained(self, agent, means, stds):
        """Mean and spread of the learned prior's actions after it followed the same plans from one state."""
        data = batch(actions=1)
        data["state"] = torch.full((HORIZON + 1, BATCH, agent.model.latent_dim), 1 / 8)
        data["prior_mean"], data["prior_std"] = means, stds
        torch.manual_seed(0)
        for _ in range(400):
            agent.learn_prior(data)
        actions = agent.prior.sample(data["state"][0, :1].expand(4000, -1)).action
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
        data["prior_std"][2, 1] = 0  # an episode's last row has no plan
        data["encoded"] = plain.model.encode(data["observation"]).detach()
        targets = []
        for agent in (plain, soft):
            agent.critic.draw = lambda: None
            agent.policy.sample = deterministic(agent.policy)
            agent.return_scale.value.fill_(3.0)
            with torch.no_grad():
                targets.append(agent.value_target(data))
        gap = targets[0] - targets[1]
        sample = soft.policy.sample(data["encoded"][1:])
        with torch.no_grad():
            std = data["prior_std"][1:].clamp_min(1e-3)
            of_plan = soft.policy.divergence(sample, data["prior_mean"][1:], std)
            expected = of_plan if prior == "plan" else sample.gaussian_kl(*soft.prior(data["encoded"][1:]))
        expected = 0.9 * 2.0 * 3.0 * expected
        expected[1, ::2] = 0  # nothing is counted after a termination
        if prior == "plan":
            expected[1, 1] = 0
        torch.testing.assert_close(gap, expected.detach(), rtol=1e-4, atol=1e-4)

    def test_it_needs_a_finite_lambda(self):
        with pytest.raises(UserError, match="finite kl_weight"):
            POMPCConfig(soft_target=True, kl_weight=math.inf)


class TestBMPC:
    def test_values_do_not_see_actions_and_bootstrap_from_the_model(self):
        agent, data = make(BMPC, BMPCConfig, num_values=2), batch()
        data["encoded"] = agent.model.encode(data["observation"]).detach()
        agent.policy.sample = deterministic(agent.policy)
        with torch.no_grad():
            target = agent.value_target(data)
            state = data["encoded"][:-1]
            action = agent.policy.sample(state).action
            then = agent.critic.two_hot.decode(agent.critic.target(agent.model.next(state, action))).mean(0)
            torch.testing.assert_close(target, agent.model.reward(state, action) + 0.9 * then)
        data["reward"] += 100  # rewards of the data play no part
        with torch.no_grad():
            torch.testing.assert_close(agent.value_target(data), target)

    def test_a_finite_lambda_adds_the_models_return(self):
        """The gradient of the return reaches the policy through the model."""
        found = []
        for kl_weight in (math.inf, 1.0):
            agent, data = make(BMPC, BMPCConfig, num_values=2, kl_weight=kl_weight, entropy=0.0), batch()
            agent.model_loss(data)
            agent.policy.sample = deterministic(agent.policy)
            loss, _ = agent.policy_loss(data)
            found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(agent.policy.parameters()))]))
            sample = agent.policy.sample(data["state"])
        value = agent.policy_value(data["state"], sample.action)
        gain = -agent.temporal_mean(value / agent.return_scale.value)
        expected = torch.cat([g.flatten() for g in torch.autograd.grad(gain, list(agent.policy.parameters()))])
        assert expected.abs().max() > 1e-4
        torch.testing.assert_close(found[1] - found[0], expected, rtol=1e-3, atol=1e-6)

    def test_the_policy_waits_for_the_pretraining_to_end(self):
        agent = make(BMPC, BMPCConfig)
        before = agent.policy.net[2].weight.clone()
        agent.update(batch(), pretraining=True)
        assert torch.equal(agent.policy.net[2].weight, before)
        agent.update(batch())
        assert not torch.equal(agent.policy.net[2].weight, before)


class TestLazyReanalysis:
    def filled(self, **options):
        options = {"reanalyze_interval": 2, "reanalyze_sequences": 4, **options}
        agent = make(BMPC, BMPCConfig, buffer_size=400, **options)
        steps = 60
        observation = torch.randn(1, steps + 1, OBSERVATION)
        done = torch.zeros(1, steps, 1, dtype=torch.bool)
        done[:, 29::30] = True
        data = TensorDict(
            {
                "observation": observation[:, :-1],
                "action": torch.rand(1, steps, ACTIONS),
                "prior_mean": torch.full((1, steps, ACTIONS), 7.0),
                "prior_std": torch.full((1, steps, ACTIONS), 7.0),
                "next": {
                    "observation": observation[:, 1:],
                    "reward": torch.rand(1, steps, 1),
                    "terminated": torch.zeros(1, steps, 1, dtype=torch.bool),
                    "done": done,
                },
            },
            batch_size=[1, steps],
        )
        agent.replay.extend(data)
        return agent

    def test_new_plans_go_to_the_replay_and_into_the_same_update(self):
        agent = self.filled()
        data, indices = agent.replay.sample(BATCH)
        agent.refresh(data, indices, pretraining=False)
        assert (data["prior_std"][:HORIZON, :4] <= 2).all()
        assert (data["prior_mean"][:HORIZON, :4].abs() <= 1).all()
        assert (data["prior_std"][:HORIZON, 4:] == 7).all()
        stored = agent.replay.state_dict()
        renewed = len(indices[:HORIZON, :4].unique())
        column = torch.cat([v.reshape(-1, ACTIONS) for v in find(stored, "prior_std")])
        assert ((column > 0) & (column <= 2)).all(-1).sum() == renewed

    @pytest.mark.parametrize("why", ["never", "pretraining", "not due"])
    def test_otherwise_nothing_changes(self, why):
        agent = self.filled(reanalyze_interval=0 if why == "never" else 2)
        agent.updates = 1 if why == "not due" else 0
        data, indices = agent.replay.sample(BATCH)
        agent.refresh(data, indices, pretraining=why == "pretraining")
        assert (data["prior_std"][:HORIZON] == 7).all()


def find(state, name):
    """Every tensor under a key of that name in a nested state."""
    if isinstance(state, dict):
        return [t for key, v in state.items() for t in ([v] if key == name else find(v, name))]
    return [t for v in state for t in find(v, name)] if isinstance(state, list | tuple) else []


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


class TestBadInput:
    @pytest.mark.parametrize(
        ("config_cls", "options", "message"),
        [
            (TDMPCSquareConfig, {"kl_weight": math.inf}, "take pompc or bmpc"),
            (TDMPCSquareConfig, {"reference_actions": 0}, "reference_actions must be positive"),
            (BMPCConfig, {"reanalyze_log_std_min": 2.0}, "must be below algo.reanalyze_log_std_max"),
            (POMPCConfig, {"prior": "plans"}, "there are: plan, forward, reverse"),
        ],
    )
    def test_it_is_one_line(self, config_cls, options, message):
        with pytest.raises(UserError, match=message) as error:
            config_cls(**options)
        assert "\n" not in str(error.value)
