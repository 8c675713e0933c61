"""The explicit model of a task has the methods of a learned model."""

import pytest
import torch

from pompc.models import KnownModel, Model, TaskModel
from pompc.registry import ENVIRONMENTS


@pytest.fixture(params=["acrobot", "lunar_lander", "linear_system", "carla_racing"])
def visited(request):
    """Return a task's model and observations of its environment ``[time, observation]``."""
    family = ENVIRONMENTS.resolve(request.param)
    family = family(family.Config())
    torch.manual_seed(0)
    env = family.vectorise(2, seed=1, device="cpu")
    return family.task_model("cpu"), env.rollout(6)["observation"].flatten(0, 1)


def test_a_transition_is_the_tasks_step_reward_and_termination(visited):
    task, observation = visited
    model, action = KnownModel(task), torch.rand(len(observation), task.action_dim) * 2 - 1
    assert isinstance(model, Model)
    assert isinstance(task, TaskModel)
    state = model.encode(observation)
    assert torch.equal(state, task.state(observation))
    then, reward, ended = model.transition(state, action)
    assert torch.equal(then, task.step(state, action))
    assert torch.equal(reward, task.reward(state, action, then))
    assert torch.equal(ended, task.terminated(state, action, then))
    assert reward.shape == ended.shape == observation.shape[:-1]
    assert ended.dtype == torch.bool


def test_networks_see_observations(visited):
    task, observation = visited
    model = KnownModel(task)
    seen = model.inputs(model.encode(observation))
    assert seen.shape == (len(observation), model.input_dim)
    torch.testing.assert_close(seen, observation, rtol=1e-3, atol=1e-3)


def test_nothing_is_learned(visited):
    model = KnownModel(visited[0])
    assert list(model.parameters()) == []
    assert model.state_dict() == {}
