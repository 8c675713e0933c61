"""Plans begin inside their bounds, also if the bounds do not contain zero."""

import pytest
import torch

from pompc.models import FunctionModel
from pompc.planner import MPPI, MPPIConfig

FREE = FunctionModel(lambda x, u: x, lambda x, u: torch.zeros_like(x[..., 0]))


def planner(low, high, *, model=FREE, actions=1, **options):
    return MPPI(MPPIConfig(**{"horizon": 4, **options}), model, model, actions, low=low, high=high)


@pytest.mark.parametrize(
    ("low", "high", "rest"),
    [
        (2.0, 5.0, 3.5),
        (-5.0, -2.0, -3.5),
        (-1.0, 3.0, 0.0),
        (0.0, 4.0, 0.0),
        (2.0, float("inf"), 2.0),
        (float("-inf"), -2.0, -2.0),
        (float("-inf"), float("inf"), 0.0),
    ],
)
def test_rest_is_zero_or_the_middle_of_bounds_without_it(low, high, rest):
    assert planner(low, high).rest.tolist() == [rest]


def test_the_first_plan_in_two_to_five_is_spread_between_the_bounds():
    """A mean of zero would put every sample on the lower bound."""
    low, high = torch.tensor([2.0, -1.0]), torch.tensor([5.0, 1.0])
    mppi = planner(low, high, actions=2, num_samples=512, num_zero_mean=256)
    plan = mppi.plan(torch.zeros(1, 1))
    inside = (plan.actions[..., 0] > 2.0) & (plan.actions[..., 0] < 5.0)
    assert inside.float().mean() > 0.99
    torch.testing.assert_close(plan.actions.flatten(0, -2).mean(0), torch.tensor([3.5, 0.0]), atol=0.05, rtol=0)


def test_a_dropped_warm_start_and_the_end_of_a_shifted_one_are_at_rest():
    mppi = planner(2.0, 5.0, num_samples=1, num_zero_mean=0, repeat_last=False)
    warm = torch.full((2, 4, 1), 4.5)
    plan = mppi.plan(torch.zeros(2, 1), mean=warm, is_init=torch.tensor([True, False]))
    assert plan.mean[:, 0, :, 0].tolist() == [[3.5] * 4, [4.5] * 4]
    assert mppi.shift(warm)[0, :, 0].tolist() == [4.5, 4.5, 4.5, 3.5]


@pytest.mark.parametrize("entry", [0, 1])
def test_the_best_action_is_found_on_either_side(entry):
    target = (2.3, 4.7)[entry]
    model = FunctionModel(lambda x, u: x, lambda x, u: (u[..., 0] - target).square())
    mppi = planner(2.0, 5.0, model=model, num_samples=256, num_iterations=8, temperature=0.01)
    assert mppi.plan(torch.zeros(1, 1)).mean[0, 0, :, 0].tolist() == pytest.approx([target] * 4, abs=0.1)


def test_a_control_cost_still_pulls_to_zero_as_far_as_the_bounds_allow():
    """Nothing is charged: a plan halves the mean."""
    sampled = {"num_samples": 60_000, "init_std": 2.0, "num_zero_mean": 0, "include_mean": False}
    plan = planner(2.0, 5.0, horizon=1, control_cost=0.5, **sampled).plan(
        torch.zeros(1, 1), mean=torch.full((1, 1, 1), 4.6)
    )
    assert plan.mean.item() == pytest.approx(2.3, abs=0.1)
