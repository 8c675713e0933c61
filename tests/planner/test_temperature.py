"""A temperature that holds an effective sample size."""

import pytest
import torch

from pompc.errors import UserError
from pompc.models import FunctionModel
from pompc.planner import MPPI, MPPIConfig
from pompc.planner.weights import effective_sample_size, mppi_weights, soft_value

POINT = FunctionModel(lambda x, u: x + 0.1 * u, lambda x, u: (x - 1.0).square().sum(-1))


def planner(model=POINT, **options):
    return MPPI(MPPIConfig(**{"horizon": 5, "num_samples": 128, **options}), model, model, 1)


@pytest.mark.parametrize("wanted", [1.5, 10.0, 100.0])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e5])
def test_every_environment_has_the_wanted_sample_size_whatever_the_scale_of_its_costs(wanted, scale):
    model = FunctionModel(POINT.step, lambda x, u: scale * (x[..., 0] - 1.0).square())
    plan = planner(model, effective_samples=wanted).plan(torch.tensor([[0.0], [5.0], [-300.0]]))
    torch.testing.assert_close(plan.effective_samples, torch.full((3, 1), wanted), rtol=1e-3, atol=0)
    assert plan.temperature is not None
    for costs, weights, temperature, value in zip(
        plan.costs, plan.weights, plan.temperature, plan.soft_value, strict=True
    ):
        torch.testing.assert_close(weights, mppi_weights(costs, temperature.item()), rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(value, soft_value(costs, temperature.item()), rtol=1e-3, atol=1e-4 * scale)


def test_the_temperature_that_gives_a_sample_size_is_found_from_that_size():
    torch.manual_seed(0)
    noise = torch.randn(1, 4, 1, 128, 5, 1)
    fixed = planner(temperature=0.3).plan(torch.zeros(4, 1), noise=noise)
    assert fixed.temperature is None
    for index in range(4):
        size = fixed.effective_samples[index].item()
        held = planner(effective_samples=size).plan(torch.zeros(4, 1), noise=noise)[index]
        assert held.temperature.item() == pytest.approx(0.3, rel=1e-3)
        torch.testing.assert_close(held.mean, fixed.mean[index], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "options",
    [{"num_elites": 16}, {"num_iterations": 3, "adapt_std": True}, {"control_cost": 0.3, "init_std": 1.0}],
    ids=str,
)
def test_it_holds_among_elites_in_every_iteration_and_with_a_control_cost(options):
    sizes = []
    planner(effective_samples=8.0, **options).plan(
        torch.zeros(2, 1),
        callback=lambda iteration: sizes.append(effective_sample_size(iteration.weights)),
    )
    torch.testing.assert_close(torch.stack(sizes), torch.full((len(sizes), 2, 1), 8.0), rtol=1e-3, atol=0)


def test_equal_costs_weigh_equally_and_dropped_samples_never():
    flat = FunctionModel(lambda x, u: x, lambda x, u: torch.zeros_like(x[..., 0]))
    plan = planner(flat, effective_samples=4.0).plan(torch.zeros(1, 1))
    torch.testing.assert_close(plan.weights, torch.full_like(plan.weights, 1 / 128))
    broken = FunctionModel(POINT.step, lambda x, u: torch.where(u[..., 0] > 0.5, torch.nan, (x - 1.0)[..., 0].square()))
    plan = planner(broken, effective_samples=4.0, drop_nonfinite=True).plan(torch.zeros(1, 1))
    assert plan.costs.isinf().any()
    assert (plan.weights[plan.costs.isinf()] == 0).all()
    torch.testing.assert_close(plan.effective_samples, torch.full((1, 1), 4.0), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "options", [{"effective_samples": 0.5}, {"effective_samples": 20.0, "num_elites": 16}], ids=str
)
def test_a_sample_size_that_no_weights_have_is_refused(options):
    with pytest.raises(UserError, match=r"planner.effective_samples=.* must be between 1 and the number of samples"):
        planner(**options)
