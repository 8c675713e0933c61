"""The blended planner: its cost is the recursion, its ends are the model and the value alone, its error is U-shaped."""

import math

import pytest
import torch

from pompc.models.functions import FunctionModel
from pompc.planner import MPPI, MPPIConfig
from pompc.planner.blend import BlendedMPPI

DISCOUNT, HORIZON = 0.9, 5
CONFIG = MPPIConfig(horizon=HORIZON, num_samples=24, num_iterations=2, temperature=0.3, discount=DISCOUNT)


def step(state, action):
    return 0.9 * state + 0.5 * torch.cat([action, action.square()], -1)


def running(state, action):
    return state.square().sum(-1) + 0.1 * action[..., 0].square()


def value(state, action):
    return -(state[..., 0] - action[..., 0]).abs() - state[..., 1]


def last_value(state):
    return -3.0 * state.square().sum(-1)


def planners(blend, **options):
    model = FunctionModel(step, running)
    given = (MPPIConfig(**{**vars(CONFIG), **options}), model, model, 1)
    return MPPI(*given), BlendedMPPI(*given, blend=lambda: blend, step_value=value)


def planned(planner, **options):
    torch.manual_seed(1)
    states = torch.linspace(-1, 1, 6).view(3, 2)
    return planner.plan(states, terminal_value=last_value, **options)


def test_at_blend_one_plans_are_those_of_the_planner_without_values_bit_for_bit():
    plain, blended = planners(1.0, adapt_std=True, num_elites=6)
    blended.scorer.step_value = lambda state, action: pytest.fail("the value was asked")
    expected, found = planned(plain), planned(blended)
    for name in ("mean", "std", "costs", "weights", "soft_value"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


@pytest.mark.parametrize("blend", [0.0, 0.3, 0.95])
def test_the_cost_of_a_sequence_is_the_recursion_of_the_blend(blend):
    """Also ``-Q_0 + b sum_h (discount b)^h delta_h`` with the errors of one step, delta."""
    plan = planned(planners(blend)[1])
    states, actions = plan.states, plan.actions
    now, then = states[..., :-1, :], states[..., 1:, :]
    cost, learned = running(now, actions), -value(now, actions)
    recursion = -last_value(states[..., -1, :])
    for h in reversed(range(HORIZON)):
        recursion = (1 - blend) * learned[..., h] + blend * (cost[..., h] + DISCOUNT * recursion)
    torch.testing.assert_close(plan.costs, recursion, rtol=1e-5, atol=1e-5)
    after = torch.cat([learned[..., 1:], -last_value(then[..., -1, :]).unsqueeze(-1)], -1)
    delta = cost + DISCOUNT * after - learned
    weights = (DISCOUNT * blend) ** torch.arange(HORIZON)
    torch.testing.assert_close(plan.costs, learned[..., 0] + blend * (weights * delta).sum(-1), rtol=1e-5, atol=1e-5)


def test_at_blend_zero_sequences_are_ranked_by_the_value_of_their_first_action_alone():
    """Neither rewards, nor the dynamics after the first step, nor the value at the end change the plan."""
    _, blended = planners(0.0)
    found = planned(blended)
    first = found.actions[..., 0, :]
    torch.testing.assert_close(found.costs, -value(found.states[..., 0, :], first))
    other = FunctionModel(lambda state, action: 7.0 - state, lambda state, action: 100 * action[..., 0])
    changed = planned(BlendedMPPI(CONFIG, other, other, 1, blend=lambda: 0.0, step_value=value))
    assert torch.equal(changed.mean, found.mean)


def test_nothing_is_charged_after_a_termination():
    class Ending(FunctionModel):
        def terminated(self, state, action, next_state):
            return torch.ones_like(next_state[..., 0], dtype=torch.bool)

    model = Ending(step, running)
    plan = planned(BlendedMPPI(CONFIG, model, model, 1, blend=lambda: 0.4, step_value=value))
    state, action = plan.states[..., 0, :], plan.actions[..., 0, :]
    torch.testing.assert_close(plan.costs, -0.6 * value(state, action) + 0.4 * running(state, action))


def test_the_blend_is_asked_in_every_plan():
    today = [0.0]
    model = FunctionModel(step, running)
    blended = BlendedMPPI(CONFIG, model, model, 1, blend=lambda: today[0], step_value=value)
    zero = planned(blended)
    today[0] = 1.0
    assert torch.equal(planned(blended).mean, planned(planners(1.0)[0]).mean)
    today[0] = 0.0
    assert torch.equal(planned(blended).mean, zero.mean)


def error_of(blend, bias, noise):
    """RMSE of the blend from the true return, with a cost that is ``bias`` too high and values with independent errors.

    The state counts steps and trials, so that every value on the way has an error of its own.
    """
    trials = 2000
    generator = torch.Generator().manual_seed(0)
    errors = noise * torch.randn(trials, HORIZON + 1, generator=generator)
    true = 1 / (1 - DISCOUNT)

    def erring(state, action=None):
        return -(true + errors[state[..., 1].long(), state[..., 0].long()])

    model = FunctionModel(
        lambda state, action: state + torch.tensor([1.0, 0.0]), lambda state, action: 1.0 + bias + 0 * state[..., 0]
    )
    options = MPPIConfig(horizon=HORIZON, num_samples=8, discount=DISCOUNT)
    planner = BlendedMPPI(options, model, model, 1, blend=lambda: blend, step_value=erring)
    starts = torch.stack([torch.zeros(trials), torch.arange(trials).float()], -1)
    return (planner.plan(starts, terminal_value=erring).costs[..., 0] - true).square().mean().sqrt().item()


def closed_form(blend, bias, noise):
    """The same by hand: the bias adds up, independent errors average out."""
    factors = [(DISCOUNT * blend) ** h for h in range(HORIZON)]
    variance = (1 - blend) ** 2 * sum(f**2 for f in factors) + (DISCOUNT * blend) ** (2 * HORIZON)
    return math.sqrt((bias * blend * sum(factors)) ** 2 + noise**2 * variance)


def test_the_error_is_u_shaped_over_the_blend_and_its_minimum_goes_to_the_better_side():
    blends = [step / 20 for step in range(21)]
    best = {}
    for noise in (1.0, 0.4, 0.02):
        found = [error_of(blend, 0.2, noise) for blend in blends]
        for blend, error in zip(blends, found, strict=True):
            assert error == pytest.approx(closed_form(blend, 0.2, noise), rel=0.05)
        best[noise] = found.index(min(found))
        falling = found[: best[noise] + 1]
        assert falling == sorted(falling, reverse=True)
        assert found[best[noise] :] == sorted(found[best[noise] :])
    assert 0 < best[1.0] < len(blends) - 1, "the least error lies between the value and the model"
    assert best[1.0] > best[0.4] > best[0.02] == 0, "better values want less of the model"
