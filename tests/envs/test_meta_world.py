"""``metaworld/<task>``: one line without a working Meta-World; with one, the wrapper of TD-MPC2, here on a stand-in."""

import importlib.machinery
import sys
import types

import gymnasium
import numpy as np
import pytest

from pompc import cli
from pompc.envs import meta_world
from pompc.envs.meta_world import MetaWorld, MetaWorldConfig
from pompc.errors import UserError
from pompc.registry import parse_environment


class Task(gymnasium.Env):
    """What the family uses of a task: float64 observations, success in ``info``, a truncation after 500 steps."""

    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (4,), np.float32)

    def __init__(self, env_name, render_mode=None):
        if env_name == "broken-v3":
            raise ValueError("shape mismatch: (11,) and (12,)\nmore")
        self.count = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self.np_random.uniform(size=3), {}

    def step(self, action):
        self.count += 1
        return np.full(3, action[0], np.float64), 1.5, False, self.count == 7, {"success": float(self.count == 3)}


@pytest.fixture
def installed(monkeypatch):
    """Stand in for the package: its import registers the tasks."""
    module = types.ModuleType("metaworld")
    module.__spec__ = importlib.machinery.ModuleSpec("metaworld", None)
    monkeypatch.setitem(sys.modules, "metaworld", module)
    gymnasium.register(meta_world.ENTRY, entry_point=Task)
    yield
    gymnasium.registry.pop(meta_world.ENTRY)


def test_a_missing_package_is_one_line_that_says_why(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(meta_world, "find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "--algo", "tdmpc2", "--env", "metaworld/reach-v3"]) == 2
    error = capsys.readouterr().err
    assert "metaworld/reach-v3 needs the package metaworld. Meta-World 3.1.1 pins mujoco 3.3.0" in error
    assert error.count("\n") == 1


@pytest.mark.usefixtures("installed")
def test_a_package_that_does_not_work_with_the_simulator_is_one_line():
    with pytest.raises(UserError, match=r"cannot be made \(ValueError: shape mismatch: \(11,\) and \(12,\)\)") as found:
        MetaWorld(MetaWorldConfig(task="broken-v3")).make()
    assert "\n" not in str(found.value)


@pytest.mark.usefixtures("installed")
def test_actions_are_repeated_and_an_episode_has_a_hundred_of_them():
    assert parse_environment("metaworld/reach-v3") == ("metaworld", {"task": "reach-v3"})
    family = MetaWorld(MetaWorldConfig())
    env, rewards, successes, truncated = family.make(), [], [], False
    env.reset(seed=0)
    while not truncated:
        observation, reward, terminated, truncated, info = env.step(np.full(4, 0.5, np.float32))
        rewards.append(reward)
        successes.append(info["success"])
        assert not terminated
    assert observation.dtype == np.float32
    assert len(rewards) == family.episode_length == 100
    assert set(rewards) == {3.0}
    assert successes[:3] == [0.0, 1.0, 0.0]
