"""The Acrobot: gymnasium's dynamics, an exact model, its goals and its danger disc."""

import math

import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control import AcrobotEnv as Reference
from gymnasium.utils.env_checker import check_env

from pompc.envs import acrobot
from pompc.envs.acrobot import Acrobot, AcrobotConfig
from pompc.errors import UserError
from pompc.models.protocols import TaskModel

UPRIGHT = (math.pi, 0.0, 0.0, 0.0)


def random_states(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([math.pi, math.pi, 6.0, 10.0, 0.0], dtype=torch.float64)
    return (2 * torch.rand(n, 5, generator=generator, dtype=torch.float64) - 1) * scale


@pytest.mark.parametrize("action", [0, 1, 2])
def test_dynamics_are_gymnasiums(action):
    reference, env = Reference(), Acrobot(AcrobotConfig()).make().unwrapped
    reference.reset(seed=0)
    env.reset(seed=0)
    for state in random_states(50)[:, :4].numpy():
        reference.state, env.state = state.copy(), tuple(state)
        observation, reward, terminated, _, _ = reference.step(action)
        ours, our_reward, our_end, _, _ = env.step(np.array([action - 1], np.float32))
        scale = np.array([1, 1, 1, 1, *acrobot.MAX_SPEED])
        np.testing.assert_allclose(ours[:6] * scale, observation, atol=1e-5)  # float32 observations
        turns = np.array(env.state) - reference.state
        np.testing.assert_allclose((turns + math.pi) % (2 * math.pi) - math.pi, 0, atol=1e-9)
        assert (our_reward, our_end) == (reward, terminated)


@pytest.mark.parametrize("goal", ["line", "hold"])
def test_model_is_the_environment(goal):
    family = Acrobot(AcrobotConfig(goal=goal, danger=(1.2, 0.5, 0.4)))
    env, model = family.make().unwrapped, family.task_model()
    env.reset(seed=0)
    seen = set()
    starts = [*random_states(150, seed=1).numpy(), *(np.array([*UPRIGHT, k]) for k in range(10))]
    for start in starts:
        env.state, env.held = tuple(start[:4]), int(start[4])
        state = model.state(torch.from_numpy(env._observation()))
        action = torch.rand(1) * 2 - 1
        observation, reward, terminated, _, info = env.step(action.numpy())
        after = model.step(state, action)
        torch.testing.assert_close(model.observe(after), torch.from_numpy(observation), atol=2e-5, rtol=0)
        assert model.reward(state, action, after).item() == reward
        assert bool(model.terminated(state, action, after)) is terminated
        seen.add((terminated, info["success"], info["cost"]))
    assert seen == {(False, 0.0, 0.0), (True, 1.0, 0.0), (True, 0.0, 1.0)}


def test_observation_round_trip_and_batching():
    model = Acrobot(AcrobotConfig(goal="hold")).task_model()
    assert isinstance(model, TaskModel)
    states = random_states(24).float()
    states[:, 4] = torch.arange(24) % 10
    torch.testing.assert_close(model.state(model.observe(states)), states, atol=1e-5, rtol=1e-5)
    actions = torch.rand(2, 3, 4, 1) * 2 - 1
    batch = states.view(2, 3, 4, 5)
    after = model.step(batch, actions)
    torch.testing.assert_close(after.view(24, 5), model.step(states, actions.view(24, 1)))
    parameters = model.parameters(torch.rand(2, 3, 1, 3) * 2 - 1)
    assert model.running(batch, actions, after, parameters).shape == (2, 3, 4)
    assert model.terminal(after, parameters).shape == model.reward(batch, actions, after).shape == (2, 3, 4)


def test_energy_is_conserved_without_torque():
    states = random_states(32)[:, :4].unbind(-1)
    after = states
    for _ in range(200):
        after = acrobot.swing(after, torch.zeros(32, dtype=torch.float64), torch, dt=1e-3)
    torch.testing.assert_close(acrobot.energy(after, torch), acrobot.energy(states, torch), atol=1e-7, rtol=0)
    assert acrobot.energy(UPRIGHT, np) == pytest.approx(acrobot.UPRIGHT_ENERGY)


def test_upright_is_the_nominal_optimum():
    model = Acrobot(AcrobotConfig()).task_model()
    parameters = model.parameters(model.nominal)
    upright = torch.tensor([*UPRIGHT, 0.0])
    assert model.terminal(upright, parameters) == pytest.approx(0.0, abs=1e-5)
    assert (model.terminal(random_states(100).float(), parameters) > 0).all()
    state = torch.zeros(5)
    rest = model.running(state, torch.zeros(1), state, parameters)
    lighter = model.running(state, torch.zeros(1), state, model.parameters(torch.tensor([0.0, 0.0, -1.0])))
    assert rest > lighter > 0


def test_gymnasium_accepts_it_and_it_renders():
    env = Acrobot(AcrobotConfig(danger=(1.2, 0.5, 0.4), time_limit=3)).make(render_mode="rgb_array")
    check_env(env.unwrapped, skip_render_check=True)
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (320, 320, 3)
    assert picture.dtype == np.uint8
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]


@pytest.mark.parametrize("options", [{"goal": "top"}, {"danger": (0.0, 1.0)}, {"danger": (0.0, 1.0, -0.1)}])
def test_bad_options_are_named(options):
    with pytest.raises(UserError, match=next(iter(options))):
        Acrobot(AcrobotConfig(**options))
