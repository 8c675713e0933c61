"""Two off-policy agents give equal numbers at the points of the plane that they share."""

import math

import pytest
import tiny
import torch
from latent import ACTIONS, HORIZON, SQUASHED, batch, deterministic, make, updated

from pompc.algorithms.bmpc import BMPC, BMPCConfig
from pompc.algorithms.pompc import POMPC, POMPCConfig
from pompc.algorithms.tdmpc2 import TDMPC2, TDMPC2Config
from pompc.algorithms.tdmpc_square import TDMPCSquare, TDMPCSquareConfig
from pompc.dials import ScheduleConfig
from pompc.errors import UserError


def assert_equal(a, b, ignore=()):
    """Require that every weight of ``a`` is in ``b``, bit for bit."""
    for name, value in a.items():
        if not name.startswith(ignore):
            assert torch.equal(value, b[name]), name


class TestLambdaZero:
    """lambda = 0 is TD-MPC2's update."""

    @pytest.mark.parametrize("options", [{}, {"convex": True}, {"prior": "plan"}, {"prior": "reverse"}], ids=str)
    def test_every_weight_is_that_of_tdmpc2(self, options):
        reference, expected = updated(make(TDMPC2, TDMPC2Config))
        weights, metrics = updated(make(POMPC, POMPCConfig, kl_weight=0.0, **SQUASHED, **options))
        assert_equal(reference, weights, ignore="imitation.scale")  # a scale without use, at its floor
        assert all(torch.equal(m["policy_loss"], e["policy_loss"]) for m, e in zip(metrics, expected, strict=True))

    def test_a_positive_lambda_is_something_else(self):
        reference, _ = updated(make(TDMPC2, TDMPC2Config))
        weights, _ = updated(make(POMPC, POMPCConfig, kl_weight=0.1, **SQUASHED))
        assert not torch.equal(reference["policy.net.2.weight"], weights["policy.net.2.weight"])

    def test_the_dial_works_on_tdmpc2_itself(self):
        weights, _ = updated(make(TDMPC2, TDMPC2Config, kl_weight=1.0))
        options = {"kl_weight": 1.0, "prior": "plan", "kl_scale_min": 1.0}
        expected, _ = updated(make(POMPC, POMPCConfig, **options, **SQUASHED))
        assert_equal(weights, expected)


class TestLambdaInfinity:
    """lambda = infinity with Q-iteration is BMPC's imitation variant."""

    @pytest.mark.parametrize("convex", [False, True])
    def test_every_weight_is_that_of_bmpc(self, convex):
        reference, _ = updated(make(BMPC, BMPCConfig, state_values=False))
        options = {
            "kl_weight": math.inf,
            "prior": "plan",
            "average_target": True,
            "kl_scale_min": 1.0,
            "convex": convex,
        }
        weights, metrics = updated(make(POMPC, POMPCConfig, **options))
        assert_equal(reference, weights)
        assert "return_scale" not in metrics[-1]

    def test_the_return_does_not_matter(self):
        """Other values leave the policy the same."""
        agents = [make(POMPC, POMPCConfig, kl_weight=math.inf, prior="plan") for _ in range(2)]
        with torch.no_grad():
            agents[1].critic.heads.linears[-1].weight.mul_(-3)
        found = [updated(agent, 1)[0]["policy.net.2.weight"] for agent in agents]
        assert torch.equal(*found)

    @pytest.mark.parametrize("weight", [0.1, 1.0, 9.0])
    def test_a_large_lambda_tends_to_imitation(self, weight):
        """The direction of the gradient goes from that of the return to that of the divergence."""

        def gradient(kl_weight):
            agent = make(POMPC, POMPCConfig, kl_weight=kl_weight, prior="plan", entropy_coef=0.0)
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


class TestConvexForm:
    def test_weights_sum_to_one_in_the_ratio_lambda(self):
        for weight in (0.0, 0.111, 1.0, 9.0):
            returns, kl = make(POMPC, POMPCConfig, kl_weight=weight, convex=True).loss_weights()
            assert returns + kl == pytest.approx(1)
            assert kl == pytest.approx(weight * returns)


class TestMonteCarloGate:
    """TD-M(PC)^2 is the gated Monte-Carlo point."""

    def prepared(self, cls, config_cls, **options):
        agent, data = make(cls, config_cls, actions=1, entropy_coef=0.0, **options), batch(actions=1)
        torch.manual_seed(3)
        agent.model_loss(data)
        return agent, data

    def test_its_prior_is_the_monte_carlo_kl_without_the_policys_entropy(self):
        square, data = self.prepared(TDMPCSquare, TDMPCSquareConfig, scale_threshold=0.0)
        pompc, _ = self.prepared(POMPC, POMPCConfig, prior="plan", **SQUASHED)
        torch.manual_seed(4)
        sample = square.policy.sample(data["state"][:-1])
        kl = pompc.planner_kl(data, sample)
        cross_entropy = square.planner_kl(data, sample) * square.return_scale.value
        torch.testing.assert_close(kl, cross_entropy + square.policy.log_prob(sample))

    def test_below_the_threshold_it_is_tdmpc2_on_the_states_that_have_a_plan(self):
        square, data = self.prepared(TDMPCSquare, TDMPCSquareConfig, scale_threshold=2.0)
        reference, _ = self.prepared(TDMPC2, TDMPC2Config)
        square.critic.draw = reference.critic.draw = lambda: None
        torch.manual_seed(4)
        loss, metrics = square.policy_loss(data)
        torch.manual_seed(4)
        sample = reference.policy.sample(data["state"][:-1])
        value = reference.critic.values(reference.values.inputs(data["state"][:-1], sample.action)).mean(0)
        reference.return_scale.update(value[0])
        torch.testing.assert_close(loss, -reference.temporal_mean(reference.return_scale(value)))
        assert metrics["kl"] == 0

    def test_the_gate_opens_with_the_scale(self):
        square, data = self.prepared(TDMPCSquare, TDMPCSquareConfig)
        assert square.planner_kl(data, square.policy.sample(data["state"][:-1])).abs().max() == 0
        square.return_scale.value.fill_(2.01)
        assert square.planner_kl(data, square.policy.sample(data["state"][:-1])).abs().min() > 0

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

    def test_the_loss_in_closed_form(self):
        """Both scales, the floor of the plan's std and the entropy take part; the action has two entries."""
        options = {
            "entropy_coef": 0.1,
            "kl_weight": 2.0,
            "reference_actions": 7,
            "prior_min_std": 0.3,
            "temporal_decay": 0.5,
        }
        agent, data = make(TDMPCSquare, TDMPCSquareConfig, scale_threshold=2.0, scale_rate=0.0, **options), batch()
        agent.model_loss(data)
        data["plan_std"][0] = 0.01
        agent.return_scale.value.fill_(3.0)
        agent.critic.draw = lambda: None
        states = data["state"][:-1]
        torch.manual_seed(4)
        sample = agent.policy.sample(states)
        torch.manual_seed(4)
        loss, _ = agent.policy_loss(data)

        def density(z, log_std):
            return ACTIONS * ((-z.square() / 2 - log_std).sum(-1) - math.log(2 * math.pi) / 2)

        log_prob = density(sample.noise, sample.log_std) - (1 - sample.action.square() + 1e-6).log().sum(-1)
        std = data["plan_std"][:-1].clamp_min(0.3)
        cross_entropy = -density((sample.action - data["plan_mean"][:-1]) / std, std.log())
        value = agent.critic.values(agent.values.inputs(states, sample.action)).mean(0)
        terms = 0.1 * log_prob - value / 3 + 2.0 * ACTIONS / 7 * cross_entropy / 3
        expected = sum(0.5**t * terms[t].mean() for t in range(HORIZON)) / HORIZON
        torch.testing.assert_close(loss, expected)

    def test_each_task_weighs_by_its_own_size(self, monkeypatch):
        options = {"tasks": tiny.tasks(), "observation_dim": 4, "discount": None, "scale_threshold": 0.0}
        square = tiny.agent(TDMPCSquare, **options)
        data, losses = tiny.batch(square), []
        square.model_loss(data)
        monkeypatch.setattr(square, "planner_kl", lambda batch, sample: torch.ones(sample.mean.shape[:-1]))
        monkeypatch.setattr(square.critic, "draw", lambda: None)
        for weight in (0.0, 1.0):
            square.kl_weight.value = weight
            torch.manual_seed(4)
            losses.append(square.policy_loss(data)[0].item())
        size = 1.5 / 61  # half of the samples have one action entry, half have two
        expected = size * square.temporal_mean(torch.ones(square.horizon, 1)).item()
        assert losses[1] - losses[0] == pytest.approx(expected, rel=1e-3)

    def test_only_squashing_changes_the_volume(self):
        for policy in ("squashed", "clamped"):
            square, data = self.prepared(TDMPCSquare, TDMPCSquareConfig, policy=policy)
            sample = square.policy.sample(data["state"], (-1.0, 0.0))
            change = square.policy.volume_change(sample)
            assert change.shape == sample.action.shape[:-1]
            assert (change == 0).all() if policy == "clamped" else change.mean() < -0.01


class TestBadInput:
    @pytest.mark.parametrize(
        ("config_cls", "options", "message"),
        [
            (TDMPCSquareConfig, {"kl_weight": math.inf}, "take pompc or bmpc"),
            (
                TDMPCSquareConfig,
                {"kl_weight": ScheduleConfig(schedule="fixed", initial=math.inf)},
                "take pompc or bmpc",
            ),
            (TDMPCSquareConfig, {"reference_actions": 0}, "reference_actions must be positive"),
            (BMPCConfig, {"reanalyze_log_std_min": 2.0}, "must be below algo.reanalyze_log_std_max"),
            (POMPCConfig, {"prior": "plans"}, "one of plan, forward, reverse"),
        ],
    )
    def test_it_is_one_line(self, config_cls, options, message):
        with pytest.raises(UserError, match=message) as error:
            config_cls(**options)
        assert "\n" not in str(error.value)
