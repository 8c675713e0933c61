"""Plans through an ensemble of dynamics: which cost they have, its limits, and that options go with it."""

import pytest
import torch

from pompc.errors import NonFiniteError
from pompc.networks.ensembles import log_mean_exp
from pompc.planner import MPPI, MPPIConfig
from pompc.planner.ensemble import EnsembleMPPI

SAMPLES, HORIZON = 16, 3


class Drift:
    """A point on a line that drifts; beyond ``end`` the episode ends, and beyond ``fails`` the cost is no number."""

    def __init__(self, drift, end=torch.inf, fails=torch.inf):
        self.drift, self.end, self.fails = drift, end, fails

    def step(self, state, action):
        return state + action + self.drift

    def running(self, state, action, next_state, parameters):
        return torch.where(next_state[..., 0] > self.fails, torch.nan, (next_state[..., 0] - 1.0).square())

    def terminal(self, state, parameters):
        return state[..., 0].abs()

    def terminated(self, state, action, next_state):
        return next_state[..., 0] > self.end

    def margins(self, state, action, next_state):
        return 0.8 - next_state


def config(**options):
    return MPPIConfig(**{"horizon": HORIZON, "num_samples": SAMPLES, "temperature": 0.5, "init_std": 0.3, **options})


def ensemble(members, join=lambda returns: returns.mean(0), **options):
    return EnsembleMPPI(config(**options), members[0], members[0], 1, members=members, join=join)


def planned(planner, **options):
    torch.manual_seed(2)
    return planner.plan(torch.tensor([[0.0], [0.3]]), terminal_value=lambda x: -x[..., 0].square(), **options)


def of_members(members, plan, **options):
    """Charge the samples of a plan by a planner on each member: returns ``[member, batch, candidate, sample]``."""
    scorers = [MPPI(config(**options), member, member, 1).scorer for member in members]
    costs = []
    for scorer in scorers:
        states = scorer.rollout(torch.tensor([[0.0], [0.3]]), plan.actions)
        charges = scorer.evaluate(states, plan.actions, terminal_value=lambda x: -x[..., 0].square())
        costs.append(charges.sum(-1))
    return -torch.stack(costs)


@pytest.mark.parametrize("options", [{}, {"depth_decay": 1.0}, {"num_rollouts": 2, "risk": "cvar"}])
def test_a_sample_costs_the_mean_over_the_members_each_with_its_own_ends(options):
    members = [Drift(-0.2), Drift(0.0, end=0.5), Drift(0.3, end=0.7)]
    plan = planned(ensemble(members, **options))
    alone = {name: value for name, value in options.items() if name == "depth_decay"}
    torch.testing.assert_close(plan.costs, -of_members(members, plan, **alone).mean(0))


@pytest.mark.parametrize("kappa", [-2.0, 2.0])
def test_the_join_may_be_cautious_or_bold(kappa):
    members = [Drift(-0.2), Drift(0.3)]
    plan = planned(ensemble(members, join=lambda returns: log_mean_exp(returns, kappa)))
    torch.testing.assert_close(plan.costs, -log_mean_exp(of_members(members, plan), kappa))


def test_one_member_is_the_planner_alone_bit_for_bit():
    expected = planned(MPPI(config(num_iterations=3, adapt_std=True), Drift(0.1), Drift(0.1), 1))
    found = planned(ensemble([Drift(0.1)], num_iterations=3, adapt_std=True))
    for name in ("mean", "std", "costs", "weights", "soft_value", "states"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def test_equal_members_are_one():
    expected, found = planned(ensemble([Drift(0.1)])), planned(ensemble([Drift(0.1)] * 3))
    torch.testing.assert_close(found.costs, expected.costs)


def test_states_are_those_of_the_first_member_and_all_steps_count():
    planner = ensemble([Drift(-0.2), Drift(0.3)])
    plan = planned(planner)
    first = MPPI(config(), Drift(-0.2), Drift(-0.2), 1)
    assert torch.equal(plan.states, first.rollout(plan.states[:, 0, 0, 0], plan.actions))
    assert planner.model_steps == 2 * 2 * SAMPLES * HORIZON
    assert planned(planner, states=False).states is None


def test_the_least_margin_of_the_members_decides():
    plan = planned(ensemble([Drift(-0.2), Drift(0.3)], hard=True))
    worst = [0.8 - (plan.states[..., t, 0] + 0.5 * t) for t in range(1, HORIZON + 1)]  # the other drifts 0.5 further
    torch.testing.assert_close(plan.margin, torch.stack(worst).amin(0))
    assert (plan.weights[plan.margin < 0] == 0).all()
    assert (plan.margin < 0).any()


def test_a_sample_that_fails_in_one_member_is_dropped():
    members = [Drift(-0.2, fails=0.5), Drift(0.0)]
    plan = planned(ensemble(members, drop_nonfinite=True))
    returns = of_members(members, plan)
    assert torch.equal(plan.costs.isinf(), returns.isnan().any(0))
    assert plan.costs.isinf().any()
    assert plan.mean.isfinite().all()
    with pytest.raises(NonFiniteError, match="planner cost"):
        planned(ensemble(members))


def test_a_plan_of_which_every_sample_fails_in_a_member_is_refused():
    """One member fails to the right, the other to the left: each keeps a sample, no sample is left."""

    class Left(Drift):
        def running(self, state, action, next_state, parameters):
            return torch.where(next_state[..., 0] < 0.0, torch.nan, 1.0)

    planner = ensemble([Drift(0.0, fails=0.0), Left(0.0)], drop_nonfinite=True, horizon=1)
    noise, mean = torch.tensor([-1.0, 1.0] * 8).view(1, 1, 1, SAMPLES, 1, 1), torch.full((1, 1, 1), 1e-4)
    with pytest.raises(NonFiniteError, match="every sample has a member of the ensemble that fails"):
        planner.plan(torch.zeros(1, 1), noise=noise, mean=mean)
