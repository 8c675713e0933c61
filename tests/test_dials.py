"""The dials: limits, monotonicity and the guarantee of asymptotic unbiasedness."""

import math
from contextlib import nullcontext

import pytest

from pompc.algorithms.adaptive_hrl import AdaptiveHRLConfig
from pompc.dial import ScheduleConfig, Signals
from pompc.dials import AgentConfig, Dials
from pompc.errors import NonFiniteError, UserError
from pompc.offpolicy.config import OffPolicyConfig
from pompc.schedules import SCHEDULES, highest_value, make_dial


def run(name, uncertainties, **options):
    dial = make_dial(ScheduleConfig(schedule=name, **options))
    values = [dial.value]
    for u in uncertainties:
        dial.update(Signals(uncertainty=u))
        values.append(dial.value)
    return values


def test_a_number_is_a_constant():
    dial = make_dial(0.4)
    for u in (0.0, 1.0, 50.0):
        dial.update(Signals(uncertainty=u))
    assert dial.value == 0.4


def test_zero_uncertainty_is_the_plain_exponential():
    """A collapsed ensemble has zero uncertainty too: the dial is never stuck and never negative."""
    expected = [0.3 * 0.98**k for k in range(101)]
    assert run("inv", [0.0] * 100) == pytest.approx(expected)
    assert run("exp", [7.0] * 100) == pytest.approx(expected)
    assert run("ratio", [0.0] * 100) == pytest.approx(expected)


def test_uncertainty_slows_the_decay():
    low, high = run("inv", [0.01] * 50), run("inv", [1.0] * 50)
    assert all(a < b for a, b in zip(low[1:], high[1:], strict=True))
    assert run("inv", [1e12] * 50)[-1] == pytest.approx(0.3)


def test_bounded_uncertainty_vanishes_geometrically():
    """rho_k <= rho_0 decay^(k / (1 + kappa U)) for ubar <= U."""
    bound = 0.7
    values = run("inv", [bound * abs(math.sin(k)) for k in range(2000)])
    rate = 1 / (1 + 10 * bound)
    assert all(v <= 0.3 * 0.98 ** (k * rate) + 1e-12 for k, v in enumerate(values))
    assert values[-1] < 0.02


def test_kappa_zero_is_exponential_and_decay_one_is_fixed():
    assert run("inv", [0.5] * 20, kappa=0.0) == pytest.approx(run("exp", [0.5] * 20))
    assert set(run("inv", [0.5] * 20, decay=1.0)) == {0.3}


def test_proportional_follows_the_standard_deviation():
    values = run("prop", [1.0, 0.25, 0.25], ema=0.0)
    assert values[1:] == pytest.approx([0.3, 0.15, 0.15])


@pytest.mark.parametrize("name", SCHEDULES)
def test_within_bounds_and_above_the_floor(name):
    values = run(name, [abs(math.sin(3 * k)) * 10 ** (k % 7 - 3) for k in range(300)], minimum=0.05)
    assert all(0.05 <= v <= 0.3 for v in values)


def test_linear_goes_up_or_down_in_equal_steps_and_stays():
    assert run("linear", [0.0] * 6, initial=0.2, to=1.0, over=4) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1])
    assert run("linear", [0.0] * 3, initial=1.0, to=0.0, over=2) == pytest.approx([1, 0.5, 0, 0])


def test_a_switch_leaves_infinity_at_its_tick():
    assert run("switch", [0.0] * 4, initial=math.inf, to=1.0, over=3) == [math.inf, math.inf, math.inf, 1.0, 1.0]
    assert run("switch", [0.0] * 2, initial=0.0, to=math.inf, over=1) == [0.0, math.inf, math.inf]


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_clock_of_steps_counts_environment_steps_and_that_of_updates_does_not(name):
    options = {"schedule": name, "initial": 0.8, "decay": 0.99, "to": 0.1, "over": 10, "ema": 0.0}
    by_steps, single = (make_dial(ScheduleConfig(clock="steps", **options)) for _ in range(2))
    for step in range(1, 13):
        single.update(Signals(uncertainty=0.5, steps=step))
    for steps in (5, 12):  # two updates after as many steps
        by_steps.update(Signals(uncertainty=0.5, steps=steps))
    assert by_steps.value == pytest.approx(single.value)
    by_updates = make_dial(ScheduleConfig(**options))
    for steps in (5, 12):
        by_updates.update(Signals(uncertainty=0.5, steps=steps))
    assert by_updates.time == 2
    assert (by_updates.value == pytest.approx(by_steps.value)) is (name in ("fixed", "prop", "auto"))


def test_the_largest_value_counts_where_a_dial_may_rise():
    assert highest_value(0.4) == 0.4
    assert highest_value(ScheduleConfig(schedule="exp", initial=0.3, to=0.9)) == 0.3
    assert highest_value(ScheduleConfig(schedule="linear", initial=0.3, to=0.9)) == 0.9
    assert highest_value(ScheduleConfig(schedule="switch", initial=math.inf, to=1.0)) == math.inf


@pytest.mark.parametrize("name", SCHEDULES)
def test_state_round_trip(name):
    first, second = (make_dial(ScheduleConfig(schedule=name)) for _ in range(2))
    for u in (0.3, 0.1, 0.7):
        first.update(Signals(uncertainty=u))
    second.load_state_dict(first.state_dict())
    for u in (0.2, 0.9):
        first.update(Signals(uncertainty=u))
        second.update(Signals(uncertainty=u))
    assert first.state_dict() == second.state_dict()


def test_a_constant_is_that_of_the_configuration_whatever_a_checkpoint_had():
    trained, played = Dials(AgentConfig(kl_weight=1.0)), Dials(OffPolicyConfig(kl_weight=2.0, policy_share=1.0))
    played.load_state_dict(trained.state_dict())
    assert played.metrics() == {"kl_weight": 2.0, "virtual_ratio": 0.0, "policy_share": 1.0}


def test_smoothing_starts_at_the_first_observation():
    schedule = make_dial(ScheduleConfig())
    schedule.update(Signals(uncertainty=2.0))
    assert schedule.uncertainty == 2.0
    schedule.update(Signals(uncertainty=1.0))
    assert schedule.uncertainty == pytest.approx(1.9)


def test_non_finite_uncertainty_stops():
    with pytest.raises(NonFiniteError, match="uncertainty"):
        make_dial(0.3).update(Signals(uncertainty=math.nan))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"virtual_ratio": 1.5}, r"virtual_ratio must lie in \[0, 1\], not 1.5"),
        ({"virtual_ratio": -0.1}, "virtual_ratio"),
        ({"kl_weight": -1.0}, "kl_weight must be at least 0, not -1"),
        ({"virtual_ratio": {"schedule": "inverse"}}, "one of fixed, exp, inv, ratio, prop, linear, switch, auto"),
        ({"virtual_ratio": {"decay": 1.2}}, "decay"),
        ({"virtual_ratio": {"kappa": -20.0}}, "kappa"),
        ({"virtual_ratio": {"ema": 1.0}}, "ema"),
        ({"virtual_ratio": {"over": 0}}, "over"),
        ({"virtual_ratio": {"clock": "days"}}, "one of updates, steps"),
        ({"virtual_ratio": {"schedule": "linear", "to": 1.5}}, r"virtual_ratio\.to must lie in \[0, 1\], not 1.5"),
        (
            {"virtual_ratio": {"schedule": "fixed", "minimum": 0.5}},
            "minimum=0.5 must not exceed virtual_ratio.initial=0.3",
        ),
        (
            {"virtual_ratio": {"schedule": "linear", "initial": 0.0, "to": 0.5, "minimum": 2.0}},
            "minimum=2.0 must not exceed virtual_ratio.initial=0.0",
        ),
        ({"kl_weight": {"schedule": "exp", "initial": math.inf}}, r"kl_weight\.initial .* must be finite with .*=exp"),
        ({"kl_weight": {"schedule": "linear", "initial": 1.0, "to": math.inf}}, "must be finite with .*=linear"),
    ],
)
def test_bad_dials_are_refused(options, word):
    with pytest.raises(UserError, match=word):
        AgentConfig(**{k: ScheduleConfig(**v) if isinstance(v, dict) else v for k, v in options.items()})


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_dial_that_moves_by_disagreement_needs_two_heads(schedule):
    asks = schedule in ("inv", "ratio", "prop", "auto")
    config = AdaptiveHRLConfig(kl_weight=0.5, virtual_ratio=ScheduleConfig(schedule=schedule))
    config.require_ensemble(2)
    with pytest.raises(UserError, match=r"algo\.ensemble_size=1: a dial") if asks else nullcontext():
        config.require_ensemble(1)


def test_the_dials_of_an_agent_move_together_and_come_back_from_a_checkpoint():
    config = OffPolicyConfig(
        kl_weight=ScheduleConfig(schedule="exp", initial=1.0, decay=0.5),
        virtual_ratio=0.25,
        policy_share=ScheduleConfig(schedule="linear", initial=0.0, to=1.0, over=10, clock="steps"),
    )
    dials, other = Dials(config), Dials(config)
    assert dials.move
    assert not Dials(AgentConfig(kl_weight=3.0)).move
    dials.update(Signals(uncertainty=0.1, steps=4))
    assert dials.metrics() == {"kl_weight": 0.5, "virtual_ratio": 0.25, "policy_share": pytest.approx(0.4)}
    other.load_state_dict(dials.state_dict())
    for each in (dials, other):
        each.update(Signals(uncertainty=0.2, steps=7))
    assert dials.metrics() == other.metrics()
    assert dials.state_dict() == other.state_dict()
