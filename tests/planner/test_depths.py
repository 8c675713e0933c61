"""Costs averaged over the depths of a rollout: the sum written out, its limits, and who refuses it."""

import pytest
import torch

from pompc.errors import NonFiniteError, UserError
from pompc.models.functions import FunctionModel
from pompc.planner import MPPI, MPPIConfig
from pompc.planner.blend import BlendedMPPI
from pompc.planner.depths import DepthScorer, depth_weights
from pompc.planner.ilqr import ILQR
from pompc.planner.layer import layer
from pompc.planner.scoring import Scorer

DISCOUNT, HORIZON = 0.9, 4


class Walk:
    """A point on a line, with every part of a cost; beyond ``end`` the episode ends."""

    def __init__(self, end=torch.inf):
        self.end = end

    def step(self, state, action):
        return 0.9 * state + 0.5 * torch.tanh(action)

    def running(self, state, action, next_state, parameters):
        goal = 0.0 if parameters is None else parameters[..., 0]
        return (next_state[..., 0] - goal).square() + 0.1 * action[..., 0].square()

    def terminal_after(self, state, action, parameters):
        return state[..., 0].abs() + 0.3 * action[..., 0].abs()

    def terminal(self, state, parameters):
        raise AssertionError("the cost that sees the last action stands in its place")

    def terminated(self, state, action, next_state):
        return next_state[..., 0].abs() > self.end

    def margins(self, state, action, next_state):
        return 0.8 - next_state.abs()


def planner(model, **options):
    given = {"horizon": HORIZON, "num_samples": 24, "num_iterations": 2, "temperature": 0.3, "discount": DISCOUNT}
    return MPPI(MPPIConfig(**{**given, **options}), model, model, 1)


def value(state):
    return -3.0 * state.square().sum(-1)


def planned(planner, **options):
    torch.manual_seed(1)
    return planner.plan(torch.linspace(-1, 1, 3).view(3, 1), terminal_value=value, **options)


def cost_to(depth, model, plan, discount, parameters=None):
    """Charge the first ``depth`` steps of every sample, and the state there, until the episode ends."""
    total, going = torch.zeros(plan.costs.shape), torch.ones(plan.costs.shape)
    for t in range(depth):
        now, action, then = plan.states[..., t, :], plan.actions[..., t, :], plan.states[..., t + 1, :]
        total += going * discount**t * model.running(now, action, then, parameters)
        going = going * ~model.terminated(now, action, then)
    end = model.terminal_after(plan.states[..., depth, :], plan.actions[..., depth - 1, :], parameters)
    return total + going * discount**depth * (end - value(plan.states[..., depth, :]))


@pytest.mark.parametrize("end", [torch.inf, 0.7])
@pytest.mark.parametrize("decay", [0.4, 1.0])
def test_the_cost_of_a_sample_is_the_weighted_mean_over_all_depths(decay, end):
    model = Walk(end)
    found = planned(planner(model, depth_decay=decay))
    weights = [decay ** (HORIZON - depth) for depth in range(1, HORIZON + 1)]
    whole = [cost_to(depth, model, found, DISCOUNT) for depth in range(1, HORIZON + 1)]
    expected = sum(w * cost for w, cost in zip(weights, whole, strict=True)) / sum(weights)
    torch.testing.assert_close(found.costs, expected, rtol=1e-5, atol=1e-5)
    ended = (found.states.abs() > end).any()
    assert bool(ended) is (end < 1)


def test_every_environment_has_its_discount_and_every_candidate_its_parameters():
    model, parameters, discount = Walk(), torch.randn(3, 2, 1), torch.tensor([1.0, 0.9, 0.5])
    found = planned(planner(model, depth_decay=1.0), parameters=parameters, discount=discount)
    costs = [cost_to(h, model, found, discount.view(3, 1, 1), parameters[:, :, None]) for h in range(1, HORIZON + 1)]
    torch.testing.assert_close(found.costs, torch.stack(costs).mean(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("end", [torch.inf, 0.7])
def test_with_all_weight_on_the_horizon_a_plan_is_that_without_depths_bit_for_bit(end):
    """A decay of 0 makes the plain scorer; one that is lost in rounding charges the same sum by the other."""
    plain, lost = planner(Walk(end)), planner(Walk(end), depth_decay=1e-30)
    expected, found = planned(plain), planned(lost)
    for name in ("mean", "std", "costs", "weights", "soft_value"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert (type(plain.scorer), type(lost.scorer)) == (Scorer, DepthScorer)


@pytest.mark.parametrize("decay", [1e-3, 0.5, 1.0])
def test_weights_sum_to_one_and_fall_with_the_distance_from_the_horizon(decay):
    weights = depth_weights(MPPIConfig(horizon=6, depth_decay=decay))
    assert weights.sum().item() == pytest.approx(1.0)
    torch.testing.assert_close(weights[:-1], decay * weights[1:])


def test_independent_errors_of_the_values_average_out():
    torch.manual_seed(0)
    model = FunctionModel(lambda x, u: x + u, lambda x, u: (x + u)[..., 0].square())
    errors = {}
    for decay in (0.0, 1.0):
        scorer = planner(model, depth_decay=decay, horizon=4, discount=1.0).scorer
        actions, noise = 0.3 * torch.randn(64, 1, 32, 4, 1), torch.Generator().manual_seed(3)

        def noisy(state, noise=noise):
            return -state[..., 0].square() + 0.5 * torch.randn(state.shape[:-1], generator=noise)

        states = scorer.rollout(torch.zeros(64, 1), actions)
        exact = scorer.evaluate(states, actions, terminal_value=lambda x: -x[..., 0].square()).sum(-1)
        errors[decay] = (scorer.evaluate(states, actions, terminal_value=noisy).sum(-1) - exact).std().item()
    assert errors[1.0] == pytest.approx(errors[0.0] / 2, rel=0.1)  # four independent errors


def test_violations_risk_and_rollouts_go_with_it():
    options = {"violation_cost": 2.0, "num_rollouts": 2, "risk": "worst"}
    one = planned(planner(Walk(), depth_decay=1.0, violation_cost=2.0), margins=True)
    both = planned(planner(Walk(), depth_decay=1.0, **options), margins=True)
    for name in ("costs", "mean", "margin"):
        torch.testing.assert_close(getattr(both, name), getattr(one, name))
    free = planned(planner(Walk(), depth_decay=1.0))
    assert (one.costs[one.margin < 0] > free.costs[one.margin < 0]).any()


def test_a_bad_value_on_the_way_is_named_with_its_step():
    broken = lambda state: torch.where(state[..., 0] > 0.9, torch.nan, state[..., 0])  # noqa: E731
    model = FunctionModel(lambda x, u: torch.where(x < 0.8, x + 0.5, x - 2.0), lambda x, u: x[..., 0])
    state = torch.full((1, 1), -0.05)  # 0.45, 0.95, -1.05, -0.55
    planner(model).plan(state, terminal_value=broken)
    with pytest.raises(NonFiniteError, match="environment 0, candidate 0, sample 0, step 2"):
        planner(model, depth_decay=1.0).plan(state, terminal_value=broken)


def test_the_layers_gradient_is_that_of_the_averaged_cost():
    model = FunctionModel(lambda x, u: x + u, lambda x, u: (x[..., 0] - 1.0).square())

    class Goal:
        def running(self, state, action, next_state, parameters):
            return (next_state - parameters).square().sum(-1)

        def terminal(self, state, parameters):
            return (state - parameters).abs().sum(-1)

    mppi = MPPI(
        MPPIConfig(horizon=3, num_samples=32, temperature=0.5, depth_decay=1.0), model, Goal(), 1, dtype=torch.float64
    )
    state, noise = torch.zeros(1, 1, dtype=torch.float64), torch.randn(1, 1, 1, 32, 3, 1, dtype=torch.float64)
    goal = torch.full((1, 1, 1), 0.4, dtype=torch.float64, requires_grad=True)
    layer(mppi, state, goal, noise=noise).soft_value.sum().backward()
    ends = [layer(mppi, state, goal.detach() + move, noise=noise).soft_value for move in (1e-5, -1e-5)]
    torch.testing.assert_close(goal.grad.view(1, 1), (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-7)


def test_what_cannot_average_refuses():
    with pytest.raises(UserError, match=r"^planner\.depth_decay=0\.5 weighs the depths .*: raise planner\.horizon$"):
        MPPIConfig(depth_decay=0.5, horizon=1)
    model = FunctionModel(lambda x, u: x + u, lambda x, u: x[..., 0].square())
    config = MPPIConfig(depth_decay=0.5)
    with pytest.raises(UserError, match=r"^iLQR charges the whole horizon: leave planner\.depth_decay out$"):
        ILQR(MPPI(config, model, model, 1))
    with pytest.raises(UserError, match=r"^planner\.depth_decay=0\.5 and a blend .*: leave planner\.depth_decay out$"):
        BlendedMPPI(config, model, model, 1, blend=lambda: 0.5, step_value=lambda state, action: state[..., 0])
