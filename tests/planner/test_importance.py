"""A control cost weights samples by the ratio of the base density to the density they come from."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from pompc.errors import NonFiniteError
from pompc.models import FunctionModel
from pompc.planner import MPPI, MPPIConfig

FREE = FunctionModel(lambda x, u: x, lambda x, u: torch.zeros_like(x[..., 0]))
SAMPLED = {"num_zero_mean": 0, "include_mean": False}
NOISES = {
    "white": {"noise": "white"},
    "pink": {"noise": "coloured"},
    "brown": {"noise": "coloured", "noise_exponent": 2.0},
    "spline": {"noise": "spline", "noise_knots": 4},
    "constant": {"noise": "spline", "noise_knots": 1},
}


def planner(model=FREE, *, actions=1, low=-1e3, high=1e3, **options):
    options = {"horizon": 10, "num_samples": 1024, "control_cost": 1.0, **options}
    return MPPI(MPPIConfig(**options), model, model, actions, low=low, high=high)


# -- the ratio --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [NOISES[name] for name in ("white", "pink", "spline")], ids=str)
@pytest.mark.parametrize(("zero", "proposals"), [(0, 0), (3, 0), (0, 2), (3, 2)])
def test_the_ratio_equals_that_of_the_densities(noise, zero, proposals):
    samples, horizon, kept = 8, 5, 0.4
    mppi = planner(horizon=horizon, num_samples=samples, num_zero_mean=zero, control_cost=1 - kept, actions=2, **noise)
    assert mppi.importance is not None
    std = 0.2 + torch.rand(1, 1, horizon, 2)
    mean = mppi.importance.reachable(torch.randn(1, 1, 1, horizon, 2), std).squeeze(2)
    extra = mppi.importance.reachable(torch.randn(1, 1, proposals, horizon, 2), std) if proposals else None
    drawn = mppi.sample(mean, std, extra, None)
    found = mppi.importance.log_ratio(drawn, mean, std, extra)[0, 0]

    over_time = mppi.noise.covariance(horizon).numpy()
    stds = std[0, 0].double().numpy()

    def density(at, centre):
        parts = [
            multivariate_normal(centre[:, a], stds[:, a, None] * over_time * stds[None, :, a], allow_singular=True).pdf(
                at[:, a]
            )
            for a in range(2)
        ]
        return np.prod(parts)

    centre = mean[0, 0].double().numpy()
    centres = [(samples - zero - proposals, centre), (zero, 0 * centre)]
    centres += [(1, extra[0, 0, i].double().numpy()) for i in range(proposals)]
    for sample, ratio in zip(drawn[0, 0].double().numpy(), found, strict=True):
        mixture = sum(number / samples * density(sample, other) for number, other in centres)
        assert ratio.exp().item() == pytest.approx(density(sample, kept * centre) / mixture, rel=2e-3)


def test_without_zeros_and_proposals_the_ratio_is_the_term_of_williams():
    mppi = planner(num_samples=64, control_cost=0.6, **SAMPLED)
    mean, std = torch.randn(2, 1, 10, 1), torch.full((2, 1, 10, 1), 0.5)
    drawn = mppi.sample(mean, std, None, None)
    term = -0.6 * ((mean / std.square()).unsqueeze(2) * (drawn - mean.unsqueeze(2))).sum((-2, -1))
    assert mppi.importance is not None
    difference = mppi.importance.log_ratio(drawn, mean, std, None) - term
    torch.testing.assert_close(difference, difference[..., :1].expand_as(difference), rtol=1e-4, atol=1e-4)


# -- the plan ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
@pytest.mark.parametrize("kept", [0.0, 0.7])
@pytest.mark.parametrize("options", [SAMPLED, {"num_zero_mean": 2048, "include_mean": True}], ids=str)
def test_plan_and_free_energy_of_a_quadratic_cost_are_exact(noise, kept, options):
    """Cost ``|v - g|^2 / 2``, temperature 2, base ``N(b, Sigma)``: the plan is a Gaussian's mean in closed form."""
    horizon, temperature = 6, 2.0
    goal = torch.linspace(-0.5, 1.0, horizon)
    model = FunctionModel(  # the state is the number of steps
        lambda x, u: x + 1, lambda x, u: (u[..., 0] - goal[x[..., 0].long()]).square() / 2
    )
    mppi = planner(
        model, horizon=horizon, num_samples=8192, temperature=temperature, control_cost=1 - kept, **noise, **options
    )
    std = 0.5
    mean = 0.2 * mppi.noise((1, horizon, 1), mppi.device)
    covariance = std**2 * mppi.noise.covariance(horizon)
    base, g, identity = kept * mean[0, :, 0].double(), goal.double(), torch.eye(horizon, dtype=torch.float64)
    gain = covariance @ torch.linalg.inv(covariance + temperature * identity)
    plan = mppi.plan(torch.zeros(1, 1), mean=mean)
    expected = base + gain @ (g - base)
    torch.testing.assert_close(plan.mean[0, 0, :, 0], expected.float(), rtol=0, atol=0.04)
    evidence = torch.linalg.solve(covariance + temperature * identity, g - base) @ (g - base) / 2
    evidence = evidence + torch.logdet(identity + covariance / temperature) / 2
    assert plan.soft_value.item() == pytest.approx(temperature * evidence.item(), abs=0.1)


ZIGZAG = torch.tensor([0.8, -0.8]).repeat(5).view(1, 1, 1, 10, 1)
CASES = {
    "sampled": SAMPLED,
    "defaults": {},
    "half around zero": {"num_zero_mean": 512},
    "elites": {"num_elites": 256},
    "elites and zeros": {"num_elites": 256, "num_zero_mean": 512},
    "adapted std": {"adapt_std": True, "num_iterations": 2},
    "stochastic": {"stochastic": True, "num_iterations": 2},
}


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
@pytest.mark.parametrize("shifted", [False, True], ids=["held", "shifted"])
@pytest.mark.parametrize(
    "proposals", [None, ZIGZAG, torch.full_like(ZIGZAG, 0.9)], ids=["no proposal", "zigzag", "constant"]
)
def test_without_costs_the_plan_goes_to_zero(noise, options, shifted, proposals):
    mppi = planner(**noise, **options)
    mean = torch.linspace(0.9, 0.3, 10).view(1, 10, 1)  # neither a spline of one knot nor, when shifted, of four
    for _ in range(10):
        plan = mppi.plan(torch.zeros(1, 1), mean=mean, proposals=proposals)
        mean = mppi.shift(plan.mean[:, 0]) if shifted else plan.mean[:, 0]
    left = 4 * 0.5 / np.sqrt(options.get("num_elites", 1024))  # four standard errors of samples with a std of 0.5
    assert plan.mean.abs().max() < left + (0 if proposals is None else 0.01)
    assert plan.effective_samples > 0.8 * options.get("num_elites", 1024)


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
@pytest.mark.parametrize(("low", "high"), [(-0.2, 0.2), (-0.1, 1.0), (-0.3, 0.05)])
def test_without_costs_bounds_shift_nothing(noise, low, high):
    """Clamping on one side does not shift the mean, because the densities are those of the drawn samples."""
    mppi = planner(low=low, high=high, num_samples=4096, **noise)
    mean = torch.full((1, 10, 1), high)
    for _ in range(5):
        plan = mppi.plan(torch.zeros(1, 1), mean=mean)
        mean = plan.mean[:, 0]
    assert plan.mean.abs().max() < 0.04
    assert plan.actions.min() >= np.float32(low)
    assert plan.actions.max() <= np.float32(high)


def test_a_plan_stays_inside_bounds_without_zero():
    mppi = planner(low=0.2, high=1.0)
    plan = mppi.plan(torch.zeros(1, 1), mean=torch.full((1, 10, 1), 0.5))
    torch.testing.assert_close(plan.mean, torch.full((1, 1, 10, 1), 0.2))


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
def test_one_plan_keeps_the_share_of_the_mean_that_the_control_cost_leaves(kept):
    mean = torch.full((1, 10, 1), 0.2)
    plan = planner(num_samples=65536, control_cost=1 - kept).plan(torch.zeros(1, 1), mean=mean)
    torch.testing.assert_close(plan.mean[:, 0], kept * mean, rtol=0, atol=0.015)
    assert plan.soft_value.abs() < 0.05, "nothing is charged: no free energy"


def test_samples_around_zero_leave_a_distant_warm_start_at_once():
    mean = torch.full((64, 20, 1), 0.8)
    plan = planner(horizon=20, num_samples=64, num_zero_mean=16).plan(torch.zeros(64, 1), mean=mean)
    assert plan.mean.mean().abs() < 0.03
    assert plan.mean.std() < 0.2  # the standard error of 16 samples is 0.125


def test_mean_and_proposals_are_projected_on_the_range_of_the_noise():
    mppi = planner(**NOISES["spline"])
    spline = mppi.noise((1, 10, 1), mppi.device)
    plan = mppi.plan(torch.zeros(1, 1), mean=ZIGZAG[:, 0, 0], proposals=spline[:, None, None] + ZIGZAG)
    values = torch.linalg.svdvals(plan.actions[0, 0, :, :, 0].double())
    assert (values > 1e-5 * values[0]).sum() == 4
    inside = mppi.plan(torch.zeros(1, 1), mean=spline, proposals=spline[:, None, None])
    torch.testing.assert_close(inside.actions[:, :, 0], spline[:, None], rtol=0, atol=1e-5)
    torch.testing.assert_close(inside.actions[:, :, 1], spline[:, None], rtol=0, atol=1e-5)


def test_elites_are_the_samples_of_least_cost():
    model = FunctionModel(lambda x, u: x + u, lambda x, u: (x - 1).square().sum(-1))
    plan = planner(model, num_elites=100).plan(torch.zeros(1, 1), mean=torch.full((1, 10, 1), 0.2))
    assert plan.costs[plan.weights > 0].max() <= plan.costs[plan.weights == 0].min()
    assert (plan.weights > 0).sum() == 100


def test_an_action_with_a_std_of_zero_is_the_one_without_control():
    mppi = planner(actions=2, init_std=(0.5, 0.0), num_samples=4096)
    plan = mppi.plan(torch.zeros(1, 1), mean=torch.full((1, 10, 2), 0.2))
    assert plan.mean[..., 1].abs().max() == 0
    assert plan.mean[..., 0].abs().max() < 0.05


def test_a_std_too_small_for_the_ratio_is_named():
    with pytest.raises(NonFiniteError, match=r"importance term .*init_std or min_std is too small"):
        planner(init_std=1e-25).plan(torch.zeros(1, 1), mean=torch.ones(1, 10, 1))
