"""The dials: limits, monotonicity and the guarantee of asymptotic unbiasedness."""

import math
import operator
import random
import statistics
from contextlib import nullcontext

import pytest

from pompc.algorithms.adaptive_hrl import AdaptiveHRLConfig
from pompc.dial import Evidence, ScheduleConfig, Signals
from pompc.dials import AgentConfig, Dials
from pompc.errors import NonFiniteError, UserError
from pompc.least_error import expected_positive
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
    assert (by_updates.value == pytest.approx(by_steps.value)) is (name in ("fixed", "prop", "auto", "balance", "dual"))


def test_the_largest_value_counts_where_a_dial_may_rise():
    assert highest_value(0.4) == 0.4
    assert highest_value(ScheduleConfig(schedule="exp", initial=0.3, to=0.9)) == 0.3
    assert highest_value(ScheduleConfig(schedule="linear", initial=0.3, to=0.9)) == 0.9
    assert highest_value(ScheduleConfig(schedule="switch", initial=math.inf, to=1.0)) == math.inf
    assert highest_value(ScheduleConfig(schedule="auto", initial=0.0, maximum=0.6)) == 0.6


@pytest.mark.parametrize("name", SCHEDULES)
def test_state_round_trip(name):
    first, second = (make_dial(ScheduleConfig(schedule=name)) for _ in range(2))
    signals = [
        Signals(uncertainty=u, evidence=Evidence(squared_bias=0.1 + u**2, real_news=0.1, virtual_news=0.02 + u))
        for u in (0.3, 0.1, 0.7, 0.2, 0.9)
    ]
    for each in signals[:3]:
        first.update(each)
    second.load_state_dict(first.state_dict())
    for each in signals[3:]:
        first.update(each)
        second.update(each)
    assert first.state_dict() == second.state_dict()
    assert first.value == second.value


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


def automatic(real_error, virtual_error, *, unit=1.0, virtual_news=0.1, maximum=1.0):
    """Make an automatic dial that has seen one update with these squared errors of real and virtual values."""
    dial = make_dial(ScheduleConfig(schedule="auto", maximum=maximum))
    evidence = Evidence(squared_bias=virtual_error * unit, real_news=0.1, virtual_news=virtual_news)
    dial.update(Signals(uncertainty=real_error * (1 - 0.9**2) * unit, evidence=evidence))
    return dial


@pytest.mark.parametrize(("real", "virtual"), [(1.0, 1.0), (0.2, 0.3), (3.0, 9.0), (1e-6, 1e-4)])
def test_the_automatic_share_has_the_least_squared_error(real, virtual):
    shares = [k / 1000 for k in range(1001)]
    best = min(shares, key=lambda s: (1 - s) ** 2 * real + s**2 * virtual)
    assert automatic(real, virtual).value == pytest.approx(best, abs=1e-3)


def test_a_weaker_virtual_target_needs_a_larger_ratio_for_the_same_share():
    """The share of virtual news is rho n_v / ((1 - rho) n_r + rho n_v)."""
    ratio = automatic(0.3, 0.9, virtual_news=0.025).value
    assert ratio * 0.025 / ((1 - ratio) * 0.1 + ratio * 0.025) == pytest.approx(0.3 / 1.2)


def test_an_exact_model_keeps_the_ceiling_while_values_are_uncertain_and_a_useless_one_is_dropped_at_once():
    assert automatic(1e-9, 0.0, maximum=0.8).value == 0.8
    assert automatic(1e-9, -0.4, maximum=0.6).value == 0.6  # an estimate without bias may be negative
    assert automatic(1.0, 1e12).value < 1e-11
    assert automatic(0.0, 1e-9).value == automatic(0.0, 0.0).value == 0.0


def test_the_automatic_share_has_no_units_and_is_monotone_in_both_errors():
    assert automatic(0.2, 0.5, unit=1e6).value == pytest.approx(automatic(0.2, 0.5).value)
    by_real, by_virtual = (
        [automatic(*pair).value for pair in pairs]
        for pairs in zip(*[((0.1 * k, 0.7), (0.7, 0.1 * k)) for k in range(1, 30)], strict=True)
    )
    assert by_real == sorted(by_real)
    assert by_virtual == sorted(by_virtual, reverse=True)


def test_the_automatic_share_vanishes_with_the_uncertainty():
    dial = make_dial(ScheduleConfig(schedule="auto", maximum=1.0))
    for k in range(400):
        evidence = Evidence(squared_bias=0.1, real_news=0.1, virtual_news=0.02)
        dial.update(Signals(uncertainty=1 / (k + 1), evidence=evidence))
    assert dial.value == pytest.approx(5 * (1 / 391 / 0.19) / (5 * (1 / 391 / 0.19) + 0.1), rel=0.02)
    for _ in range(400):
        dial.update(Signals(uncertainty=0.0, evidence=evidence))
    assert dial.value < 1e-12


def test_the_automatic_errors_are_means_that_begin_with_equal_weights():
    """Noise of both signs averages out: a single measurement is not followed."""
    dial = make_dial(ScheduleConfig(schedule="auto", maximum=1.0, initial=0.4))
    dial.update(Signals(uncertainty=0.5))
    assert dial.value == 0.4  # nothing measured yet
    for bias, mean, error in ((3.0, 3.0, 0.0), (2.0, 4.7 / 1.9, 0.5), (math.nan, 4.7 / 1.9, 0.5)):
        dial.update(Signals(uncertainty=0.19, evidence=Evidence(squared_bias=bias, real_news=0.1, virtual_news=0.1)))
        assert (dial.virtual_error, dial.standard_error) == (pytest.approx(mean), pytest.approx(error, rel=0.01))
        assert dial.value == pytest.approx(1 / (1 + expected_positive(mean, dial.standard_error)))


def test_the_standard_error_is_that_of_a_mean_of_independent_measurements():
    """Over many repetitions the means of 30 updates scatter as the dials say."""
    rng, means, errors = random.Random(0), [], []
    for _ in range(400):
        dial = make_dial(ScheduleConfig(schedule="auto"))
        for _ in range(30):
            evidence = Evidence(squared_bias=rng.gauss(0.5, 2.0), real_news=0.1, virtual_news=0.1)
            dial.update(Signals(uncertainty=0.1, evidence=evidence))
        means.append(dial.virtual_error)
        errors.append(dial.standard_error**2)
    assert statistics.fmean(means) == pytest.approx(0.5, abs=0.1)
    assert statistics.fmean(errors) == pytest.approx(statistics.variance(means), rel=0.15)


@pytest.mark.parametrize("z", [-40.0, -21.0, -19.0, -3.0, 0.0, 2.0, 30.0])
def test_a_squared_bias_is_expected_to_be_positive(z):
    """The mean of a truncated Gaussian, by integration; without an error, the measured value or zero."""
    step = 1e-4 if z > -5 else 1e-5
    grid = [step * (k + 0.5) for k in range(int(1.2 / step) if z < -5 else int((max(z, 0) + 8) / step))]
    weights = [math.exp(-0.5 * (x - z) ** 2 + 0.5 * min(z, 0) ** 2) for x in grid]
    integral = sum(map(operator.mul, grid, weights)) / sum(weights)
    assert expected_positive(2 * z, 2.0) == pytest.approx(2 * integral, rel=0.01)
    assert expected_positive(z, 0.0) == max(z, 0.0)


def test_a_schedule_by_bias_is_refused_where_nothing_measures_it():
    automatic_setting = ScheduleConfig(schedule="auto")
    AdaptiveHRLConfig(virtual_ratio=automatic_setting)
    for options in ({"kl_weight": automatic_setting}, {"virtual_ratio": automatic_setting}):
        with pytest.raises(UserError, match=f"{next(iter(options))}.schedule=auto follows the bias"):
            OffPolicyConfig(**options)
    with pytest.raises(UserError, match=r"kl_weight\.schedule=auto follows"):
        AdaptiveHRLConfig(kl_weight=automatic_setting)
    with pytest.raises(UserError, match=r"maximum=0\.2 must not lie below virtual_ratio\.initial=0\.3"):
        AdaptiveHRLConfig(virtual_ratio=ScheduleConfig(schedule="auto", maximum=0.2))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"virtual_ratio": 1.5}, r"virtual_ratio must lie in \[0, 1\], not 1.5"),
        ({"virtual_ratio": -0.1}, "virtual_ratio"),
        ({"kl_weight": -1.0}, "kl_weight must be at least 0, not -1"),
        (
            {"virtual_ratio": {"schedule": "inverse"}},
            "one of fixed, exp, .*, switch, auto, balance, dual",
        ),
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


@pytest.mark.parametrize("schedule", [name for name, kind in SCHEDULES.items() if not kind.uses_terms])
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
