"""The rollouts of a plan that become virtual data."""

import pytest
import torch
from line import LineModel

from pompc.onpolicy.candidates_config import OF_ONE_CANDIDATE
from pompc.onpolicy.virtual_sources import VIRTUAL_SOURCES, others
from pompc.planner import MPPI, MPPIConfig


class Line(LineModel):
    """Moves by the action."""

    def step(self, state, action):
        return state + action


@pytest.fixture
def planned():
    planner = MPPI(MPPIConfig(horizon=4, num_samples=16), Line(), Line(), 1)
    plan = planner.plan(torch.randn(3, 1), parameters=torch.randn(3, 5, 1))
    return planner, plan, torch.tensor([0, 4, 2])


@pytest.mark.parametrize(
    ("name", "count"),
    [("all", 4 * 16), ("others_plus_rest", 5 * 16 - 1), ("weighted", 4 * 3), ("nominal", 4), ("executed", 3)],
)
def test_sources_give_the_rollouts_they_name(planned, name, count):
    planner, plan, chosen = planned
    states, actions = VIRTUAL_SOURCES[name](plan, chosen, planner, 3)
    assert states.shape == (3, count, 5, 1)
    assert actions.shape == (3, count, 4, 1)
    torch.testing.assert_close(states[:, :, 1:] - states[:, :, :-1], actions)  # they are rollouts of the model
    torch.testing.assert_close(states[:, :, 0], plan.states[:, 0, :1, 0].expand(-1, count, -1))


def test_the_executed_candidate_is_left_out(planned):
    _, plan, chosen = planned
    envs, candidates = others(plan, chosen)
    assert envs.flatten().tolist() == [0, 1, 2]
    for env in range(3):
        assert candidates[env].tolist() == [c for c in range(5) if c != chosen[env]]


def test_executed_rollouts_are_drawn_by_weight_from_the_executed_candidate_alone(planned):
    planner, plan, chosen = planned
    states, actions = VIRTUAL_SOURCES["executed"](plan, chosen, planner, 4000)
    envs = torch.arange(3)
    torch.testing.assert_close(actions.mean(1), plan.mean[envs, chosen], atol=5e-3, rtol=0)
    for env in range(3):
        own = plan.states[env, chosen[env]]
        assert (states[env].unsqueeze(1) == own).flatten(2).all(-1).any(1).all()


def test_one_candidate_is_enough_for_the_sources_that_say_so():
    planner = MPPI(MPPIConfig(horizon=4, num_samples=16), Line(), Line(), 1)
    plan, chosen = planner.plan(torch.randn(3, 1), parameters=torch.randn(3, 1, 1)), torch.zeros(3, dtype=torch.long)
    for name in OF_ONE_CANDIDATE:
        assert VIRTUAL_SOURCES[name](plan, chosen, planner, 2)[0].shape[1] > 0


def test_weighted_rollouts_are_drawn_by_the_planners_weights(planned):
    planner, plan, chosen = planned
    _, actions = VIRTUAL_SOURCES["weighted"](plan, chosen, planner, 4000)
    mean = actions.view(3, 4, 4000, 4, 1).mean(2)
    torch.testing.assert_close(mean, plan.mean[others(plan, chosen)], atol=5e-3, rtol=0)
