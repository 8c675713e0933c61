"""Properties of the shared planner."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
import torch

from pompc.errors import NonFiniteError, UserError
from pompc.models import FunctionModel
from pompc.planner import MPPI, MPPIConfig
from pompc.planner.weights import effective_sample_size, mppi_weights, soft_value, systematic_resample

A = np.array([[1.0, 0.1], [0.0, 1.0]])
B = np.array([[0.005], [0.1]])
Q, R = np.diag([1.0, 0.1]), np.array([[0.1]])


def riccati():
    """Compute the infinite-horizon gain and cost-to-go of a double integrator."""
    p = scipy.linalg.solve_discrete_are(A, B, Q, R)
    return np.linalg.solve(R + B.T @ p @ B, B.T @ p @ A), p


def double_integrator():
    a, b, q, r, p = (torch.as_tensor(m, dtype=torch.float32) for m in (A, B, Q, R, riccati()[1]))
    return FunctionModel(
        lambda x, u: x @ a.T + u @ b.T,
        lambda x, u: ((x @ q) * x).sum(-1) + ((u @ r) * u).sum(-1),
        lambda x: ((x @ p) * x).sum(-1),
    )


def planner(model=None, **options):
    model = double_integrator() if model is None else model
    return MPPI(MPPIConfig(**{"horizon": 8, **options}), model, model, 1, low=-4.0, high=4.0)


class Parametric:
    """A point that moves by its action and pays its distance to the target in its parameters."""

    def step(self, state, action):
        return state + action

    def running(self, state, action, next_state, parameters):
        return (next_state - parameters).square().sum(-1)

    def terminal(self, state, parameters):
        return torch.zeros_like(state[..., 0])


def test_first_action_approaches_the_riccati_solution_as_samples_grow():
    state = torch.tensor([[1.0, 0.0], [-0.5, 0.8], [0.3, -1.0], [0.2, 0.1]])
    optimum = torch.as_tensor(-state.double().numpy() @ riccati()[0].T)
    errors = []
    for samples in (16, 128, 4096):
        torch.manual_seed(0)
        mppi = planner(
            num_samples=samples,
            num_iterations=16,
            num_elites=samples // 8,
            adapt_std=True,
            init_std=2.0,
            min_std=0.01,
            temperature=0.05,
            num_zero_mean=0,
        )
        errors.append((mppi.plan(state).mean[:, 0, 0] - optimum).abs().mean().item())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.03, errors


def test_batched_equals_one_by_one_with_the_same_noise_and_order_does_not_matter():
    mppi = planner(num_samples=32, num_iterations=3, num_elites=8, adapt_std=True)
    state, mean = torch.randn(5, 2), torch.randn(5, 8, 1)
    noise = torch.randn(3, 5, 1, 32, 8, 1)
    together = mppi.plan(state, mean=mean, noise=noise)
    for i in range(5):
        alone = mppi.plan(state[i : i + 1], mean=mean[i : i + 1], noise=noise[:, i : i + 1])
        torch.testing.assert_close(alone.mean[0], together.mean[i], atol=2e-6, rtol=0)
        torch.testing.assert_close(alone.costs[0], together.costs[i])
    order = torch.tensor([3, 1, 4, 0, 2])
    shuffled = mppi.plan(state[order], mean=mean[order], noise=noise[:, order])
    torch.testing.assert_close(shuffled.mean, together.mean[order])


@pytest.mark.parametrize("discount", [None, torch.tensor([1.0, 0.9, 0.5, 0.0, 0.7])], ids=["shared", "own"])
@pytest.mark.parametrize("candidates", [None, 3])
def test_blocks_of_environments_score_as_all_at_once(discount, candidates, monkeypatch):
    sizes, batch, horizon = [], 5, 4  # as many environments as shared discounts, which must not be split into blocks
    model = Parametric() if candidates else FunctionModel(lambda x, u: x + u, lambda x, u: x.square().sum(-1))
    mppi = planner(model, horizon=horizon, num_samples=16, num_iterations=2, discount=0.8, adapt_std=True)
    rollout = mppi.scorer.rollout
    monkeypatch.setattr(mppi.scorer, "rollout", lambda state, acted: sizes.append(len(state)) or rollout(state, acted))
    options = {
        "parameters": torch.randn(batch, candidates, 1) if candidates else None,
        "discount": discount,
        "terminal_value": lambda state: -state.square().sum(-1),
        "noise": torch.randn(2, batch, candidates or 1, 16, horizon, 1),
    }
    state, plans = torch.randn(batch, 1), []
    for environments in (batch, 2, 0.5):
        monkeypatch.setattr("pompc.planner.blocks.BLOCK_ON_CPU", environments * (candidates or 1) * 16)
        plans.append(mppi.plan(state, **options))
    assert sizes == [5] * 2 + [2, 2, 1] * 2 + [1] * 10
    for plan in plans[1:]:
        for name in ("states", "costs", "mean", "std", "weights"):
            torch.testing.assert_close(getattr(plan, name), getattr(plans[0], name))


def test_each_candidate_plans_for_its_cost_parameters():
    options = {"horizon": 2, "init_std": 2.0, "num_samples": 512, "num_iterations": 8, "num_elites": 32}
    mppi = planner(Parametric(), adapt_std=True, temperature=0.1, **options)
    targets = torch.tensor([[[1.0], [-2.0]], [[0.5], [3.0]]])
    plan = mppi.plan(torch.zeros(2, 1), parameters=targets)
    torch.testing.assert_close(plan.mean[:, :, 0], targets, atol=0.1, rtol=0)
    assert plan.batch_size == (2, 2)
    chosen = plan[torch.arange(2), torch.tensor([1, 0])]
    torch.testing.assert_close(chosen.mean[0], plan.mean[0, 1])


def test_zero_temperature_takes_the_best_sample():
    mppi = planner(temperature=1e-9, num_samples=40)
    plan = mppi.plan(torch.randn(3, 2))
    best = plan.costs.argmin(-1)
    picked = plan.actions[torch.arange(3), 0, best[:, 0]]
    torch.testing.assert_close(plan.mean[:, 0], picked)
    torch.testing.assert_close(plan.effective_samples, torch.ones(3, 1))


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
def test_huge_and_tiny_costs_do_not_overflow(scale):
    cost = torch.rand(4, 64) * scale
    weights = mppi_weights(cost, 1.0)
    assert torch.isfinite(weights).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(4))
    value = soft_value(cost, 1.0)
    assert torch.isfinite(value).all()
    assert (value <= cost.mean(-1) * 1.0001 + 1e-5).all()
    assert (value >= cost.amin(-1) - 1e-5).all()


def test_soft_value_between_minimum_and_mean_and_monotone_in_temperature():
    cost = torch.randn(3, 100)
    values = [soft_value(cost, t) for t in (1e-3, 0.1, 1.0, 10.0, 1e4)]
    assert all((a <= b + 1e-4).all() for a, b in pairwise(values))
    torch.testing.assert_close(values[0], cost.amin(-1), atol=6e-3, rtol=0)
    torch.testing.assert_close(values[-1], cost.mean(-1), atol=2e-2, rtol=0)


def test_one_bad_rollout_does_not_poison_the_others_when_asked_and_is_named_when_not():
    model = double_integrator()
    poisoned = FunctionModel(
        model.step, lambda x, u: model.running(x, u, x, None) + torch.where(u[..., 0] > 3.0, torch.nan, 0.0)
    )
    noise = torch.randn(1, 2, 1, 16, 8, 1) * 0.1
    noise[0, 1, 0, 7, 5] = 100.0  # clamped to the bound of 4: sample 7 of environment 1 turns bad at step 5
    options = {"num_samples": 16, "num_zero_mean": 0}
    plan = planner(poisoned, drop_nonfinite=True, **options).plan(torch.randn(2, 2), noise=noise)
    assert plan.weights[1, 0, 7] == 0
    assert torch.isfinite(plan.mean).all()
    assert torch.isfinite(plan.soft_value).all()
    with pytest.raises(NonFiniteError, match=r"planner cost .*environment 1, candidate 0, sample 7, step 5"):
        planner(poisoned, **options).plan(torch.randn(2, 2), noise=noise)
    hopeless = FunctionModel(model.step, lambda x, u: x[..., 0] * torch.nan)
    with pytest.raises(NonFiniteError):
        planner(hopeless, drop_nonfinite=True, **options).plan(torch.randn(2, 2))


def test_horizon_one_is_a_single_decision():
    mppi = planner(Parametric(), horizon=1, num_samples=256, num_iterations=5, num_elites=16, adapt_std=True)
    plan = mppi.plan(torch.zeros(1, 1), parameters=torch.tensor([[[0.7]]]))
    assert plan.mean.shape == (1, 1, 1, 1)
    assert plan.states.shape == (1, 1, 256, 2, 1)
    assert abs(plan.mean.item() - 0.7) < 0.1


def test_actions_stay_inside_bounds_and_the_std_between_floor_and_ceiling():
    mppi = planner(init_std=3.0, max_std=3.0, min_std=0.2, adapt_std=True, num_iterations=10, num_samples=32)
    plan = mppi.plan(torch.randn(6, 2) * 10)
    assert plan.actions.abs().max() <= 4.0
    assert plan.std.min() >= 0.2


FLAT = FunctionModel(lambda x, u: x, lambda x, u: torch.zeros_like(x[..., 0]))
PLAIN = {"num_zero_mean": 0, "include_mean": False}


def test_the_adapted_std_is_cut_at_its_ceiling():
    """Half of the samples are proposals at the bounds of 4, and only they set the standard deviation."""
    far = torch.full((1, 1, 256, 8, 1), 4.0)
    far[:, :, ::2] = -4.0
    for ceiling in (0.3, 10.0):
        options = {"num_samples": 512, "adapt_std": True, "init_std": 0.3, "max_std": ceiling}
        plan = planner(FLAT, **PLAIN, **options).plan(torch.zeros(1, 1), proposals=far)
        torch.testing.assert_close(plan.std, torch.full_like(plan.std, min(ceiling, 8**0.5)), rtol=0.05, atol=0)


def test_the_std_at_the_start_may_differ_between_entries():
    mppi = MPPI(MPPIConfig(num_samples=512, init_std=(0.1, 0.7)), FLAT, FLAT, 2, low=-4.0, high=4.0)
    std = mppi.plan(torch.zeros(1, 1)).actions.flatten(0, -2).std(0)
    torch.testing.assert_close(std, torch.tensor([0.1, 0.7]), rtol=0.05, atol=0)


@pytest.mark.parametrize("include", [True, False])
def test_the_mean_is_a_sample_if_configured(include):
    mean = torch.rand(1, 8, 1)
    plan = planner(FLAT, num_zero_mean=0, include_mean=include).plan(torch.zeros(1, 1), mean=mean)
    assert torch.equal(plan.actions[0, 0, 0], mean[0]) == include


def test_samples_have_the_configured_noise():
    def actions(**options):
        torch.manual_seed(0)
        options = {"horizon": 20, "num_samples": 512, "init_std": 0.1, **PLAIN, **options}
        return planner(FLAT, **options).plan(torch.zeros(1, 1)).actions[0, 0, :, :, 0]

    def correlation(x):
        return torch.corrcoef(torch.stack([x[:, :-1].flatten(), x[:, 1:].flatten()]))[0, 1].item()

    assert abs(correlation(actions())) < 0.05
    assert abs(correlation(actions(noise="coloured", noise_exponent=0.0))) < 0.05
    assert correlation(actions(noise="coloured", noise_exponent=2.0)) > 0.8
    constant = actions(noise="spline", noise_knots=1)
    torch.testing.assert_close(constant, constant[:, :1].expand_as(constant))
    assert (
        correlation(actions(noise="spline", noise_knots=20))
        < 0.05
        < correlation(actions(noise="spline", noise_knots=4))
    )


def test_warm_start_shift_and_reset():
    mppi = planner(num_samples=1, num_zero_mean=0)
    mean = torch.arange(16.0).view(2, 8, 1) / 10
    shifted = mppi.shift(mean)
    torch.testing.assert_close(shifted[:, :-1], mean[:, 1:])
    torch.testing.assert_close(shifted[:, -1], mean[:, -1])
    plan = mppi.plan(torch.zeros(2, 2), mean=shifted, is_init=torch.tensor([[True], [False]]))
    assert (plan.mean[0] == 0).all()
    torch.testing.assert_close(plan.mean[1, 0], shifted[1])


def test_a_warm_start_in_a_local_optimum_is_left_through_zero_mean_samples_and_proposals():
    """Two wells: the warm start sits in the shallow one, five standard deviations from the deep one."""
    wells = FunctionModel(
        lambda x, u: x + u * 0,
        lambda x, u: -torch.exp(-((u[..., 0] - 3.0) ** 2) * 2) - 5.0 * torch.exp(-(u[..., 0] ** 2) * 2),
    )
    trapped = torch.full((8, 4, 1), 3.0)
    options = {"horizon": 4, "num_samples": 64, "init_std": 0.3, "temperature": 0.1}
    stuck = planner(wells, num_zero_mean=0, **options).plan(torch.zeros(8, 1), mean=trapped)
    assert (stuck.mean > 2.0).all()
    mixed = planner(wells, num_zero_mean=8, **options).plan(torch.zeros(8, 1), mean=trapped)
    assert (mixed.mean.abs() < 1.0).all()
    guided = planner(wells, num_zero_mean=0, **options).plan(
        torch.zeros(8, 1), mean=trapped, proposals=torch.zeros(8, 1, 1, 4, 1)
    )
    assert (guided.mean.abs() < 1.0).all()


def test_nothing_is_charged_after_a_termination():
    class Ending(Parametric):
        def terminated(self, state, action, next_state):
            return next_state[..., 0] > 1.5

        def running(self, state, action, next_state, parameters):
            return torch.ones_like(state[..., 0])

        def terminal(self, state, parameters):
            return torch.full_like(state[..., 0], 100.0)

    mppi = planner(Ending(), horizon=4, num_samples=1, num_zero_mean=0)
    ends = mppi.plan(torch.zeros(1, 1), mean=torch.ones(1, 4, 1))
    stays = mppi.plan(torch.zeros(1, 1), mean=torch.zeros(1, 4, 1))
    assert ends.costs.item() == 2.0
    assert stays.costs.item() == 104.0


def test_discount_and_terminal_value():
    one = FunctionModel(lambda x, u: x, lambda x, u: torch.ones_like(x[..., 0]))
    mppi = planner(one, horizon=3, num_samples=2, num_zero_mean=0, discount=0.5)
    plan = mppi.plan(torch.zeros(1, 1), terminal_value=lambda x: torch.full_like(x[..., 0], 8.0))
    torch.testing.assert_close(plan.costs, torch.full((1, 1, 2), 1.75 - 1.0))


def test_stochastic_action_is_a_sample_drawn_by_weight():
    mppi = planner(stochastic=True, num_samples=8)
    plan = mppi.plan(torch.randn(4, 2))
    action = mppi.select(plan)
    assert (plan.actions[:, :, :, 0] == action.unsqueeze(2)).all(-1).any(-1).all()
    assert torch.equal(planner(num_samples=8).select(plan), plan.mean[:, :, 0])


def test_elites_carry_all_the_weight():
    cost = torch.randn(5, 3, 50)
    weights = mppi_weights(cost, 0.7, num_elites=6)
    assert ((weights > 0).sum(-1) == 6).all()
    best = cost.topk(6, largest=False).values
    torch.testing.assert_close(weights.topk(6).values, torch.softmax(-best / 0.7, -1))
    assert (effective_sample_size(weights) <= 6.0001).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_systematic_resampling_is_proportional(dtype):
    weights = torch.tensor([[0.5, 0.25, 0.125, 0.125], [0.0, 1.0, 0.0, 0.0]], dtype=dtype)
    index = systematic_resample(weights, 8)
    counts = torch.stack([torch.bincount(draws, minlength=4) for draws in index])
    torch.testing.assert_close(counts, torch.tensor([[4, 2, 1, 1], [0, 8, 0, 0]]))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"horizon": 0}, "horizon"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature must be a number, not nan"),
        ({"init_std": -1.0}, "init_std must be at least 0"),
        ({"init_std": (0.1, float("inf"))}, r"init_std\[1\] must be at least 0, not inf"),
        ({"discount": float("nan")}, "discount must be a number, not nan"),
        ({"min_std": -0.1}, "min_std must be at least 0, not -0.1"),
        ({"noise": "pink"}, "white, coloured, spline"),
        ({"num_samples": 4, "num_zero_mean": 4}, "num_zero_mean"),
        ({"num_elites": 100}, "num_elites"),
        ({"init_std": (0.1, 0.2)}, "init_std"),
    ],
)
def test_bad_options_are_refused_by_name(options, word):
    with pytest.raises(UserError, match=word):
        planner(**options)


def test_too_many_proposals_are_refused():
    with pytest.raises(UserError, match="proposals"):
        planner(num_samples=8).plan(torch.zeros(1, 2), proposals=torch.zeros(1, 1, 8, 8, 1))
