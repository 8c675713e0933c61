"""Several tasks at once: every environment plays its task, padded; tasks and episode lengths of families."""

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from torchrl.envs.utils import check_env_specs

from pompc.config.compose import compose
from pompc.config.spec import configure
from pompc.environment import Tasks
from pompc.envs.acrobot import Acrobot, AcrobotConfig
from pompc.envs.carla_racing import CarlaRacing, CarlaRacingConfig
from pompc.envs.dm_control import DMControl, DMControlConfig
from pompc.envs.gymnasium import Gymnasium, GymnasiumConfig
from pompc.envs.linear import Linear, LinearConfig
from pompc.envs.lunar_lander import LunarLander, LunarLanderConfig
from pompc.envs.multitask import MultiTask, MultiTaskConfig
from pompc.errors import UserError

NAMES = ("cartpole-swingup", "walker-walk", "cup-catch")
SIZES = {"cartpole-swingup": (5, 1), "walker-walk": (24, 6), "cup-catch": (8, 2)}  # observation, action


def multitask(*names, **options):
    return MultiTask(MultiTaskConfig(tasks=names or NAMES, **options))


def drive(env, td, plan):
    """Step through ``plan [time, num_envs, action]``: the carried data and the outcomes ``[time, num_envs]``."""
    outcomes = []
    for action in plan:
        td, carried = env.step_and_maybe_reset(td.set("action", action))
        outcomes.append(td["next"].clone())
        td = carried
    return td, torch.stack(outcomes)


def plan(steps, *shape, seed):
    return 2 * torch.rand(steps, *shape, generator=torch.Generator().manual_seed(seed)) - 1


def test_the_tasks_are_named_with_their_sizes():
    family = multitask(action_repeat=4, episode_frames=100)
    assert family.tasks == Tasks(names=NAMES, action_dims=(1, 6, 2), episode_lengths=(25, 25, 25))
    assert (family.action_repeat, family.episode_length) == (4, 25)
    env = family.vectorise(2, seed=0)
    assert env.observation_spec["observation"].shape == (2, 24 + 1)
    assert env.action_spec.shape == (2, 6)
    check_env_specs(env)


def test_every_environment_plays_its_task_padded():
    num_envs = 5
    options = {"action_repeat": 3, "episode_frames": 12}  # episodes of 4 actions, so that resets are compared, too
    env = multitask(**options).vectorise(num_envs, seed=7)
    start, actions = env.reset(), plan(10, num_envs, 6, seed=0)
    _, outcome = drive(env, start.clone(), actions)
    for index in range(num_envs):
        name = NAMES[index % 3]
        observation, action = SIZES[name]
        single = DMControl(DMControlConfig(task=name, **options)).vectorise(num_envs, seed=7)
        alone = single.reset()
        seen = torch.cat([start["observation"][None], outcome["observation"]])[:, index]
        _, expected = drive(single, alone.clone(), actions[..., :action])
        own = torch.cat([alone["observation"][None], expected["observation"]])[:, index]
        assert torch.equal(seen[:, :observation], own)
        assert (seen[:, observation:-1] == 0).all()
        assert (seen[:, -1] == index % 3).all()
        for key in ("reward", "terminated", "truncated"):
            assert torch.equal(outcome[key][:, index], expected[key][:, index])
    assert outcome["truncated"][3].all()
    assert outcome["task"][..., 0].unique(dim=0).tolist() == [[0, 1, 2, 0, 1]]
    assert start["task"].flatten().tolist() == [0, 1, 2, 0, 1]


def test_resumes_bit_for_bit():
    env = multitask(episode_frames=40).vectorise(3, seed=3)
    td, _ = drive(env, env.reset(), plan(7, 3, 6, seed=0))
    td = env.reset(td.set("_reset", torch.tensor([[False], [True], [False]]))).exclude("_reset")
    td, _ = drive(env, td, plan(6, 3, 6, seed=1))
    snapshot, carried = env.snapshot(), td.clone()
    _, expected = drive(env, td, plan(20, 3, 6, seed=2))
    other = multitask(episode_frames=40).vectorise(3, seed=99)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of what it could not restore
        other.restore(snapshot)
    _, resumed = drive(other, carried, plan(20, 3, 6, seed=2))
    assert all(torch.equal(expected[key], resumed[key]) for key in expected.keys(True, True))


def test_fewer_environments_than_tasks_play_the_first_ones():
    env = multitask().vectorise(1, seed=0)
    assert env.reset()["observation"].shape == (1, 25)
    one = multitask().make()
    assert one.observation_space.shape == (25,)
    observation, info = one.reset(seed=0)
    assert (observation[-1], info["task"]) == (0, 0)
    assert one.unwrapped._env.physics.named.data.qpos["slider"].size  # the cart of the first task


def test_wrong_tasks_are_named():
    with pytest.raises(UserError, match=r"env\.tasks is empty"):
        MultiTask(MultiTaskConfig(tasks=()))
    with pytest.raises(UserError, match="twice: leave out one of cup-catch, ball_in_cup-catch"):
        multitask("cup-catch", "walker-run", "ball_in_cup-catch")
    with pytest.raises(UserError, match="no task walker-wlak: take one of walker-walk"):
        multitask("cup-catch", "walker-wlak").vectorise(1, seed=0)
    with pytest.raises(UserError, match="action_repeat must be positive, not 0"):
        multitask(action_repeat=0)


def test_tasks_are_given_as_a_list():
    spec = configure("ppo", "multitask", ["env.tasks=[walker-walk,finger-turn-easy]"])
    assert spec.environment_config == MultiTaskConfig(tasks=("walker-walk", "finger-turn-easy"))
    with pytest.raises(UserError, match=r"env\.tasks must be a list"):
        compose("ppo", "multitask", ["env.tasks=walker-walk"])


LIMITED = {
    "acrobot": (lambda: Acrobot(AcrobotConfig(time_limit=12)), 12),
    "linear_system": (lambda: Linear(LinearConfig(time_limit=12)), 12),
    "lunar_lander": (lambda: LunarLander(LunarLanderConfig(time_limit=23, action_repeat=5)), 4),
    "carla_racing": (lambda: CarlaRacing(CarlaRacingConfig(time_limit=0.6, num_opponents=0)), 12),
    "dmc": (lambda: DMControl(DMControlConfig(action_repeat=3, episode_frames=23)), 7),
    "multitask": (lambda: multitask(action_repeat=3, episode_frames=23), 7),
    "gym": (lambda: Gymnasium(GymnasiumConfig(id="Pendulum-v1")), 200),
    "gym with its own limit": (lambda: Gymnasium(GymnasiumConfig(kwargs={"max_episode_steps": 5})), 5),
}


@pytest.mark.parametrize("name", LIMITED)
def test_episodes_are_truncated_at_the_episode_length(name):
    make, length = LIMITED[name]
    family = make()
    assert family.episode_length == length
    env = family.make()
    env.reset(seed=0)
    ends = [env.step(np.zeros(env.action_space.shape, np.float32))[2:4] for _ in range(length)]
    assert ends == [(False, False)] * (length - 1) + [(False, True)]


def test_a_missing_limit_and_missing_tasks_are_none():
    family = Gymnasium(GymnasiumConfig(id="Pendulum-v1", kwargs={"max_episode_steps": -1}))
    assert family.episode_length is None
    assert family.tasks is None


def test_the_shortest_of_nested_limits_counts():
    class Twice(Gymnasium):
        def make(self, *, render_mode=None):
            return gymnasium.wrappers.TimeLimit(super().make(render_mode=render_mode), 7)

    assert Twice(GymnasiumConfig()).episode_length == 7
    assert Twice(GymnasiumConfig(kwargs={"max_episode_steps": 5})).episode_length == 5
