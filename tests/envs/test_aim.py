"""``aim`` inverts the cost parameters of the task models."""

import pytest
import torch

from pompc.envs.acrobot import Acrobot, AcrobotConfig
from pompc.envs.carla_racing import CarlaRacing, CarlaRacingConfig
from pompc.envs.heating import Heating, HeatingConfig
from pompc.envs.linear import Linear, LinearConfig
from pompc.envs.lunar_lander import LunarLander, LunarLanderConfig
from pompc.models.protocols import Aiming

FAMILIES = {
    "acrobot": Acrobot(AcrobotConfig()),
    "carla_racing": CarlaRacing(CarlaRacingConfig(num_opponents=1)),
    "lunar_lander": LunarLander(LunarLanderConfig()),
    "linear_system": Linear(LinearConfig()),
    "heating": Heating(HeatingConfig()),
}


@pytest.fixture(params=FAMILIES)
def model(request):
    return FAMILIES[request.param].task_model()


def states(model, *shape):
    return 0.4 * torch.rand(*shape, model.state_dim) + 0.2


def test_every_task_aims_within_its_box_at_any_batch_shape(model):
    assert isinstance(model, Aiming)
    state = 20 * torch.randn(3, 5, model.state_dim)
    aimed = model.aim(state)
    assert aimed.shape == (3, 5, model.parameter_dim)
    assert aimed.abs().max() <= 1
    torch.testing.assert_close(model.aim(state[1, 2]), aimed[1, 2])


def test_entries_that_are_no_targets_are_nominal(model):
    aimed = model.aim(states(model, 50))
    fixed = (aimed == model.nominal).all(0)
    assert fixed.any()
    assert not fixed.all()


def test_racing_aims_at_offset_and_speed():
    model = FAMILIES["carla_racing"].task_model()
    state = states(model, 50)
    state[:, 1], state[:, 3] = 8 * torch.rand(50) - 4, 30 * torch.rand(50) + 4
    targets = model.parameters(model.aim(state))
    torch.testing.assert_close(targets[:, :2], state[:, [1, 3]])


def test_the_lander_aims_at_its_place():
    model = FAMILIES["lunar_lander"].task_model()
    state = states(model, 50)
    torch.testing.assert_close(model.parameters(model.aim(state))[:, :2], state[:, :2])
    assert model.aim(torch.full((8,), 9.0))[:2].tolist() == [1, 1], "a place out of the box is the nearest in it"


def test_the_acrobot_aims_at_its_pose_from_all_sides():
    model = FAMILIES["acrobot"].task_model()
    state = torch.zeros(50, 5)
    state[:, :2] = (2 * torch.rand(50, 2) - 1) * torch.pi
    target = model.parameters(model.aim(state))[:, :2]
    torch.testing.assert_close(target.cos(), state[:, :2].cos(), atol=1e-5, rtol=0)
    torch.testing.assert_close(target.sin(), state[:, :2].sin(), atol=1e-5, rtol=0)


def test_the_linear_system_aims_by_the_least_stage_cost():
    model = FAMILIES["linear_system"].task_model()
    state = states(model, 50)
    phi = model.parameters(model.aim(state))
    moved = state.clone().requires_grad_()
    cost = model.running(moved, torch.zeros(50, 1), moved, phi).sum()
    torch.testing.assert_close(torch.autograd.grad(cost, moved)[0], torch.zeros(50, 2), atol=1e-6, rtol=0)
