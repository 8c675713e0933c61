"""The gymnasium family: scaling, flattening, and one line for everything that it refuses."""

import sys
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from pompc.cli import main
from pompc.envs import gymnasium as gymnasium_family
from pompc.envs.gymnasium import Gymnasium, GymnasiumConfig
from pompc.errors import UserError

UNIT = np.array([1.0], np.float32)


class Echo(gymnasium.Env):
    """An environment that stores its last action; spaces and observation are arguments."""

    def __init__(self, action_space, observation_space=None):
        self.action_space = action_space
        self.observation_space = observation_space or spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        self.action = action
        return self.observation_space.sample(), 0.0, False, False, {}


@pytest.fixture(autouse=True)
def registered():
    known = set(gymnasium.registry)
    gymnasium.register("EchoTest-v0", entry_point=Echo, max_episode_steps=3)
    yield
    for id in set(gymnasium.registry) - known:
        del gymnasium.registry[id]


def make(id: str, **kwargs):
    return Gymnasium(GymnasiumConfig(id=id, kwargs=kwargs)).make()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_actions_are_scaled_to_the_environments_bounds(dtype):
    bounds = np.array([-2, 0], dtype), np.array([2, 10], dtype)
    env = make("EchoTest-v0", action_space=spaces.Box(*bounds, dtype=dtype))
    env.reset(seed=0)
    assert env.action_space == spaces.Box(-1, 1, (2,), np.float32)
    for unit, own in (([-1, -1], [-2, 0]), ([0, 0], [0, 5]), ([0.5, 1], [1, 10])):
        env.step(np.array(unit, np.float32))
        np.testing.assert_allclose(env.unwrapped.action, own, atol=1e-6)
        assert env.unwrapped.action.dtype == dtype


@pytest.mark.parametrize(
    ("space", "size"),
    [
        (spaces.Box(-1, 1, (3,), np.float64), 3),
        (spaces.Box(-1, 1, (2, 3), np.float32), 6),
        (spaces.Dict({"a": spaces.Box(-1, 1, (2,), np.float64), "b": spaces.Discrete(4)}), 6),
    ],
)
def test_observations_become_flat_float32(space, size):
    env = make("EchoTest-v0", action_space=spaces.Box(-1, 1, (1,)), observation_space=space)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.shape == observation.shape == (size,)
    assert env.observation_space.dtype == observation.dtype == env.step(UNIT)[0].dtype == np.float32


def test_registered_time_limit_and_kwargs_apply():
    env = make("Pendulum-v1", g=0.0)
    assert env.unwrapped.g == 0.0
    env.reset(seed=0)
    ends = [env.step(UNIT)[3] for _ in range(200)]
    assert ends == [False] * 199 + [True]


def test_ids_with_a_module_prefix(tmp_path, monkeypatch):
    (tmp_path / "pack_of_tests.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('Prefixed-v0', entry_point='gymnasium.envs.classic_control:PendulumEnv')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert make("pack_of_tests:Prefixed-v0").observation_space.shape == (3,)


@pytest.mark.parametrize(
    ("id", "says"),
    [
        ("Pendlum-v1", "did you mean Pendulum-v1"),
        ("Pendulum-v7", "did you mean Pendulum-v1"),
        ("a name with blanks", "no environment a name with blanks"),
        ("no_such_package:Env-v0", "No module named 'no_such_package'"),
        ("a:b:C-v0", "env.id=a:b:C-v0: write it as"),
        ("CartPole-v1", r"CartPole-v1 has the action space Discrete\(2\): only continuous"),
    ],
)
def test_an_environment_that_cannot_be_made_is_named(id, says):
    with pytest.raises(UserError, match=says):
        make(id)


@pytest.mark.parametrize(
    ("space", "says"),
    [
        (spaces.Box(-np.inf, np.inf, (1,)), "unbounded"),
        (spaces.Box(0, 9, (1,), np.int64), "only continuous"),
        (spaces.Box(-1, 1, (2, 2)), "flat"),
    ],
)
def test_unsuitable_actions_are_named(space, says):
    with pytest.raises(UserError, match=says):
        make("EchoTest-v0", action_space=space)


def test_keyword_arguments_that_it_does_not_take_are_named():
    with pytest.raises(UserError, match=r"Pendulum-v1 does not take env\.kwargs=\{'gravity': 9\}: ") as error:
        make("Pendulum-v1", gravity=9)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="render_mode, which is set to make a video"):
        make("Pendulum-v1", render_mode="rgb_array")
    with pytest.raises(UserError, match=r"id, which is env\.id"):
        GymnasiumConfig(kwargs={"id": "Acrobot-v1"})


def test_a_time_limit_among_the_keyword_arguments_applies():
    env = make("Pendulum-v1", max_episode_steps=3)
    env.reset(seed=0)
    assert [env.step(UNIT)[3] for _ in range(3)] == [False, False, True]
    with pytest.raises(
        UserError, match=r"Pendulum-v1 cannot be made with env.kwargs=\{'max_episode_steps': 'many'\}: "
    ):
        make("Pendulum-v1", max_episode_steps="many")


class Picky(Echo):
    """A constructor that refuses some arguments."""

    def __init__(self, level, size=1):
        if level not in ("easy", "hard"):
            raise ValueError("level must be easy or hard")
        super().__init__(spaces.Box(-1, 1, (int(1 + size),)))


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        (
            {"level": "odd"},
            r"PickyTest-v0 cannot be made with env.kwargs=\{'level': 'odd'\}: level must be easy or hard",
        ),
        (
            {"level": "easy", "size": "a"},
            r"cannot be made with .*\(TypeError, test_gymnasium_family.py, line \d+\)",
        ),
        ({"level": "easy", "length": 1}, r"does not take env.kwargs=.*: got an unexpected keyword argument 'length'"),
        ({}, "PickyTest-v0 needs env.kwargs: missing a required argument: 'level'"),
    ],
)
def test_constructors_refuse_in_their_own_words(kwargs, says):
    gymnasium.register("PickyTest-v0", entry_point=Picky)
    with pytest.raises(UserError, match=says) as error:
        make("PickyTest-v0", **kwargs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("bug", [AttributeError("no attribute"), TypeError("two and 'a'"), ZeroDivisionError()])
def test_a_bug_in_a_constructor_keeps_its_traceback(bug):
    def constructor():
        raise bug

    gymnasium.register("BuggyTest-v0", entry_point=constructor)
    with pytest.raises(type(bug)):
        make("BuggyTest-v0")


def test_a_video_of_an_environment_without_pictures_is_refused_by_name():
    with pytest.raises(UserError, match=r"EchoTest-v0 takes no render_mode, .*: set eval\.video=false"):
        Gymnasium(GymnasiumConfig(id="EchoTest-v0", kwargs={"action_space": None})).make(render_mode="rgb_array")
    assert Gymnasium(GymnasiumConfig()).make(render_mode="rgb_array").render_mode == "rgb_array"


def test_a_class_that_is_no_environment_is_named():
    class OldGym:
        pass

    gymnasium.register("OldTest-v0", entry_point=OldGym)
    with pytest.raises(UserError, match=r"OldTest-v0 makes a .*OldGym, no gymnasium.Env: derive it from that"):
        make("OldTest-v0")


@pytest.mark.parametrize(
    ("space", "says"),
    [
        (spaces.Sequence(spaces.Discrete(3)), r"observation is a Sequence\(Discrete\(3\).*of no fixed size"),
        (spaces.Dict(a=spaces.Discrete(2), b=spaces.Sequence(spaces.Discrete(3))), r"observation\['b'\] is a Sequence"),
        (spaces.Tuple([spaces.Graph(spaces.Discrete(2), None)]), r"observation\[0\] is a Graph"),
        (gymnasium.Space((2,), np.float32), "of no fixed size"),
    ],
)
def test_observations_without_a_fixed_size_are_named(space, says):
    with pytest.raises(UserError, match=says):
        make("EchoTest-v0", action_space=spaces.Box(-1, 1, (1,)), observation_space=space)


PICTURE = spaces.Box(0, 255, (84, 84, 3), np.uint8)


@pytest.mark.parametrize("space", [PICTURE, spaces.Dict(pixels=PICTURE)])
@pytest.mark.parametrize("num_envs", [1, 2])
def test_pictures_stay_pictures(space, num_envs):
    kwargs = {"action_space": spaces.Box(-1, 1, (1,)), "observation_space": space}
    env = Gymnasium(GymnasiumConfig(id="EchoTest-v0", kwargs=kwargs)).vectorise(num_envs, seed=0)
    step = env.rand_step(env.reset())
    for observation in (step["observation"], step["next", "observation"]):
        assert observation.dtype == torch.uint8
        assert observation.shape == (num_envs, 3, 64, 64)


def test_pictures_become_plain_numbers_on_request():
    kwargs = {"action_space": spaces.Box(-1, 1, (1,)), "observation_space": PICTURE}
    family = Gymnasium(GymnasiumConfig(id="EchoTest-v0", kwargs=kwargs)).flattened()
    assert family is not None
    assert family.config.pictures is False
    assert family.flattened() is None
    observation, _ = family.make().reset(seed=0)
    assert (observation.shape, observation.dtype) == ((84 * 84 * 3,), np.float32)


@pytest.mark.parametrize(
    ("space", "says"),
    [
        (
            spaces.Dict(eye=PICTURE, speed=spaces.Box(-1, 1, (1,))),
            r"observation\['eye'\], \(84, 84, 3\) of uint8",
        ),
        (spaces.Box(0, 1, (84, 84, 3), np.float32), r"observation, \(84, 84, 3\) of float32, becomes 21,168"),
    ],
)
def test_pictures_that_are_not_encoded_are_a_warning(space, says):
    kwargs = {"action_space": spaces.Box(-1, 1, (1,)), "observation_space": space}
    with pytest.warns(UserWarning, match=f"EchoTest-v0: {says}.*env.pictures=false"):
        make("EchoTest-v0", **kwargs)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*plain numbers")
        Gymnasium(GymnasiumConfig(id="EchoTest-v0", kwargs=kwargs, pictures=False)).make()


@pytest.mark.parametrize("stacked", [spaces.Box(-1, 1, (3,), np.float32), spaces.Box(0, 255, (7, 7, 3), np.uint8)])
def test_stacks_that_are_no_pictures_are_flattened(stacked):
    def stack(**kwargs):
        return gymnasium.wrappers.FrameStackObservation(Echo(**kwargs), 4)

    gymnasium.register("StackTest-v0", entry_point=stack)
    env = make("StackTest-v0", action_space=spaces.Box(-1, 1, (1,)), observation_space=stacked)
    assert env.reset(seed=0)[0].shape == env.step(UNIT)[0].shape == (4 * np.prod(stacked.shape),)


def test_stacks_of_pictures_are_channels():
    gymnasium.register("StackTest-v0", lambda **kwargs: gymnasium.wrappers.FrameStackObservation(Echo(**kwargs), 4))
    env = make("StackTest-v0", action_space=spaces.Box(-1, 1, (1,)), observation_space=PICTURE)
    assert env.reset(seed=0)[0].shape == env.step(UNIT)[0].shape == (12, 64, 64)


def test_humanoid_bench_that_is_not_installed_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "humanoid_bench", None)
    monkeypatch.setattr(gymnasium_family, "find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--algo", "tdmpc2", "--env", "humanoid_bench:h1-walk-v0"]) == 2
    error = capsys.readouterr().err
    assert (
        "humanoid_bench:h1-walk-v0 cannot be imported: HumanoidBench is not on the package index: install it" in error
    )
    assert error.count("\n") == 1
