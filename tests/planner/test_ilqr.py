"""Batched iLQR: Riccati on the linear bench, bounds, sensitivities against finite differences, a nonlinear model."""

import numpy as np
import pytest
import torch

from pompc.envs.acrobot import Acrobot, AcrobotConfig
from pompc.envs.linear import LinearConfig, LinearModel
from pompc.envs.linear_closed_form import PLANT, LinearQuadratic
from pompc.errors import UserError
from pompc.models import FunctionCost, FunctionModel, NumpyDynamics
from pompc.planner import MPPI, MPPIConfig
from pompc.planner.box_qp import box_qp
from pompc.planner.ilqr import ILQR
from pompc.planner.layer import layer
from pompc.planner.noise import CommonNoise
from pompc.planner.solvers import SOLVERS

STATES = torch.tensor([[0.0, 0.15], [0.3, 0.1], [-0.4, 0.2]])


def solver(horizon=6, iterations=20, model=None, **options):
    model = LinearModel(LinearConfig(violation_weight=0.0)) if model is None else model
    config = MPPIConfig(horizon=horizon, num_samples=16, num_zero_mean=2, **options)
    planner = MPPI(config, model, model, model.action_dim)
    planner.noise = CommonNoise(planner.noise)
    return ILQR(planner, iterations=iterations)


def nominal(model, batch=3):
    return model.parameters(model.nominal).expand(batch, 1, -1)


def test_it_equals_riccati_on_the_linear_bench():
    exact, best = solver(), LinearQuadratic.solve(PLANT, 1.0)
    plan, value = exact(STATES, nominal(exact.planner.dynamics))
    np.testing.assert_allclose(plan[:, 0, 0].detach(), best.action(STATES.numpy()), atol=1e-5)
    np.testing.assert_allclose(value[:, 0].detach(), best.cost(STATES.numpy()), atol=1e-5)


def test_its_sensitivity_to_the_state_is_the_riccati_gain_and_the_values_slope():
    exact, best = solver(), LinearQuadratic.solve(PLANT, 1.0)
    state = STATES.clone().requires_grad_()
    plan, value = exact(state, nominal(exact.planner.dynamics))
    (gain,) = torch.autograd.grad(plan[:, 0, 0].sum(), state, retain_graph=True)
    (slope,) = torch.autograd.grad(value.sum(), state)
    np.testing.assert_allclose(gain, best.gain.repeat(3, 0), atol=1e-4)
    np.testing.assert_allclose(slope, 2 * STATES.numpy() @ best.p, atol=1e-4)


def test_the_value_of_a_first_action_is_the_quadratic_form_and_has_its_slope():
    exact, best = solver(), LinearQuadratic.solve(PLANT, 1.0)
    first = torch.tensor([[0.3], [-0.2], [0.0]], requires_grad=True)
    plan, value = exact(STATES, nominal(exact.planner.dynamics), first)
    joint = np.hstack([STATES.numpy(), first.detach().numpy()])
    np.testing.assert_allclose(plan[:, 0, 0].detach(), first.detach())
    np.testing.assert_allclose(
        value[:, 0].detach(), np.einsum("ni,ij,nj->n", joint, best.action_matrix, joint), atol=1e-5
    )
    (slope,) = torch.autograd.grad(value.sum(), first)
    np.testing.assert_allclose(slope, 2 * (joint @ best.action_matrix)[:, 2:], atol=1e-4)


@pytest.mark.parametrize("pinned", [False, True])
def test_plans_at_their_bounds_satisfy_the_optimality_conditions(pinned):
    exact = solver(discount=0.95)
    state = torch.tensor([[1.5, -2.4], [0.5, 0.6], [-2.0, 2.0]])
    first = torch.tensor([[0.5], [-0.5], [1.0]]) if pinned else None
    plan, _ = exact(state, nominal(exact.planner.dynamics), first)
    plan = plan.detach().requires_grad_()
    (slope,) = torch.autograd.grad(exact._cost(state, plan, nominal(exact.planner.dynamics)).sum(), plan)
    inner = plan.detach().abs() < 1 - 1e-5
    if pinned:
        inner[:, :, 0] = False
        slope[:, :, 0] = 0.0
    assert 0 < inner.sum() < inner.numel() - (3 if pinned else 0)
    assert slope[inner].abs().max() < 1e-3
    assert (slope * plan.detach().sign())[~inner].max() <= 0


def test_sensitivities_are_finite_differences_of_the_solution_also_where_bounds_hold():
    exact = solver()
    model, state = exact.planner.dynamics, torch.tensor([[0.3, -0.2], [1.5, -2.4]])
    high = torch.tensor([[[0.2, -0.1, 0.3, 0.1, -0.2, 0.0, 0.0]]]).expand(2, 1, -1)
    given = model.parameters(high).requires_grad_()
    plan, value = exact(state, given)
    assert (plan[1].abs() > 1 - 1e-5).any()
    mix = torch.linspace(-1.0, 2.0, plan.numel()).view_as(plan)
    (moved,) = torch.autograd.grad((plan * mix).sum(), given, retain_graph=True)
    (valued,) = torch.autograd.grad(value.sum(), given)
    for entry in range(5):
        shift = 0.01 * torch.nn.functional.one_hot(torch.tensor(entry), 7)
        with torch.no_grad():
            (plus, value_plus), (minus, value_minus) = (exact(state, given + sign * shift) for sign in (1, -1))
        torch.testing.assert_close(moved[..., entry], ((plus - minus) * mix).sum((-1, -2)) / 0.02, atol=5e-3, rtol=5e-3)
        torch.testing.assert_close(valued[..., entry], (value_plus - value_minus) / 0.02, atol=2e-3, rtol=2e-3)


def test_the_sampled_fixed_point_has_the_exact_sensitivity():
    exact = solver(horizon=3)
    model = exact.planner.dynamics
    given = nominal(model, 1).clone().requires_grad_()
    plan, _ = exact(STATES[1:2], given)
    sampled = MPPI(
        MPPIConfig(horizon=3, num_samples=2**15, num_zero_mean=0, init_std=0.1, temperature=0.01), model, model, 1
    )
    torch.manual_seed(0)
    found = layer(sampled, STATES[1:2], given, plan[:, 0].detach(), implicit=True)
    (ours,) = torch.autograd.grad(found.mean[..., 0, 0].sum(), given)
    (theirs,) = torch.autograd.grad(plan[..., 0, 0].sum(), given)
    torch.testing.assert_close(found.mean, plan, atol=5e-3, rtol=0)
    torch.testing.assert_close(ours[..., :5], theirs[..., :5], atol=0.05, rtol=0)
    assert theirs[..., :5].abs().max() > 0.2


def test_a_plan_of_a_nonlinear_model_is_cheaper_than_its_warm_start_and_a_local_minimum():
    model = Acrobot(AcrobotConfig()).task_model()
    exact = solver(horizon=8, iterations=40, model=model)
    torch.manual_seed(0)
    state = 0.5 * torch.randn(4, model.state_dim)
    parameters = nominal(model, 4)
    start = exact.planner.plan(state, parameters=parameters).mean.clamp(-1, 1)
    plan, value = exact(state, parameters)
    with torch.no_grad():
        before = exact._cost(state, start, parameters)
        assert (value < before).all()
        for _ in range(20):
            near = (plan + 0.02 * torch.randn_like(plan)).clamp(-1, 1)
            assert (exact._cost(state, near, parameters) > value - 1e-4 * value.abs()).all()


def test_environments_and_candidates_do_not_touch_each_other():
    exact = solver()
    model = exact.planner.dynamics
    high = torch.rand(3, 2, 7, generator=torch.Generator().manual_seed(0)) - 0.5
    together, values = exact(STATES, model.parameters(high))
    alone, value = exact(STATES[2:], model.parameters(high)[2:, 1:])
    torch.testing.assert_close(alone[0, 0], together[2, 1], atol=1e-4, rtol=0)
    torch.testing.assert_close(value[0, 0], values[2, 1], atol=1e-5, rtol=0)


def test_a_box_program_has_the_minimum_of_a_grid():
    torch.manual_seed(0)
    root = torch.randn(20, 2, 2)
    matrix, slope = root @ root.mT + 0.1 * torch.eye(2), 2 * torch.randn(20, 2)
    low, high = -torch.rand(20, 2), torch.rand(20, 2)
    x, free = box_qp(matrix, slope, low, high)
    grid = torch.cartesian_prod(*[torch.linspace(0, 1, 101)] * 2)
    tried = low.unsqueeze(1) + grid * (high - low).unsqueeze(1)
    cost = lambda x: (0.5 * (x @ matrix) * x + slope.unsqueeze(1) * x).sum(-1)  # noqa: E731
    assert (cost(x.unsqueeze(1))[:, 0] <= cost(tried).amin(1) + 1e-6).all()
    assert 0 < free.sum() < free.numel()


SQUARE = FunctionCost(lambda state, action: state.square().sum(-1))
REFUSED = {
    "no constraints": ({"violation_cost": 1.0}, None, SQUARE),
    "planner.control_cost": ({"control_cost": 0.5}, None, SQUARE),
    "planner.change_cost": ({"change_cost": 0.5}, None, SQUARE),
    "NumpyDynamics simulates outside": ({}, NumpyDynamics(lambda state, action: state + action), SQUARE),
}


@pytest.mark.parametrize("named", REFUSED)
def test_what_has_no_derivative_is_refused(named):
    options, dynamics, cost = REFUSED[named]
    dynamics = LinearModel(LinearConfig()) if dynamics is None else dynamics
    with pytest.raises(UserError, match=named):
        ILQR(MPPI(MPPIConfig(num_samples=16, **options), dynamics, cost, 1))


def test_it_plans_in_the_dtype_of_its_planner():
    """Coarse states become fine plans, to the digits of float64, and the planner that acts by it has the same."""
    model = FunctionModel(
        lambda x, u: x @ torch.tensor([[1.0, 0.0], [0.1, 1.0]], dtype=x.dtype) + 0.1 * u,
        lambda x, u: x.square().sum(-1) + 0.1 * u.square().sum(-1),
    )
    config = MPPIConfig(horizon=4, num_samples=8, num_zero_mean=1)
    planner, exact = SOLVERS["ilqr"](MPPI(config, model, model, 1, dtype=torch.float64, low=-9.0, high=9.0))
    state = torch.tensor([[0.5, -0.25]])
    assert isinstance(exact, ILQR)
    plan = planner.plan(state, margins=False)
    assert {plan.mean.dtype, plan.costs.dtype, plan.states.dtype, planner.dtype} == {torch.float64}
    fine, _ = exact(state.double(), None)
    torch.testing.assert_close(plan.mean, fine.detach(), atol=1e-12, rtol=0)
    used = fine.detach().requires_grad_()
    (slope,) = torch.autograd.grad(exact._cost(state.double(), used, None).sum(), used)
    assert slope.abs().max() < 1e-10


def test_an_end_that_sees_the_last_action_is_minimised():
    """The cost ``a^2 + b^2 + (a + b - 1)^2 + 2 b`` of two actions is least at ``a = 2 / 3, b = -1 / 3``."""
    model = FunctionModel(
        lambda x, u: x + u,
        lambda x, u: u[..., 0].square(),
        terminal_after=lambda x, u: (x[..., 0] - 1).square() + 2 * u[..., 0],
    )
    exact = ILQR(MPPI(MPPIConfig(horizon=2, num_samples=8), model, model, 1), iterations=3)
    plan, value = exact(torch.zeros(1, 1), None)
    torch.testing.assert_close(plan.flatten().detach(), torch.tensor([2 / 3, -1 / 3]), atol=1e-5, rtol=0)
    torch.testing.assert_close(value.item(), 4 / 9 + 1 / 9 + 4 / 9 - 2 / 3)


def test_acting_and_learning_start_from_the_same_plan():
    """Two wells: the warm start decides which one is found, so both must have the same."""
    model = FunctionModel(lambda x, u: x + u, lambda x, u: 0 * x[..., 0], lambda x: (x[..., 0].square() - 1).square())
    planner, exact = SOLVERS["ilqr"](MPPI(MPPIConfig(horizon=1, num_samples=8), model, model, 1))
    state = torch.zeros(16, 1)
    acted, learned = planner.plan(state).mean, exact(state, None)[0]
    assert acted.abs().min() > 0.5
    torch.testing.assert_close(acted, learned.detach())
