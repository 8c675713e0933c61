"""Limits of the change of an action, and of the change of that, hold exactly and stay plannable."""

import pytest
import torch

from pompc.errors import UserError
from pompc.models import FunctionModel
from pompc.planner import MPPI, MPPIConfig
from pompc.planner.limits import RateLimits

INF = float("inf")
FAR = FunctionModel(lambda x, u: x + 0.1 * u, lambda x, u: (x - 5.0).abs().sum(-1))
ROUNDING = 1e-6


def limits(rate=INF, acceleration=INF, low=-1.0, high=1.0, dtype=torch.float32):
    return RateLimits(*(torch.tensor([value], dtype=dtype) for value in (low, high, 0.0, rate, acceleration)))


def planner(model=FAR, **options):
    given = {name: options.pop(name) for name in ("low", "high", "max_rate", "max_acceleration") if name in options}
    options = {"horizon": 12, "num_samples": 64, "temperature": 0.1, "init_std": 1.0, **options}
    return MPPI(MPPIConfig(**options), model, model, 1, **given)


def sequence(*values):
    return torch.tensor(values).view(1, 1, 1, -1, 1)


def kept(limit, values, *previous):
    before = torch.tensor(previous).view(1, -1, 1) if previous else None
    return limit(sequence(*values), before).flatten().tolist()


def test_a_rate_is_the_most_that_an_action_changes():
    assert kept(limits(rate=0.25), [1.0, 1.0, 0.4, -1.0]) == pytest.approx([0.25, 0.5, 0.4, 0.15])
    assert kept(limits(rate=0.25), [1.0, -1.0], -1.0) == [-0.75, -1.0]
    assert kept(limits(), [0.25, -1.0, 5.0]) == [0.25, -1.0, 1.0]


def test_an_acceleration_brakes_in_time_for_the_bound():
    """1 + 2 + 3 + 4 up and 4 + 3 + 2 + 1 down are 20 of 20 steps of 0.05; faster is possible nowhere."""
    found = kept(limits(acceleration=0.05), [1.0] * 10)
    changes = [b - a for a, b in zip([0.0, *found], found, strict=False)]
    assert changes == pytest.approx([0.05 * n for n in (1, 2, 3, 4, 4, 3, 2, 1, 0, 0)], abs=ROUNDING)


def test_the_speed_before_the_plan_counts():
    assert kept(limits(acceleration=0.1), [0.0, 0.0, 0.0], 0.0, 0.2) == pytest.approx([0.3, 0.3, 0.2], abs=ROUNDING)


@pytest.mark.parametrize("past", [0, 1, 2])
@pytest.mark.parametrize("rate", [INF, 0.3])
@pytest.mark.parametrize("acceleration", [INF, 0.07])
@pytest.mark.parametrize("low", [-1.0, -INF])
def test_limits_hold_for_any_sequence_and_for_every_average(past, rate, acceleration, low):
    limit = limits(rate, acceleration, low=low, dtype=torch.float64)
    start = limit(torch.randn(50, 1, 1, 20, 1, dtype=torch.float64).cumsum(-2))[
        :, 0, 0, -2:
    ]  # reached within the limits
    previous = start[:, 2 - past :] if past else None
    found = limit(2 * torch.randn(50, 1, 30, 25, 1, dtype=torch.float64), previous)
    found = torch.cat([found, found.mean(2, keepdim=True)], dim=2)
    before = torch.zeros(50, 1, 31, 2, 1, dtype=torch.float64)
    if past:
        before = start[:, [-past, -1], None].movedim(2, 1)[:, :, None].expand(-1, 1, 31, 2, 1)
    whole = torch.cat([before, found], dim=-2)
    assert (found <= 1.0).all()
    assert (found >= low).all()
    assert whole.diff(dim=-2).abs().max() <= rate + 1e-12
    assert whole.diff(dim=-2).diff(dim=-2).abs().max() <= acceleration + 1e-12


def test_what_keeps_the_limits_stays_as_it_is():
    limit = limits(0.3, 0.07)
    once = limit(torch.randn(5, 1, 30, 25, 1))
    torch.testing.assert_close(limit(once), once, atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{}, {"control_cost": 0.3}, {"noise": "integrated"}, {"stochastic": True}], ids=str)
def test_applied_actions_keep_the_limits_of_the_planner_between_plans(options):
    mppi = planner(low=-1.0, high=1.0, max_rate=0.3, max_acceleration=0.07, **options)
    state, mean, applied = torch.tensor([[0.0], [9.0]]), None, [torch.zeros(2, 1)] * 2
    for _ in range(25):
        plan = mppi.plan(state, mean=mean, previous=torch.stack(applied[-2:], 1))
        applied.append(mppi.select(plan)[:, 0])
        state, mean = FAR.step(state, applied[-1]), mppi.shift(plan.mean[:, 0])
    changes = torch.stack(applied).diff(dim=0)
    assert changes.abs().max() <= 0.3 + ROUNDING
    assert changes.diff(dim=0).abs().max() <= 0.07 + 2 * ROUNDING
    assert changes.diff(dim=0).abs().max() > 0.06, "the limit is what holds it back"
    assert (applied[-1].squeeze() * torch.tensor([1.0, -1.0]) > 0.8).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_rate": 0.0}, r"max_rate=0.0 must be positive"),
        ({"max_acceleration": torch.tensor([-1.0])}, r"max_acceleration=\[-1.0\] must be positive"),
        ({"max_rate": torch.ones(2)}, r"max_rate has the shape \[2\]; it must be one number or \[1\], \[action\]"),
    ],
)
def test_limits_that_are_none_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        planner(**options)


def test_the_last_actions_have_the_shape_of_an_action():
    with pytest.raises(UserError, match=r"previous has the shape \[2, 1\]"):
        planner(max_rate=0.1).plan(torch.zeros(2, 1), previous=torch.zeros(2, 1))
