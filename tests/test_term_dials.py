"""Lambda by the terms it weighs: closed forms, fixed points, and what a run logs of them."""

import math

import pytest
import tiny
import torch

from pompc.algorithms.adaptive_hrl import AdaptiveHRLConfig
from pompc.algorithms.bmpc import BMPC
from pompc.algorithms.pompc import POMPC
from pompc.algorithms.tdmpc_square import TDMPCSquare
from pompc.dial import ScheduleConfig, Signals, Terms
from pompc.errors import UserError
from pompc.offpolicy.config import OffPolicyConfig
from pompc.schedules import highest_value, make_dial
from pompc.term_dials import LEAST


def told(dial, kl=0.3, gradients=None):
    """Advance a dial by an update with these terms; return its value."""
    dial.update(Signals(uncertainty=0.0, terms=Terms(kl=kl, gradients=gradients)))
    return dial.value


def made(schedule, **options):
    return make_dial(ScheduleConfig(schedule=schedule, **options))


class TestBalance:
    def test_the_weighted_gradient_is_that_of_the_return_times_the_balance(self):
        for balance, gradients in ((1.0, (0.02, 2.0)), (0.5, (3.0, 0.1)), (4.0, (1.0, 1.0))):
            value = told(made("balance", balance=balance), gradients=gradients)
            assert value * gradients[1] == pytest.approx(balance * gradients[0])

    def test_the_norms_are_smoothed_apart_and_begin_with_the_first(self):
        dial = made("balance", ema=0.75)
        assert told(dial, gradients=(2.0, 4.0)) == pytest.approx(0.5)
        assert told(dial, gradients=(6.0, 8.0)) == pytest.approx((0.75 * 2 + 0.25 * 6) / (0.75 * 4 + 0.25 * 8))

    def test_it_stays_where_nothing_was_measured_or_the_divergence_does_not_move_the_policy(self):
        dial = made("balance", initial=0.7)
        assert [told(dial), told(dial, gradients=(1.0, 0.0))] == [0.7, 0.7]
        told(dial, gradients=(2.0, 1.0))
        assert [told(dial), told(dial, gradients=(5.0, 0.0))] == [2.0, 2.0]

    def test_it_keeps_within_its_bounds(self):
        assert told(made("balance"), gradients=(0.0, 1.0)) == LEAST
        assert told(made("balance", minimum=0.2), gradients=(0.0, 1.0)) == 0.2
        assert told(made("balance"), gradients=(1e9, 1.0)) == 100.0
        assert told(made("balance", maximum=3.0), gradients=(1e9, 1.0)) == 3.0

    def test_it_has_no_units(self):
        for unit in (1e-6, 1e6):
            assert told(made("balance"), gradients=(2 * unit, 8 * unit)) == pytest.approx(0.25)


class TestDual:
    def test_a_constant_divergence_moves_the_logarithm_in_equal_steps(self):
        dial = made("dual", initial=0.5, target=0.2, rate=0.1)
        values = [told(dial, kl=0.25) for _ in range(5)]
        assert values == pytest.approx([0.5 * math.exp(0.1 * 0.25 * k) for k in range(1, 6)])

    def test_a_divergence_at_the_target_keeps_it(self):
        assert told(made("dual", initial=0.5, target=0.3), kl=0.3) == 0.5

    def test_it_settles_where_the_divergence_is_the_target(self):
        """For a policy whose divergence is c / lambda, the multiplier is c / target."""
        for initial in (0.01, 30.0):
            dial = made("dual", initial=initial, target=0.2, rate=0.05)
            for _ in range(2000):
                told(dial, kl=0.5 / dial.value)
            assert dial.value == pytest.approx(2.5, rel=1e-3)

    def test_one_update_changes_it_by_the_rate_at_most(self):
        up, down = (told(made("dual", initial=1.0, rate=0.1, target=0.1), kl=kl) for kl in (1e9, 0.0))
        assert (up, down) == (pytest.approx(math.exp(0.1)), pytest.approx(math.exp(-0.1)))

    def test_it_keeps_within_its_bounds_and_stays_without_a_policy_update(self):
        low, high = made("dual", initial=0.01, rate=1.0), made("dual", initial=1.0, rate=1.0, maximum=5.0)
        for _ in range(9):
            told(low, kl=0.0)
            told(high, kl=9.0)
        assert (low.value, high.value) == (LEAST, 5.0)
        high.update(Signals(uncertainty=0.0))
        assert high.value == 5.0
        told(high, kl=0.0)
        assert high.value == pytest.approx(5.0 / math.e)

    def test_the_clock_of_steps_is_that_of_the_rate(self):
        dial = made("dual", initial=1.0, rate=0.1, target=0.1, clock="steps")
        dial.update(Signals(uncertainty=0.0, steps=7, terms=Terms(kl=1.0)))
        assert dial.value == pytest.approx(math.exp(0.7))


@pytest.mark.parametrize("name", ["balance", "dual"])
def test_a_dial_comes_back_from_a_checkpoint(name):
    first, second = made(name), made(name)
    seen = [(0.3, (1.0, 2.0)), (0.05, (0.4, 3.0)), (0.2, None), (0.01, (1.0, 0.3))]
    for kl, gradients in seen[:2]:
        told(first, kl, gradients)
    second.load_state_dict(first.state_dict())
    for kl, gradients in seen[2:]:
        assert told(first, kl, gradients) == told(second, kl, gradients)
    assert first.state_dict() == second.state_dict()


class TestInAnAgent:
    def agent(self, cls=POMPC, **options):
        schedule = {"schedule": "balance", "initial": 1.0, "every": 2, "ema": 0.0, **options.pop("schedule", {})}
        torch.manual_seed(0)
        return tiny.agent(cls, kl_weight=ScheduleConfig(**schedule), log_every=100, **options)

    def test_after_a_measured_update_both_weighted_gradients_are_equal(self):
        agent = self.agent()
        with torch.no_grad():
            agent.critic.heads.linears[-1].weight.normal_(0, 0.3)
        for update in range(5):
            metrics = agent.update(tiny.batch(agent))
            assert ("kl_grad_norm" in metrics) is (update % 2 == 0)
            if update % 2 == 0:
                ratio = metrics["return_grad_norm"].item() / metrics["kl_grad_norm"].item()
                assert agent.kl_weight.value == pytest.approx(min(max(ratio, LEAST), 100.0))
                assert LEAST < ratio < 100

    def test_heads_that_know_nothing_do_not_switch_lambda_off_for_good(self):
        agent = self.agent(random_value_scale=0.0)
        agent.update(tiny.batch(agent))
        assert agent.kl_weight.value == LEAST
        with torch.no_grad():
            agent.critic.heads.linears[-1].weight.normal_(0, 0.3)
        agent.update(tiny.batch(agent))
        agent.update(tiny.batch(agent))
        assert agent.kl_weight.value > LEAST

    @pytest.mark.parametrize("cls", [POMPC, BMPC, TDMPCSquare])
    def test_the_dual_follows_the_logged_divergence(self, cls):
        options = {"scale_threshold": 0.5} if cls is TDMPCSquare else {}
        agent = self.agent(cls, schedule={"schedule": "dual", "rate": 0.1, "target": 0.3}, **options)
        metrics = agent.update(tiny.batch(agent))
        error = min(max(metrics["kl"].item() / 0.3 - 1, -1.0), 1.0)
        assert agent.kl_weight.value == pytest.approx(math.exp(0.1 * error))

    def test_an_update_without_the_policy_does_not_move_it(self):
        agent = self.agent(BMPC, schedule={"schedule": "dual"})
        agent.update(tiny.batch(agent), in_burst=True)
        assert agent.kl_weight.value == 1.0


def test_what_nothing_measures_is_refused():
    for schedule in ("balance", "dual"):
        setting = ScheduleConfig(schedule=schedule)
        assert highest_value(setting) == 100.0
        OffPolicyConfig(kl_weight=setting)
        for config, name in ((OffPolicyConfig, "virtual_ratio"), (AdaptiveHRLConfig, "kl_weight")):
            with pytest.raises(UserError, match=f"{name}.schedule={schedule} follows the gradients or the divergence"):
                config(**{name: setting})
        with pytest.raises(UserError, match=r"policy_share\.schedule"):
            OffPolicyConfig(policy_share=setting)
        with pytest.raises(UserError, match=r"kl_weight\.initial=0\.0 .* it would stay there; give 0\.001 or more"):
            OffPolicyConfig(kl_weight=ScheduleConfig(schedule=schedule, initial=0.0))
    with pytest.raises(UserError, match=r"maximum=0\.1 must not lie below kl_weight\.initial=0\.3"):
        OffPolicyConfig(kl_weight=ScheduleConfig(schedule="dual", maximum=0.1))
    with pytest.raises(UserError, match=r"maximum=100\.0 must not lie below kl_weight\.initial=inf"):
        OffPolicyConfig(kl_weight=ScheduleConfig(schedule="balance", initial=math.inf))
    with pytest.raises(UserError, match=r"virtual_ratio\.maximum must lie in \[0, 1\], not 1\.5"):
        AdaptiveHRLConfig(virtual_ratio=ScheduleConfig(schedule="auto", maximum=1.5))
