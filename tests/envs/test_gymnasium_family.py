"""The gymnasium family: scaling, flattening, and one line for everything it cannot take."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from pompc.envs.gymnasium import Gymnasium, GymnasiumConfig
from pompc.errors import UserError

UNIT = np.array([1.0], np.float32)


class Echo(gymnasium.Env):
    """Keeps the action it was given; spaces and observation as asked for."""

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
    gymnasium.register("EchoTest-v0", entry_point=Echo, max_episode_steps=3)
    yield
    del gymnasium.registry["EchoTest-v0"]


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
    del gymnasium.registry["Prefixed-v0"]


@pytest.mark.parametrize(
    ("id", "says"),
    [
        ("Pendlum-v1", "did you mean Pendulum-v1"),
        ("Pendulum-v7", "did you mean Pendulum-v1"),
        ("a name with blanks", "no environment a name with blanks"),
        ("no_such_package:Env-v0", "No module named 'no_such_package'"),
        ("CartPole-v1", r"CartPole-v1 has the action space Discrete\(2\): only continuous"),
    ],
)
def test_what_cannot_be_made_is_named(id, says):
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
    with pytest.raises(UserError, match="render_mode, which is set where a video is made"):
        make("Pendulum-v1", render_mode="rgb_array")
