"""Vectorised environments: exact snapshots, partial resets, information columns, determinism."""

import io
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from torchrl.envs.utils import check_env_specs

from pompc.data.vector import vectorise
from pompc.envs.acrobot import Acrobot, AcrobotConfig
from pompc.envs.dm_control import DMControl, DMControlConfig
from pompc.envs.gymnasium import Gymnasium, GymnasiumConfig
from pompc.envs.linear import Linear, LinearConfig
from pompc.envs.lunar_lander import LunarLander, LunarLanderConfig
from pompc.errors import UserError

FAMILIES = {
    "pendulum": lambda: Gymnasium(GymnasiumConfig(id="Pendulum-v1")),
    "acrobot": lambda: Acrobot(AcrobotConfig(time_limit=60)),
    "linear_system": lambda: Linear(LinearConfig(start_range=0.1)),
    "lunar_lander": lambda: LunarLander(LunarLanderConfig()),
    "cartpole": lambda: DMControl(DMControlConfig(task="cartpole-swingup")),
}


def actions(env, steps: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(steps, *env.action_spec.shape, generator=generator) - 1


def run(env, td, plan):
    """Step through ``plan [time, num_envs, action]`` from ``td``; return the carried data and all outcomes."""
    outcomes = []
    for action in plan:
        td, carried = env.step_and_maybe_reset(td.set("action", action))
        outcomes.append(td["next"].clone())
        td = carried
    return td, torch.stack(outcomes)


def saved(state):
    """Save to a file and load, as a checkpoint does."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def same(a, b) -> bool:
    """Tell whether both are equal in every bit, nan included."""
    return all(torch.equal(a[k].nan_to_num(7.7), b[k].nan_to_num(7.7)) for k in a.keys(True, True))


@pytest.mark.parametrize("name", FAMILIES)
def test_restored_environment_continues_bit_for_bit(name):
    family = FAMILIES[name]()
    env = family.vectorise(2, seed=3)
    td, _ = run(env, env.reset(), actions(env, 25, seed=0))
    # Copy 1 starts another episode, so the copies are at different steps of different episodes.
    td = env.reset(td.set("_reset", torch.tensor([[False], [True]]))).exclude("_reset")
    td, _ = run(env, td, actions(env, 8, seed=1))
    checkpoint, carried = saved(env.snapshot()), td.clone()
    plan = actions(env, 80, seed=2)
    _, expected = run(env, td, plan)

    other = family.vectorise(2, seed=99)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # warnings about inexact restoring
        other.restore(checkpoint)
    _, resumed = run(other, carried, plan)
    assert same(expected, resumed)


def test_an_environment_restored_after_done_resets_only_the_finished_environment():
    family = Acrobot(AcrobotConfig(time_limit=10))
    env = family.vectorise(2, seed=0)
    td, _ = run(env, env.reset(), actions(env, 4, seed=0))
    td = env.reset(td.set("_reset", torch.tensor([[False], [True]]))).exclude("_reset")
    for action in actions(env, 6, seed=1):  # copy 0 reaches its time limit and is not reset yet
        last = env.step(td.set("action", action))["next"]
        td = last.exclude("reward")
    assert last["truncated"].flatten().tolist() == [True, False]
    checkpoint = saved(env.snapshot())
    mask = last["done"].clone()

    def go_on(env):
        start = env.reset(last.clone().set("_reset", mask)).exclude("_reset", "reward")
        return start, run(env, start, actions(env, 30, seed=2))[1]

    start, expected = go_on(env)
    assert torch.equal(start["observation"][1], last["observation"][1])
    assert not torch.equal(start["observation"][0], last["observation"][0])
    other = family.vectorise(2, seed=0)
    other.restore(checkpoint)
    assert same(expected, go_on(other)[1])


def test_episodes_depend_on_seed_copy_and_count_only():
    def first_observations(seed, num_envs):
        env = FAMILIES["pendulum"]().vectorise(num_envs, seed=seed)
        return torch.stack([env.reset()["observation"] for _ in range(3)])

    a, b, c = first_observations(0, 3), first_observations(0, 2), first_observations(1, 3)
    assert torch.equal(a[:, :2], b)
    starts = torch.cat([a.flatten(0, 1), c.flatten(0, 1)])
    assert len(starts.unique(dim=0)) == len(starts)


def test_snapshot_before_the_first_reset():
    env, other = (FAMILIES["pendulum"]().vectorise(2, seed=s) for s in (0, 1))
    other.restore(saved(env.snapshot()))
    assert torch.equal(env.reset()["observation"], other.reset()["observation"])


@pytest.mark.parametrize("name", FAMILIES)
def test_specs_hold(name):
    env = FAMILIES[name]().vectorise(2, seed=0)
    check_env_specs(env)
    step = env.rand_step(env.reset())["next"]
    for key in ("observation", "reward"):
        assert step[key].dtype == torch.float32
    assert step["reward"].shape == step["done"].shape == (2, 1)


class Clocked(gymnasium.Env):
    """Reports a value in every second step only; with ``noise`` it depends on more than its seed."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    starts = 0

    def __init__(self, noise=False):
        self.noise = noise

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        Clocked.starts += 1
        return np.array([Clocked.starts if self.noise else 0], np.float32), {}

    def step(self, action):
        self.time += 1
        info = {"cost": self.time} if self.time % 2 == 0 else {}
        return np.array([self.time], np.float32), 1.0, False, False, info


def test_unreported_information_is_nan():
    env = vectorise(Clocked, 2, seed=0, info_keys=("cost", "success"))
    td = env.reset()
    td, _ = run(env, td, torch.zeros(1, 2, 1))
    td = env.reset(td.set("_reset", torch.tensor([[True], [False]]))).exclude("_reset")
    _, outcome = run(env, td, torch.zeros(2, 2, 1))
    expected = torch.tensor([[torch.nan, 2.0], [2.0, torch.nan]])
    assert torch.equal(outcome["cost"][..., 0].nan_to_num(-1), expected.nan_to_num(-1))
    assert outcome["cost"].dtype == torch.float32
    assert outcome["success"].isnan().all()


def test_inexact_environments_are_reported():
    env = vectorise(lambda: Clocked(noise=True), 1, seed=0)
    env.reset()
    with pytest.warns(UserWarning, match="resuming is not exact"):
        env.restore(env.snapshot())


def test_bad_sizes_are_user_errors():
    env = vectorise(Clocked, 2, seed=0)
    with pytest.raises(UserError, match="num_envs=2"):
        vectorise(Clocked, 3, seed=0).restore(env.snapshot())
    with pytest.raises(UserError, match="num_envs=0"):
        vectorise(Clocked, 0, seed=0)
    with pytest.raises(UserError, match="seed=-1"):
        vectorise(Clocked, 1, seed=-1)


class Chatty(Clocked):
    """Reports more than requested, in changing shapes."""

    def step(self, action):
        observation, reward, terminated, truncated, _ = super().step(action)
        info = {"cost": np.float64(0.5) * self.time, "path": np.ones((self.time, 2)), "word": "go", "goal": None}
        return (
            observation,
            reward,
            terminated,
            truncated,
            info | ({"success": None} if self.time > 1 else {"success": 1}),
        )


@pytest.mark.parametrize("num_envs", [1, 2])
def test_only_the_requested_information_is_read(num_envs):
    env = vectorise(Chatty, num_envs, seed=0, info_keys=("cost", "success"))
    td = env.reset()
    if num_envs > 1:  # the copies are at different times, so one step has arrays of different lengths
        td, _ = run(env, td, torch.zeros(1, num_envs, 1))
        td = env.reset(td.set("_reset", torch.tensor([[True], [False]]))).exclude("_reset")
    _, outcome = run(env, td, torch.zeros(2, num_envs, 1))
    assert outcome["cost"][:, 0, 0].tolist() == [0.5, 1.0]
    assert outcome["cost"][:, -1, 0].tolist() == ([0.5, 1.0] if num_envs == 1 else [1.0, 1.5])
    assert outcome["success"][0, 0] == 1
    assert outcome["success"][1].isnan().all()


def test_whole_and_broken_numbers_share_a_column():
    """gymnasium gives a column the type of its first entry, which would truncate the other entries."""

    class Mixed(Clocked):
        def step(self, action):
            *rest, _ = super().step(action)
            return *rest, {"cost": 0 if self.first else 0.5}

    made = []

    def make():
        env = Mixed()
        env.first = not made
        made.append(env)
        return env

    env = vectorise(make, 2, seed=0, info_keys=("cost",))
    _, outcome = run(env, env.reset(), torch.zeros(1, 2, 1))
    assert outcome["cost"].flatten().tolist() == [0.0, 0.5]


def test_an_error_in_close_is_a_warning():
    class Gone(Clocked):
        def close(self):
            raise ConnectionResetError("the simulator has gone")

    env = vectorise(Gone, 2, seed=0)
    env.reset()
    with pytest.warns(UserWarning, match=r"Gone\.close\(\) raised ConnectionResetError: the simulator has gone"):
        env.close()
