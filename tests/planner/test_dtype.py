"""Plans have the dtype of their model, and random numbers come from a generator of the caller."""

import pytest
import torch

from pompc.errors import UserError
from pompc.models import FunctionModel
from pompc.planner import MPPI, MPPIConfig
from pompc.planner.blend import BlendedMPPI

MODEL = FunctionModel(lambda x, u: x + 0.1 * u, lambda x, u: x.square().sum(-1), lambda x: x.square().sum(-1))
OPTIONS = {
    "white": {},
    "coloured": {"noise": "coloured", "adapt_std": True, "num_iterations": 2},
    "spline with a control cost": {"noise": "spline", "control_cost": 0.5},
    "several settings": {"hard": False, "num_elites": 8, "discount": 0.9, "drop_nonfinite": True},
}


def planner(dtype, **options):
    return MPPI(MPPIConfig(horizon=6, num_samples=32, temperature=0.1, **options), MODEL, MODEL, 2, dtype=dtype)


def floating(plan):
    return {name: tensor.dtype for name, tensor in plan.items() if tensor is not None and tensor.is_floating_point()}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_everything_in_a_plan_has_the_dtype_of_the_planner(dtype, options):
    mppi = planner(dtype, **options)
    plan = mppi.plan(torch.ones(3, 2), mean=torch.zeros(3, 6, 2), proposals=torch.zeros(3, 1, 1, 6, 2))
    assert set(floating(plan).values()) == {dtype}
    assert mppi.shift(plan.mean).dtype == dtype


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_float64_has_digits_that_float32_lacks(options):
    """The same noise: plans agree to float32's precision, and the costs of the float64 plan are exact to 1e-13."""
    iterations = options.get("num_iterations", 1)
    noise = torch.randn(iterations, 3, 1, 32, 6, 2, dtype=torch.float64)
    state = torch.rand(3, 2, dtype=torch.float64)
    fine, coarse = (planner(dtype, **options).plan(state, noise=noise) for dtype in (torch.float64, torch.float32))
    torch.testing.assert_close(fine.mean.float(), coarse.mean, atol=1e-3, rtol=1e-3)
    states = [state[:, None].expand(-1, 32, -1)]
    for action in fine.actions[:, 0].unbind(-2):
        states.append(states[-1] + 0.1 * action)
    charges = torch.stack([x.square().sum(-1) for x in states])
    exact = (charges * (options.get("discount", 1.0) ** torch.arange(7, dtype=torch.float64)).view(-1, 1, 1)).sum(0)
    torch.testing.assert_close(fine.costs[:, 0], exact, atol=1e-13, rtol=1e-13)
    assert (coarse.costs[:, 0].double() - exact).abs().max() > 1e-9


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_blended_plan_has_the_dtype_of_the_planner(dtype):
    value = {"blend": lambda: 0.3, "step_value": lambda state, action: -state.square().sum(-1)}
    mppi = BlendedMPPI(MPPIConfig(horizon=6, num_samples=32), MODEL, MODEL, 2, dtype=dtype, **value)
    assert set(floating(mppi.plan(torch.ones(3, 2))).values()) == {dtype}


def test_a_dtype_that_holds_no_action_is_refused():
    with pytest.raises(UserError, match=r"dtype=torch.int64 is no floating point type"):
        planner(torch.int64)


@pytest.mark.parametrize("options", [{}, {"noise": "coloured"}, {"init_covariance": ((0.2, 0.1), (0.1, 0.2))}], ids=str)
def test_a_generator_makes_plans_repeatable_and_leaves_the_global_state_alone(options):
    def plans(seed):
        config = MPPIConfig(horizon=4, stochastic=True, **options)
        mppi = MPPI(config, MODEL, MODEL, 2, generator=torch.Generator().manual_seed(seed))
        plan = mppi.plan(torch.ones(2, 2))
        return torch.cat([plan.actions.flatten(), mppi.select(plan).flatten()])

    before = torch.get_rng_state()
    one, same, other = plans(0), plans(0), plans(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
