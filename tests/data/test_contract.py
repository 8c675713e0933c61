"""Unambiguous deviations in the answers of environments are corrected, others are named."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from pompc.data.contract import Contract
from pompc.data.vector import vectorise
from pompc.errors import UserError

BOX = spaces.Box(-9, 9, (3,), np.float32)
ZERO = np.zeros(3, np.float32)


class Answers(gymnasium.Env):
    """Returns the given answers."""

    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, space=BOX, observation=ZERO, reset=None, step=None):
        self.observation_space = space
        self._reset = (observation, {}) if reset is None else reset
        self._step = (observation, 0.0, False, False, {}) if step is None else step

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._reset

    def step(self, action):
        return self._step


def reward(value):
    return Answers(step=(ZERO, value, False, False, {}))


@pytest.mark.parametrize(
    "value", [2, 2.0, np.float32(2), np.array(2.0), np.array([2.0]), np.array([[2]]), [2.0], torch.tensor([2.0])]
)
def test_one_number_is_a_reward_in_any_form(value):
    (_, number, *_) = Contract(reward(value)).step(None)
    assert type(number) is float
    assert number == 2.0


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.array([1.0, 2.0]), r"ndarray of shape \(2,\)"),
        ([1.0, 2.0], "list of 2"),
        (np.zeros(0), r"ndarray of shape \(0,\)"),
        (None, "NoneType None"),
        ("2", "str '2'"),
        ({"r": 1.0}, "dict with 'r'"),
        (1j, "complex"),
        ([[1.0], [2.0, 3.0]], "list of 2"),
    ],
)
def test_any_other_reward_is_refused(value, says):
    with pytest.raises(UserError, match=rf"Answers: step\(\) returned {says}.*as reward, not one number: return float"):
        Contract(reward(value)).step(None)


@pytest.mark.parametrize("value", [True, 1, np.True_, np.array([True]), [True]])
def test_ends_in_any_form(value):
    _, _, terminated, truncated, _ = Contract(Answers(step=(ZERO, 0, value, None, None))).step(None)
    assert (terminated, truncated) == (True, False)


def test_ends_of_more_than_one_are_refused():
    with pytest.raises(UserError, match=r"step\(\) returned list of 2 as terminated"):
        Contract(Answers(step=(ZERO, 0, [True, False], False, {}))).step(None)


@pytest.mark.parametrize(
    ("space", "observation", "expected"),
    [
        (BOX, [1, 2, 3], np.array([1, 2, 3], np.float32)),
        (BOX, np.array([[1.0, 2.0, 3.0]]), np.array([1, 2, 3], np.float32)),
        (BOX, torch.tensor([1.0, 2.0, 3.0]), np.array([1, 2, 3], np.float32)),
        (spaces.Box(-9, 9, (1,), np.float32), 4.0, np.array([4], np.float32)),
        (spaces.Box(-9, 9, (), np.float32), np.array([4.0]), np.array(4, np.float32)),
        (spaces.Box(0, 9, (2,), np.int64), np.array([3.0, 4.0]), np.array([3, 4])),
        (spaces.Discrete(3, start=-1), np.array([1]), 1),
        (spaces.Dict(a=BOX, b=spaces.Discrete(2)), {"b": 1, "a": [1, 2, 3], "more": 0}, {"a": [1, 2, 3], "b": 1}),
        (spaces.Tuple([BOX, spaces.MultiBinary(2)]), [[1, 2, 3], [0, 1]], ([1, 2, 3], [0, 1])),
    ],
)
def test_observations_that_mean_one_element_of_their_space_become_it(space, observation, expected):
    env = Contract(Answers(space, observation))
    for found in (env.reset(seed=0)[0], env.step(None)[0]):
        assert space.contains(found)
        assert spaces.flatten(space, found).tolist() == spaces.flatten(space, expected).tolist()


@pytest.mark.parametrize(
    ("space", "observation", "says"),
    [
        (BOX, np.zeros(4), r"an observation of shape \(4,\), but its space has \(3,\)"),
        (spaces.Box(0, 1, (2, 3)), np.zeros((3, 2)), r"of shape \(3, 2\), but its space has \(2, 3\)"),
        (spaces.Box(0, 1, (2, 3)), np.zeros(6), r"of shape \(6,\), but"),
        (BOX, None, "not of numbers.*NoneType None"),
        (BOX, ["a", "b", "c"], "not of numbers.*list of 3"),
        (BOX, [[1], [1, 2]], "no array"),
        (BOX, {"a": 1}, "not of numbers.*dict with 'a'"),
        (
            spaces.Box(0, 255, (3,), np.uint8),
            np.array([0.1, 0.2, 0.3]),
            "float64 with values that its space's uint8",
        ),
        (spaces.Box(0, 255, (3,), np.uint8), np.array([0, 1, 300]), "int64 with values that its space's uint8 cannot"),
        (spaces.Box(0, 255, (3,), np.uint8), np.full(3, np.nan), "float64 with values"),
        (spaces.Discrete(3), 3, "an observation of int 3, but its space has the integers 0 to 2"),
        (spaces.Discrete(3), 1.0, "an observation of float 1.0"),
        (spaces.MultiDiscrete([2, 3]), np.array([0, 3]), r"an observation \[0, 3\], which is not in its space"),
        (spaces.Dict(a=BOX, b=BOX), {"a": ZERO}, "an observation without 'b'"),
        (spaces.Dict(a=BOX), ZERO, "an observation without 'a'"),
        (spaces.Dict(a=BOX), {"a": np.zeros(2)}, r"an observation\['a'\] of shape \(2,\)"),
        (spaces.Tuple([BOX, BOX]), (ZERO,), "no tuple of 2"),
        (spaces.Tuple([BOX, spaces.Tuple([BOX])]), (ZERO, (np.zeros(2),)), r"an observation\[1\]\[0\] of shape"),
    ],
)
def test_other_observations_are_refused_with_their_place(space, observation, says):
    env = Contract(Answers(space, observation))
    with pytest.raises(
        UserError, match=rf"Answers: reset\(\) returned {says if says.startswith('an') else '.*' + says}"
    ):
        env.reset(seed=0)
    with pytest.raises(UserError, match=r"Answers: step\(\) returned an observation"):
        env.step(None)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (ZERO, r"ndarray of shape \(3,\) and type float32"),
        ((ZERO, 0.0), "tuple of 2"),
        ({"a": 1}, "dict with 'a'"),
        ((ZERO, {}, 1), "tuple of 3"),
        (None, "NoneType None"),
    ],
)
def test_a_reset_of_the_old_interface_is_named(answer, says):
    env = Answers()
    env._reset = answer
    with pytest.raises(UserError, match=rf"reset\(\) returned {says}: return \(observation, info\).*older interface"):
        Contract(env).reset()


@pytest.mark.parametrize("answer", [(ZERO, 0.0, False, {}), (ZERO, 0.0, False, False, 0), None, ZERO])
def test_a_step_of_the_old_interface_is_named(answer):
    env = Answers()
    env._step = answer
    with pytest.raises(UserError, match=r"step\(\) returned .*: return \(observation, reward, .*older interface"):
        Contract(env).step(None)


class NoOptions(Answers):
    def reset(self, seed=None):
        return ZERO, None


class NoSeed(Answers):
    def reset(self):
        return ZERO, {}


class Anything(gymnasium.Wrapper):
    def reset(self, **kwargs):
        return self.env.reset(**kwargs)


def test_a_reset_without_options_works_also_inside_a_wrapper_of_keywords():
    for env in (NoOptions(), Anything(NoOptions())):
        observation, info = Contract(env).reset(seed=1, options={})
        assert (observation.tolist(), info) == ([0, 0, 0], {})


def test_options_arrive_if_they_are_taken():
    class Options(Answers):
        def reset(self, seed, options):
            return ZERO, {"given": options}

    assert Contract(Options()).reset(options={"a": 1})[1] == {"given": {"a": 1}}
    assert Contract(Anything(Options())).reset(seed=0, options={"a": 1})[1] == {"given": {"a": 1}}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Contract(NoSeed()), "reset.. of NoSeed takes no seed: write `def reset"),
        (lambda: Contract(Anything(NoSeed())).reset(seed=0), "reset.. of NoSeed takes no seed"),
        (lambda: Contract(gymnasium.Wrapper(NoOptions())).reset(seed=0), "reset.. of NoOptions takes no options"),
    ],
)
def test_a_reset_that_lacks_a_parameter_is_named(make, says):
    with pytest.raises(UserError, match=says):
        make()


def test_missing_and_foreign_spaces_are_named():
    class NoSpace(Answers):
        def __init__(self):
            pass

    with pytest.raises(UserError, match=r"NoSpace has no observation_space: set self\.observation_space"):
        Contract(NoSpace())
    with pytest.raises(UserError, match="Answers has 3, no space of gymnasium, as observation_space"):
        Contract(Answers(3))


@pytest.mark.parametrize("error", [TypeError("'seed' is not a number"), ValueError("reset() of the simulator")])
def test_errors_of_the_environment_pass_through(error):
    class Bug(Answers):
        def reset(self, *, seed=None, options=None):
            raise error

        def step(self, action):
            raise error

    env = Contract(Bug())
    for method in (env.reset, lambda: env.step(None)):
        with pytest.raises(type(error)) as raised:
            method()
        assert raised.value is error


@pytest.mark.parametrize("num_envs", [1, 2])
def test_environments_of_any_family_are_checked(num_envs):
    env = vectorise(lambda: Answers(observation=np.zeros(4, np.float32)), num_envs, seed=0)
    with pytest.raises(UserError, match=r"Answers: reset\(\) returned an observation of shape \(4,\)"):
        env.reset()
    env = vectorise(lambda: reward(np.array([2.0])), num_envs, seed=0)
    assert env.rand_step(env.reset())["next", "reward"].tolist() == [[2.0]] * num_envs
