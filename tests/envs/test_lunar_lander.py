"""The Lunar Lander: zones, success, and how close the lumped model is to Box2D."""

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from pompc.envs.lunar_lander import LunarLander, LunarLanderConfig
from pompc.errors import UserError
from pompc.models.protocols import TaskModel

UNITS = ["x", "y", "vx", "vy", "angle", "spin"]


class Noiseless:
    """Stands in for the simulator's random generator: engines without dispersion."""

    def uniform(self, low, high):
        return 0.0


def open_loop_error(noise: bool, episodes: int = 40, frames: int = 20, **options) -> np.ndarray:
    """RMSE of the model after 20 frames of random actions in the air, legs extended, in observation units ``[6]``."""
    family = LunarLander(LunarLanderConfig(zones=(), **options))
    model, repeat = family.task_model(), family.action_repeat
    random, errors = np.random.default_rng(0), []
    for episode in range(episodes):
        env = family.make().unwrapped
        env.reset(seed=episode)
        if not noise:
            env.simulator.np_random = Noiseless()
        for _ in range(20 // repeat):
            observation, *_ = env.step(np.zeros(2, np.float32))
        state = model.state(torch.from_numpy(observation))
        for _ in range(frames // repeat):
            action = random.uniform(-1, 1, 2).astype(np.float32)
            observation, _, ended, _, _ = env.step(action)
            assert not ended
            state = model.step(state, torch.from_numpy(action))
        errors.append((model.state(torch.from_numpy(observation)) - state).numpy()[:6])
    return np.sqrt(np.mean(np.square(errors), axis=0))


@pytest.mark.parametrize("repeat", [1, 5])
def test_model_is_exact_in_the_air_without_engine_noise(repeat):
    limits = [0.0002, 0.0005, 0.0008, 0.0015, 0.0005, 0.0006]
    error = open_loop_error(noise=False, action_repeat=repeat)
    assert (error < limits).all(), dict(zip(UNITS, error, strict=True))


def test_engine_noise_leaves_a_small_error():
    error = open_loop_error(noise=True)
    limits = [0.005, 0.013, 0.045, 0.057, 0.018, 0.03]
    assert (error < limits).all(), dict(zip(UNITS, error, strict=True))


@pytest.mark.parametrize(("options", "unit"), [({"mismatch": 0.3}, 3), ({"torque_coupling": False}, 5)])
def test_mismatch_dials_make_the_model_worse(options, unit):
    assert open_loop_error(noise=False, **options)[unit] > 5 * open_loop_error(noise=False)[unit]


def test_wind_is_only_in_the_environment():
    plain, windy = (LunarLander(LunarLanderConfig(wind=wind)) for wind in (0.0, 15.0))
    state, action = torch.tensor([0.1, 1.0, 0, 0, 0, 0, 0, 0]), torch.tensor([0.5, -0.8])
    torch.testing.assert_close(plain.task_model().step(state, action), windy.task_model().step(state, action))
    speeds = []
    for family in (plain, windy):
        env = family.make()
        env.reset(seed=0)
        speeds.append([env.step(np.zeros(2, np.float32))[0][2] for _ in range(5)][-1])
    assert speeds[0] != speeds[1]


def test_reward_model_is_gymnasiums_in_the_air():
    family = LunarLander(LunarLanderConfig(zones=()))
    model, env = family.task_model(), family.make().unwrapped
    random = np.random.default_rng(1)
    for episode in range(10):
        before, _ = env.reset(seed=episode)
        for _ in range(5):
            action = random.uniform(-1, 1, 2).astype(np.float32)
            after, reward, *_ = env.step(action)
            predicted = model.reward(*(torch.from_numpy(x) for x in (before, action, after)))
            assert predicted.item() == pytest.approx(reward, abs=2e-4)
            before = after


def drop(model, vy: float, angle: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """State, reward and end after the step in which a lander just above the pad reaches it with the engines off."""
    state = torch.tensor([0.0, 0.005, 0.0, vy, angle, 0.0, 0.0, 0.0])
    after = model.step(state, torch.zeros(2))
    return after, model.reward(state, torch.zeros(2), after), model.terminated(state, torch.zeros(2), after)


def test_touching_the_ground_is_landing_or_crashing():
    model = LunarLander(LunarLanderConfig(zones=())).task_model()
    landed, _, ended = drop(model, vy=-0.15)
    assert landed.tolist() == pytest.approx([0, 0, 0, 0, 0, 0, 1, 1], abs=1e-6)
    assert not ended
    asleep = model.step(landed, torch.zeros(2))
    assert model.terminated(landed, torch.zeros(2), asleep)
    assert model.reward(landed, torch.zeros(2), asleep) == 100
    for vy, angle in ((-0.5, 0.0), (-0.15, 0.5)):
        _, reward, ended = drop(model, vy=vy, angle=angle)
        assert ended
        assert reward == -100
    start = model.step(landed, torch.tensor([1.0, 0.0]))
    assert start[1] > 0
    assert start[3] > 0
    assert start[6] == 0


def test_zones_end_the_episode_in_environment_and_model():
    family = LunarLander(LunarLanderConfig(zones=((0.0, 1.2, 0.2), (0.6, 0.2, 0.1))))
    env, model = family.make(), family.task_model()
    observation, _ = env.reset(seed=0)
    np.testing.assert_allclose(observation[8:], np.array([0.0, 1.2, 0.6, 0.2]) - np.tile(observation[:2], 2), atol=1e-6)
    action, ended = np.zeros(2, np.float32), False
    while not ended:
        before = torch.from_numpy(observation)
        observation, reward, ended, _, info = env.step(action)
        transition = model.state(before), torch.from_numpy(action), model.state(torch.from_numpy(observation))
        assert bool(model.terminated(*transition)) is ended
    assert info == {"success": 0.0, "cost": 1.0}
    assert reward < -90  # the penalty, after the shaping of the frames before
    assert model.reward(*transition) == -100
    parameters = model.parameters(model.nominal)
    assert model.running(*transition, parameters) > model.END_COST


def test_coming_to_rest_on_the_pad_is_success():
    env = LunarLander(LunarLanderConfig(zones=())).make()
    model = LunarLander(LunarLanderConfig(zones=())).task_model()
    observation, info = env.reset(seed=3)
    ended = False
    while not ended:  # gymnasium's own hand-written pilot, for continuous actions
        x, y, vx, vy, angle, spin, *legs = observation[:8]
        hover = 0.55 * abs(x)
        turn = 0.5 * (angle - np.clip(0.5 * x + vx, -0.4, 0.4)) + spin
        lift = 0.5 * (hover - y) - 0.5 * vy
        turn, lift = (0.0, -0.5 * vy) if any(legs) else (turn, lift)
        previous, action = observation, np.clip([20 * lift - 1, 20 * turn], -1, 1).astype(np.float32)
        observation, reward, ended, truncated, info = env.step(action)
        assert not truncated
    assert info == {"success": 1.0, "cost": 0.0}
    assert reward > 95
    rest = model.state(torch.from_numpy(observation))
    assert model.terminated(rest, torch.zeros(2), rest)
    assert model.reward(model.state(torch.from_numpy(previous)), torch.from_numpy(action), rest) == 100


def test_model_contract_and_batching():
    model = LunarLander(LunarLanderConfig()).task_model()
    assert isinstance(model, TaskModel)
    generator = torch.Generator().manual_seed(0)
    states = torch.rand(2, 3, 4, 8, generator=generator) * 2 - 1
    actions = torch.rand(2, 3, 4, 2, generator=generator) * 2 - 1
    assert torch.equal(model.state(model.observe(states)), states)
    assert model.observe(states).shape == (2, 3, 4, 14)
    after = model.step(states, actions)
    torch.testing.assert_close(after[1, 2, 3], model.step(states[1, 2, 3], actions[1, 2, 3]))
    parameters = model.parameters(torch.rand(2, 3, 1, 4, generator=generator) * 4 - 2)
    assert (parameters[..., 0].abs() <= 0.8 + 1e-6).all()
    assert (parameters[..., 3] >= 0.3 - 1e-6).all()
    costs = model.running(states, actions, after, parameters)
    assert costs.shape == model.terminal(after, parameters).shape == model.reward(states, actions, after).shape
    assert (costs >= 0).all()


def test_gymnasium_accepts_it_and_it_renders():
    env = LunarLander(LunarLanderConfig(time_limit=10)).make(render_mode="rgb_array")
    check_env(env.unwrapped, skip_render_check=True)
    env.reset(seed=0)
    assert env.render().shape == (400, 600, 3)
    ends = [env.step(np.zeros(2, np.float32))[3] for _ in range(2)]
    assert ends == [False, True]


@pytest.mark.parametrize("options", [{"zones": ((0.0, 1.0),)}, {"mismatch": -1.0}, {"action_repeat": 0}])
def test_bad_options_are_named(options):
    with pytest.raises(UserError, match=next(iter(options))):
        LunarLander(LunarLanderConfig(**options))
