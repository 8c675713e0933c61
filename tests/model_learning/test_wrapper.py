"""An explicit model around another one is, for a planner, that model."""

import dataclasses

import pytest
import torch
from line import LineModel

from pompc.model_learning.wrapper import TaskWrapper
from pompc.models.protocols import Constrained, Judge, Periodic, Safe, TaskModel
from pompc.planner import MPPI, MPPIConfig
from pompc.registry import ENVIRONMENTS

NAMES = ["acrobot", "lunar_lander", "linear_system", "carla_racing"]


def task_of(name, **options):
    family = ENVIRONMENTS.resolve(name)
    return family(family.Config(**options)).task_model("cpu")


def observations(name, **options):
    """Observations of random play ``[step, observation]``."""
    family = ENVIRONMENTS.resolve(name)
    torch.manual_seed(0)
    env = family(family.Config(**options)).vectorise(3, seed=1, device="cpu")
    return env.rollout(8)["observation"].flatten(0, 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_wrapper_has_the_protocols_of_its_task(name):
    task = task_of(name)
    wrapped = TaskWrapper(task)
    assert isinstance(wrapped, TaskModel)
    for protocol in (Judge, Constrained, Safe):
        assert isinstance(wrapped, protocol) == isinstance(task, protocol), protocol.__name__


def test_a_task_without_margins_is_wrapped_without():
    assert not isinstance(TaskWrapper(LineModel()), Constrained)


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_on_a_wrapper_is_that_on_its_task(name):
    task = task_of(name)
    config = MPPIConfig(horizon=5, num_samples=16)
    state = task.state(observations(name)[:4])
    parameters = task.parameters(task.nominal).expand(len(state), 1, -1)
    noise = torch.randn(1, len(state), 1, 16, 5, task.action_dim)
    plans = [MPPI(config, m, m, task.action_dim).plan(state, parameters=parameters, noise=noise, margins=True)
             for m in (task, TaskWrapper(task))]  # fmt: skip
    for field in dataclasses.fields(plans[0]):
        left, right = (getattr(plan, field.name) for plan in plans)
        if isinstance(left, torch.Tensor):
            assert torch.equal(left, right), field.name


# -- differences by the shorter way round -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_state_differs_from_itself_by_nothing(name):
    task = task_of(name)
    state = task.state(observations(name))
    assert torch.equal(TaskWrapper(task).difference(state, state), torch.zeros_like(state))


def test_the_difference_of_angles_is_less_than_half_a_turn():
    task = task_of("acrobot")
    assert isinstance(task, Periodic)
    near, beyond = torch.tensor([[3.1, 3.1, 1.0, 2.0, 3.0]]), torch.tensor([[-3.1, 3.0, 1.5, 1.0, 0.0]])
    expected = torch.tensor([[6.2 - 2 * torch.pi, 0.1, -0.5, 1.0, 3.0]])
    torch.testing.assert_close(task.difference(near, beyond), expected)


def test_the_difference_of_places_on_a_track_crosses_the_line():
    task = task_of("carla_racing", num_opponents=1)
    assert isinstance(task, Periodic)
    length = task.road.length
    before, after = torch.zeros(1, task.state_dim), torch.zeros(1, task.state_dim)
    before[0, [0, 3, 8]] = torch.tensor([length - 1.0, 5.0, 2.0])
    after[0, [0, 3, 8]] = torch.tensor([2.0, 6.0, length - 3.0])
    expected = torch.zeros(1, task.state_dim)
    expected[0, [0, 3, 8]] = torch.tensor([3.0, 1.0, -5.0])
    torch.testing.assert_close(task.difference(after, before), expected, atol=1e-3, rtol=0.0)
    over = torch.zeros(1, task.state_dim)
    over[0, [0, 8]] = length  # a model may run past a full lap
    torch.testing.assert_close(task.difference(after + over, before), expected, atol=1e-3, rtol=0.0)
