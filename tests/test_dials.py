"""The dials: limits, monotonicity and the guarantee of asymptotic unbiasedness."""

import math
from contextlib import nullcontext

import pytest

from pompc.dials import SCHEDULES, ScheduleConfig, make_schedule, require_ensemble
from pompc.errors import NonFiniteError, UserError


def run(name, uncertainties, **options):
    schedule = make_schedule(ScheduleConfig(schedule=name, **options), name="virtual_ratio", highest=1.0)
    values = [schedule.value]
    for u in uncertainties:
        schedule.update(u)
        values.append(schedule.value)
    return values


def test_a_number_is_a_constant():
    schedule = make_schedule(0.4, name="virtual_ratio", highest=1.0)
    for u in (0.0, 1.0, 50.0):
        schedule.update(u)
    assert schedule.value == 0.4


def test_zero_uncertainty_is_the_plain_exponential():
    """Also what happens when the ensemble collapses: never stuck, never negative."""
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


@pytest.mark.parametrize("name", SCHEDULES)
def test_state_round_trip(name):
    first, second = (make_schedule(ScheduleConfig(schedule=name), name="virtual_ratio") for _ in range(2))
    for u in (0.3, 0.1, 0.7):
        first.update(u)
    second.load_state_dict(first.state_dict())
    for u in (0.2, 0.9):
        first.update(u)
        second.update(u)
    assert first.state_dict() == second.state_dict()


def test_smoothing_starts_at_the_first_observation():
    schedule = make_schedule(ScheduleConfig(), name="virtual_ratio")
    schedule.update(2.0)
    assert schedule.uncertainty == 2.0
    schedule.update(1.0)
    assert schedule.uncertainty == pytest.approx(1.9)


def test_non_finite_uncertainty_stops():
    with pytest.raises(NonFiniteError, match="uncertainty"):
        make_schedule(0.3, name="virtual_ratio").update(math.nan)


@pytest.mark.parametrize(
    ("dial", "word"),
    [
        (1.5, r"virtual_ratio must be in \[0, 1\]"),
        (-0.1, "virtual_ratio"),
        (ScheduleConfig(schedule="inverse"), "fixed, exp, inv"),
        (ScheduleConfig(decay=1.2), "decay"),
        (ScheduleConfig(minimum=1.5), "minimum"),
        (ScheduleConfig(kappa=-20.0), "kappa"),
        (ScheduleConfig(schedule="fixed", minimum=0.5), "minimum=0.5 must not exceed virtual_ratio.initial=0.3"),
        (ScheduleConfig(ema=1.0), "ema"),
    ],
)
def test_bad_dials_are_refused(dial, word):
    with pytest.raises(UserError, match=word):
        make_schedule(dial, name="virtual_ratio", highest=1.0)


def test_an_infinite_dial_does_not_move():
    assert make_schedule(ScheduleConfig(schedule="fixed", initial=math.inf), name="kl_weight").value == math.inf
    with pytest.raises(UserError, match=r"kl_weight\.initial must be finite where kl_weight\.schedule=exp moves it"):
        make_schedule(ScheduleConfig(schedule="exp", initial=math.inf), name="kl_weight")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_what_moves_by_disagreement_needs_two_heads(schedule):
    asks = schedule in ("inv", "ratio", "prop")
    dial = ScheduleConfig(schedule=schedule)
    require_ensemble(0.5, dial, heads=2, key="algo.ensemble_size")
    with pytest.raises(UserError, match=r"algo\.ensemble_size=1: a dial") if asks else nullcontext():
        require_ensemble(0.5, dial, heads=1, key="algo.ensemble_size")
