"""The Control Suite family: names, action repeat, episodes as functions of the seed."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from pompc.envs.dm_control import DMControl, DMControlConfig
from pompc.errors import UserError


def make(task: str, **options):
    return DMControl(DMControlConfig(task=task, **options)).make()


def test_rewards_and_observations_are_the_suites():
    env = make("walker-walk", action_repeat=3)
    from dm_control import suite  # after `make`, which chooses the rendering back-end

    reference = suite.load("walker", "walk", {"random": 5})
    observation, _ = env.reset(seed=5)
    step = reference.reset()
    actions = np.random.default_rng(0).uniform(-1, 1, (10, 6)).astype(np.float32)
    for action in actions:
        flat = np.concatenate([np.ravel(entry) for entry in step.observation.values()])
        np.testing.assert_allclose(observation, flat, rtol=1e-6)
        observation, reward, *_ = env.step(action)
        steps = [reference.step(action) for _ in range(3)]
        step = steps[-1]
        assert reward == pytest.approx(sum(s.reward for s in steps))
    assert observation.dtype == np.float32
    assert observation.shape == (24,)  # orientations, the scalar height, velocities


@pytest.mark.parametrize("task", ["cartpole-swingup", "cup-catch", "pointmass-hard", "humanoid-stand"])
def test_an_episode_is_a_function_of_its_seed(task):
    env = make(task)

    def episode(seed):
        start, _ = env.reset(seed=seed)
        actions = np.random.default_rng(0).uniform(-1, 1, (5, *env.action_space.shape)).astype(np.float32)
        return np.stack([start, *(env.step(action)[0] for action in actions)])

    first = episode(1)
    assert not np.array_equal(episode(2), first)
    assert np.array_equal(episode(1), first)


def test_episodes_are_truncated_after_1000_frames():
    env = make("cartpole-balance")
    assert DMControl(DMControlConfig()).action_repeat == 2
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(500)]
    assert ends == [(False, False)] * 499 + [(False, True)]


def test_names():
    assert make("cup-catch").observation_space == make("ball_in_cup-catch").observation_space
    assert make("pointmass-easy").observation_space == make("point_mass-easy").observation_space
    assert make("finger-turn-easy").observation_space == make("finger-turn_easy").observation_space
    with pytest.raises(UserError, match=r"cartpole-swingpu: take one of cartpole-swingup"):
        make("cartpole-swingpu")
    with pytest.raises(UserError, match=r"no task cartpole"):
        make("cartpole")
    with pytest.raises(UserError, match="unbounded"):
        make("lqr-lqr_2_1")
    with pytest.raises(UserError, match="action_repeat=0"):
        DMControl(DMControlConfig(action_repeat=0))


def test_gymnasium_accepts_it():
    check_env(make("reacher-easy").unwrapped, skip_render_check=True)


def test_rendering():
    try:
        env = DMControl(DMControlConfig()).make(render_mode="rgb_array")
    except UserError as error:
        pytest.skip(str(error))
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (384, 384, 3)
    assert picture.std() > 10


def test_rendering_without_a_back_end_names_the_fix(monkeypatch):
    import dm_control.mujoco.engine as engine

    def broken(*args, **kwargs):
        raise RuntimeError("no back-end")

    monkeypatch.setattr(engine.Physics, "render", broken)
    with pytest.raises(UserError, match="MUJOCO_GL"):
        DMControl(DMControlConfig()).make(render_mode="rgb_array")
