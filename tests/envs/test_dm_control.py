"""The Control Suite family: names, action repeat, episodes as functions of the seed, pictures."""

import io
import sys
import warnings
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from torchrl.envs.utils import check_env_specs

from pompc.data.collector import with_agent_state
from pompc.envs.dm_control import REQUIREMENT, DMControl, DMControlConfig, domain_and_task
from pompc.errors import UserError


def family(task: str = "cartpole-swingup", **options):
    return DMControl(DMControlConfig(task=task, **options))


def make(task: str, **options):
    return family(task, **options).make()


@pytest.fixture(scope="module")
def rendering():
    """Skip if MuJoCo cannot render."""
    try:
        family().make(render_mode="rgb_array").close()
    except UserError as error:
        pytest.skip(str(error))


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


def test_without_dm_control_one_line_names_the_command_to_type(monkeypatch):
    monkeypatch.delitem(sys.modules, "dm_control.suite", raising=False)
    monkeypatch.setitem(sys.modules, "dm_control", None)
    with pytest.raises(UserError, match=rf"{sys.executable} -m pip install --no-deps {REQUIREMENT}$") as error:
        make("cartpole-swingup")
    assert "\n" not in str(error.value)


def test_actions_span_the_bounds_of_the_task():
    env = make("quadruped-walk")
    physics, own = env.unwrapped._env.physics, env.unwrapped._env.action_spec()
    assert own.maximum.max() > 1
    env.reset(seed=0)
    for unit, expected in ((-1, own.minimum), (0, (own.minimum + own.maximum) / 2), (1, own.maximum)):
        env.step(np.full(12, unit, np.float32))
        np.testing.assert_allclose(physics.control(), expected, atol=1e-7)


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
    assert (family().action_repeat, family().episode_length) == (2, 500)
    assert family(action_repeat=3, episode_frames=100).episode_length == 33
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
    with pytest.raises(UserError, match=r"no task walker-walk-backwards: take one of walker-walk"):
        make("walker-walk-backwards")  # not the suite's own
    with pytest.raises(UserError, match="unbounded"):
        make("lqr-lqr_2_1")
    with pytest.raises(UserError, match="action_repeat must be positive, not 0"):
        family(action_repeat=0)
    with pytest.raises(UserError, match="frame_stack must be positive, not 0"):
        family(frame_stack=0)


@pytest.mark.parametrize(
    "task",
    ["acrobot-swingup", "cartpole-balance-sparse", "cheetah-run", "cup-catch", "dog-trot", "finger-spin",
     "finger-turn-easy", "finger-turn-hard", "fish-swim", "hopper-hop", "humanoid-walk", "pendulum-swingup",
     "pointmass-easy", "quadruped-run", "reacher-hard", "walker-walk"],
)  # fmt: skip
def test_names_of_the_literature(task):
    from dm_control import suite

    assert domain_and_task(task) in suite.ALL_TASKS


def test_gymnasium_accepts_it():
    check_env(make("reacher-easy").unwrapped, skip_render_check=True)


@pytest.mark.usefixtures("rendering")
def test_rendering():
    env = family().make(render_mode="rgb_array")
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
        family().make(render_mode="rgb_array")
    with pytest.raises(UserError, match="MUJOCO_GL"):
        family(pixels=True).make()


def drive(env, td, plan):
    """Step through ``plan [time, num_envs, action]``: the carried data and the outcomes ``[time, num_envs]``."""
    outcomes = []
    for action in plan:
        td, carried = env.step_and_maybe_reset(td.set("action", action))
        outcomes.append(td["next"].clone())
        td = carried
    return td, torch.stack(outcomes)


def plan(steps, num_envs, seed):
    return 2 * torch.rand(steps, num_envs, 1, generator=torch.Generator().manual_seed(seed)) - 1


@pytest.mark.usefixtures("rendering")
@pytest.mark.parametrize("task", ["cartpole-swingup", "quadruped-walk"])
def test_pixels_are_the_last_pictures_oldest_first(task):
    env = make(task, pixels=True)
    assert env.observation_space.shape == (9, 64, 64)
    assert env.observation_space.dtype == np.uint8
    observation, _ = env.reset(seed=0)
    pictures = [env.unwrapped.picture(64).transpose(2, 0, 1)] * 3
    assert pictures[0].std() > 10
    for action in np.random.default_rng(0).uniform(-1, 1, (4, *env.action_space.shape)).astype(np.float32):
        assert env.observation_space.contains(observation)
        np.testing.assert_array_equal(observation, np.concatenate(pictures[-3:]))
        observation = env.step(action)[0]
        pictures.append(env.unwrapped.picture(64).transpose(2, 0, 1))
    assert all((a != b).any() for a, b in pairwise(pictures[2:]))
    observation, _ = env.reset(seed=1)
    np.testing.assert_array_equal(observation[:3], observation[6:])
    assert not (observation[:3] == pictures[-1]).all()


@pytest.mark.usefixtures("rendering")
def test_pixels_change_the_observation_and_nothing_else():
    results = []
    for options in ({}, {"pixels": True, "frame_stack": 1}):
        env = make("cartpole-swingup", episode_frames=12, **options)
        env.reset(seed=3)
        results.append([env.step(np.full(1, 0.7, np.float32))[1:] for _ in range(6)])
    assert results[0] == results[1]
    assert results[0][-1][2]  # truncated


@pytest.mark.usefixtures("rendering")
def test_pixels_resume_bit_for_bit():
    options = {"pixels": True, "episode_frames": 30}
    env = family(**options).vectorise(2, seed=3)
    check_env_specs(env)
    td, _ = drive(env, env.reset(), plan(5, 2, seed=0))
    # Environment 1 starts another episode, so that the two are at different steps of different episodes.
    td = env.reset(td.set("_reset", torch.tensor([[False], [True]]))).exclude("_reset")
    td, _ = drive(env, td, plan(4, 2, seed=1))
    file = io.BytesIO()
    torch.save(env.snapshot(), file)
    file.seek(0)
    carried = td.clone()
    _, expected = drive(env, td, plan(12, 2, seed=2))
    assert expected["done"].any(0).all()  # both have been reset

    other = family(**options).vectorise(2, seed=99)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of what it could not restore
        other.restore(torch.load(file, weights_only=True))
    _, resumed = drive(other, carried, plan(12, 2, seed=2))
    assert resumed["observation"].dtype == torch.uint8
    assert all(torch.equal(expected[key], resumed[key]) for key in expected.keys(True, True))


@pytest.mark.usefixtures("rendering")
def test_pixels_reach_an_agent_unchanged():
    plain = family(pixels=True).vectorise(2, seed=0)
    wrapped = with_agent_state(family(pixels=True).vectorise(2, seed=0), SimpleNamespace(primers=dict))
    start, seen = plain.reset(), wrapped.reset()
    assert torch.equal(start["observation"], seen["observation"])
    _, expected = drive(plain, start, plan(3, 2, seed=0))
    _, outcome = drive(wrapped, seen, plan(3, 2, seed=0))
    assert outcome["observation"].dtype == torch.uint8
    assert torch.equal(outcome["observation"], expected["observation"])
    assert torch.equal(outcome["step_count"].flatten(), torch.tensor([1, 1, 2, 2, 3, 3]))
