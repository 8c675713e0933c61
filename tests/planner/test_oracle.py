"""Plans, values and their sensitivities beside those of casadi: iLQR to rounding, a converged sampled plan nearly."""

import numpy as np
import pytest
import torch

from pompc.envs.acrobot import Acrobot, AcrobotConfig
from pompc.envs.linear import LinearConfig, LinearModel
from pompc.planner import MPPI, MPPIConfig
from pompc.planner.ilqr import ILQR
from pompc.planner.layer import layer
from pompc.planner.noise import CommonNoise, MirroredNoise

pytest.importorskip("casadi", reason="needs pip install 'pompc[oracle]'")
import oracle

DISCOUNT, HORIZON = 0.95, 6
FREE, HELD = [[0.0, 0.15], [0.3, 0.1]], [[0.9, -0.9], [-2.0, 2.0]]
PHI = [0.2, -0.1, 0.3, 0.1, -0.2, 0.0, 0.0]
NEAR_UPRIGHT = [[2.9, 0.2, 0.1, -0.2, 0.0], [2.8, 0.1, -0.2, 0.3, 0.0], [3.0, -0.2, 0.3, -0.1, 0.0]]


def linear():
    """The bench without the cost of violations, which has kinks."""
    model = LinearModel(LinearConfig(violation_weight=0.0))
    return model, model.parameters(torch.tensor(PHI).double())


def planner(model, horizon=HORIZON, **options):
    config = MPPIConfig(horizon=horizon, num_zero_mean=0, include_mean=False, **options)
    made = MPPI(config, model, model, 1, dtype=torch.float64)
    made.noise = CommonNoise(MirroredNoise(made.noise))
    return made


def gradients(plan, value, given):
    """Differentiate an uneven mix of a plan's controls, and its value, with respect to the cost parameters."""
    mix = torch.linspace(-1.0, 2.0, plan.shape[-2], dtype=plan.dtype)
    pairs = [((plan[:, 0, :, 0] * mix).sum(), value.sum())]
    found = [torch.autograd.grad(x, given, retain_graph=True)[0][:, 0].numpy() for pair in pairs for x in pair]
    return mix.numpy(), *found


@pytest.mark.parametrize("states", [FREE, HELD], ids=["free", "held"])
@pytest.mark.parametrize("method", ["ipopt", "qrqp"])
def test_ilqr_on_the_linear_bench_is_the_exact_solution_with_its_sensitivities(states, method):
    model, phi = linear()
    given = phi.expand(2, 1, -1).clone().requires_grad_()
    exact = ILQR(planner(model, num_samples=16, discount=DISCOUNT), iterations=60)
    plan, value = exact(torch.tensor(states, dtype=torch.float64), given)
    mix, moved, valued = gradients(plan, value, given)
    functions, counts = oracle.linear_step(model), []
    for index, state in enumerate(states):
        best = oracle.solve(functions, state, phi.numpy(), horizon=HORIZON, discount=DISCOUNT, method=method)
        counts.append(best.held.sum())
        np.testing.assert_allclose(plan[index, 0, :, 0].detach(), best.plan, atol=1e-7)
        np.testing.assert_allclose(value[index, 0].item(), best.value, rtol=1e-9)
        np.testing.assert_allclose(moved[index, :5], (mix @ best.plan_slope)[:5], atol=1e-6)
        np.testing.assert_allclose(valued[index, :5], best.value_slope[:5], atol=1e-6)
    assert max(counts) == 0 if states is FREE else 0 < counts[0] < HORIZON


def test_ilqr_on_the_acrobot_is_the_nearest_exact_solution_with_its_sensitivities():
    model = Acrobot(AcrobotConfig(goal="hold")).task_model()
    phi = torch.tensor([3.14, 0.0, 2.0]).double()
    given = phi.expand(3, 1, -1).clone().requires_grad_()
    plan, value = ILQR(planner(model, num_samples=16), iterations=60)(
        torch.tensor(NEAR_UPRIGHT, dtype=torch.float64), given
    )
    mix, moved, valued = gradients(plan, value, given)
    functions, counts = oracle.acrobot_step(model), []
    for index, state in enumerate(NEAR_UPRIGHT):
        near = 0.9 * plan[index, 0, :, 0].detach().numpy()
        best = oracle.solve(functions, state[:4], phi.numpy(), horizon=HORIZON, discount=1.0, start=near)
        counts.append(int(best.held.sum()))
        np.testing.assert_allclose(plan[index, 0, :, 0].detach(), best.plan, atol=1e-4)
        np.testing.assert_allclose(value[index, 0].item(), best.value, rtol=1e-8)
        np.testing.assert_allclose(moved[index], mix @ best.plan_slope, atol=1e-3)
        np.testing.assert_allclose(valued[index], best.value_slope, atol=1e-4)
    assert 0 < sum(counts) < 3 * HORIZON, "some bounds hold, some controls are free"


@pytest.mark.parametrize("states", [FREE, HELD], ids=["free", "held"])
def test_a_converged_sampled_plan_comes_near_the_exact_solution(states):
    """The soft value has a bias, which is one constant where no bound holds; its slope has none but that of sampling."""
    model, phi = linear()
    given = phi.expand(2, 1, -1).clone().requires_grad_()
    options = {"num_samples": 2**13, "num_iterations": 16, "init_std": 0.1, "discount": DISCOUNT}
    temperature = 0.01 if states is FREE else 0.002
    found = layer(
        planner(model, **options, temperature=temperature),
        torch.tensor(states, dtype=torch.float64),
        given,
        implicit=states is FREE,
    )
    mix, moved, valued = gradients(found.mean, found.soft_value, given)
    functions, biases = oracle.linear_step(model), []
    for index, state in enumerate(states):
        best = oracle.solve(functions, state, phi.numpy(), horizon=HORIZON, discount=DISCOUNT)
        close = 1e-3 if states is FREE else 0.05  # samples around a held control lie on one side of it
        np.testing.assert_allclose(found.mean[index, 0, :, 0].detach(), best.plan, atol=close)
        biases.append(found.soft_value[index, 0].item() - best.value)
        # The weights of squares change the curvature, and so the bias; the slopes of the states do not.
        np.testing.assert_allclose(valued[index, 3:5], best.value_slope[3:5], atol=1e-3 if states is FREE else 0.05)
        np.testing.assert_allclose(valued[index, :3], best.value_slope[:3], atol=0.05)
        if states is FREE:
            np.testing.assert_allclose(moved[index, :5], (mix @ best.plan_slope)[:5], atol=0.1)
    assert 0 < min(biases) < max(biases) < 0.1
    if states is FREE:
        assert max(biases) - min(biases) < 1e-5
