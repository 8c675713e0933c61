"""Several rollouts of every sample: the mean, the variance, the worst and the CVaR of their costs."""

import pytest
import torch

from pompc.errors import NonFiniteError, UserError
from pompc.models import FunctionModel
from pompc.planner import MPPI, MPPIConfig
from pompc.planner.risk import RISKS

CERTAIN = FunctionModel(lambda x, u: x + u, lambda x, u: x[..., 0].square(), lambda x: x[..., 0].square())
SUM = FunctionModel(lambda x, u: x, lambda x, u: x[..., 0])


def planner(model=CERTAIN, **options):
    return MPPI(MPPIConfig(**{"horizon": 3, "num_samples": 16, "temperature": 0.1, **options}), model, model, 1)


@pytest.mark.parametrize("risk", RISKS)
def test_rollouts_that_agree_change_nothing(risk):
    noise, state = torch.randn(1, 2, 1, 16, 3, 1), torch.randn(2, 1)
    one = planner().plan(state, noise=noise)
    mppi = planner(num_rollouts=4, risk=risk)
    many = mppi.plan(state, noise=noise)
    for name in ("mean", "states", "costs", "weights", "soft_value"):
        torch.testing.assert_close(getattr(many, name), getattr(one, name))
    assert mppi.model_steps == 4 * 2 * 16 * 3


@pytest.mark.parametrize(
    ("options", "cost"),
    [
        ({"risk": "mean"}, 2.0),
        ({"risk": "variance", "risk_weight": 0.5}, 2.0 + 0.5 * (4 + 1 + 0 + 9) / 3),
        ({"risk": "worst"}, 5.0),
        ({"risk": "cvar", "risk_share": 0.5}, 3.5),
        ({"risk": "cvar", "risk_share": 1.0}, 2.0),
        ({"risk": "cvar", "risk_share": 0.01}, 5.0),
    ],
    ids=str,
)
def test_costs_of_rollouts_become_one(options, cost):
    """Four first states, which the model keeps and charges once."""
    states = torch.tensor([[[0.0], [1.0], [2.0], [5.0]], [[5.0], [0.0], [2.0], [1.0]]])
    plan = planner(SUM, horizon=1, num_rollouts=4, **options).plan(states)
    torch.testing.assert_close(plan.costs, torch.full((2, 1, 16), cost))


def test_every_rollout_draws_its_own_noise_of_the_dynamics():
    noisy = FunctionModel(
        lambda x, u: x + torch.randn_like(x), lambda x, u: 0 * x[..., 0], lambda x: x[..., 0].square()
    )
    options = {"horizon": 2, "num_samples": 8, "num_rollouts": 4000}
    mean = planner(noisy, **options).plan(torch.zeros(1, 1)).costs
    torch.testing.assert_close(mean, torch.full_like(mean, 2.0), atol=0.3, rtol=0)  # two steps of variance 1
    cvar = planner(noisy, risk="cvar", risk_share=0.05, **options).plan(torch.zeros(1, 1)).costs
    assert (cvar > 8.0).all()  # the mean beyond the 95 % quantile of 2 chi^2 is 11


def test_a_plan_that_avoids_risk_stays_away_from_the_edge():
    """Right is cheaper, but beyond 1 costs 0.9, and the wind has a standard deviation of 0.3.

    At the bound of 1 half of the rollouts are beyond: -1 + 0.45 on average is less than anywhere else, and -0.1 at worst is
    more than at 0.3, where hardly any is.
    """

    def plan(**options):
        torch.manual_seed(0)
        model = FunctionModel(
            lambda x, u: u + 0.3 * torch.randn_like(x),
            lambda x, u: -u[..., 0],
            lambda x: 0.9 * (x[..., 0] > 1.0).to(x.dtype),
        )
        options = {
            "horizon": 1,
            "num_samples": 256,
            "num_iterations": 8,
            "init_std": 0.3,
            "temperature": 0.02,
            **options,
        }
        return planner(model, num_rollouts=64, **options).plan(torch.zeros(1, 1)).mean.item()

    mean, cvar, worst = plan(), plan(risk="cvar", risk_share=0.05), plan(risk="worst")
    assert mean > 0.8
    assert 0.2 < worst < 0.6, "a lucky sample may go further than 0.3"
    assert 0.2 < cvar < 0.7


def test_parameters_discounts_margins_and_candidates_follow_their_environment():
    class Task:
        def step(self, state, action):
            return state + action

        def running(self, state, action, next_state, parameters):
            return (next_state - parameters).square().sum(-1)

        def terminal(self, state, parameters):
            return torch.zeros_like(state[..., 0])

        def margins(self, state, action, next_state):
            return 1.0 - next_state

    options = {"num_samples": 16, "hard": True, "num_iterations": 2}
    given = {
        "parameters": torch.randn(3, 2, 1),
        "discount": torch.tensor([1.0, 0.9, 0.5]),
        "noise": torch.randn(2, 3, 2, 16, 3, 1),
    }
    state = torch.randn(3, 1)
    one = planner(Task(), **options).plan(state, **given)
    many = planner(Task(), num_rollouts=2, **options).plan(state, **given)
    for name in ("mean", "costs", "margin"):
        torch.testing.assert_close(getattr(many, name), getattr(one, name))
    apart = torch.stack([state, state + 0.5], 1)
    both = planner(Task(), num_rollouts=2, **options).plan(apart, **given)
    torch.testing.assert_close(both.states[:, 0, 0, 0], state)
    further = both.states[..., 1:, 0].amax(-1) + 0.5
    torch.testing.assert_close(both.margin, 1.0 - further)


def test_one_rollout_that_fails_drops_the_sample():
    broken = FunctionModel(lambda x, u: x + u, lambda x, u: torch.where((x + u)[..., 0] > 1.5, torch.nan, x[..., 0]))
    states = torch.tensor([[[0.0], [1.2]]])
    for risk in RISKS:
        plan = planner(broken, num_rollouts=2, risk=risk, drop_nonfinite=True).plan(states)
        assert plan.costs.isinf().any()
        assert (plan.weights[plan.costs.isinf()] == 0).all()
        assert plan.mean.isfinite().all()
    with pytest.raises(NonFiniteError, match="environment 1, candidate 0"):
        planner(broken, num_rollouts=2).plan(states)


def test_a_plan_whose_samples_all_have_a_rollout_that_fails_is_refused():
    """One rollout survives to the left, the other to the right: no sample survives in both."""
    split = FunctionModel(
        lambda x, u: torch.cat([x[..., :1], u], -1),
        lambda x, u: torch.where(u[..., 0] * x[..., 0] > 0, 1.0, torch.nan),
    )
    states = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [-1.0, 0.0]]])
    noise = torch.randn(1, 2, 1, 16, 1, 1)
    options = {"horizon": 1, "num_rollouts": 2, "drop_nonfinite": True, "include_mean": False, "num_zero_mean": 0}
    assert planner(split, **options).plan(states[:1], noise=noise[:, :1]).mean.isfinite().all()
    with pytest.raises(NonFiniteError, match="environment 1, candidate 0: every sample has a rollout that fails"):
        planner(split, **options).plan(states, noise=noise)


def test_contradictions_are_refused():
    with pytest.raises(UserError, match=r"planner.risk=worst compares the rollouts .* raise planner.num_rollouts"):
        planner(risk="worst")
    with pytest.raises(
        UserError, match=r"state has the shape \[2, 3, 1\]; it must be \[batch, state\] or \[batch, 4, state\]"
    ):
        planner(num_rollouts=4).plan(torch.zeros(2, 3, 1))
    with pytest.raises(UserError, match=r"state has the shape \[2, 3, 1\]; it must be \[batch, state\]"):
        planner().plan(torch.zeros(2, 3, 1))
