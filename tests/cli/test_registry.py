"""Names of the registry and the classes they lead to."""

import importlib.metadata

import pytest

from pompc.errors import UserError
from pompc.registry import ALGORITHMS, BENCHMARKS, COMMANDS, ENVIRONMENTS, environment_label, parse_environment


@pytest.mark.parametrize("registry", [ALGORITHMS, ENVIRONMENTS], ids=["algorithms", "environments"])
def test_every_builtin_name_has_its_class_and_config(registry):
    for name in registry.builtin:
        found = registry.resolve(name)
        assert f"{found.__module__}:{found.__name__}".startswith(registry[name].target.partition(":")[0])
        assert found.Config.__dataclass_params__.frozen


def test_an_unknown_name_says_the_nearest_and_all():
    with pytest.raises(UserError, match=r"unknown algorithm 'adaptive_hlr'; did you mean 'adaptive_hrl'\?.*ppo, mppi"):
        ALGORITHMS.resolve("adaptive_hlr")


@pytest.mark.parametrize(
    ("name", "family", "arguments", "label"),
    [
        ("acrobot", "acrobot", {}, "acrobot"),
        ("dmc/cartpole-swingup", "dmc", {"task": "cartpole-swingup"}, "dmc-cartpole-swingup"),
        ("gym/Pendulum-v1", "gym", {"id": "Pendulum-v1"}, "gym-Pendulum-v1"),
        ("gym/space/Thing-v2", "gym", {"id": "space/Thing-v2"}, "gym-space-Thing-v2"),
        ("my_package:MyEnv-v0", "gym", {"id": "my_package:MyEnv-v0"}, "gym-my_package-MyEnv-v0"),
        ("my_package:space/MyEnv-v0", "gym", {"id": "my_package:space/MyEnv-v0"}, "gym-my_package-space-MyEnv-v0"),
    ],
)
def test_environment_names_are_split_and_make_a_label(name, family, arguments, label):
    assert parse_environment(name) == (family, arguments)
    assert environment_label({"name": family, **arguments}) == label


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("acrobat", "did you mean 'acrobot'"),
        ("dcm/walker-walk", "did you mean 'dmc'"),
        ("Pendulum-v1", "did you mean 'gym/Pendulum-v1'"),
        ("acrobot/easy", "takes nothing after a slash"),
        ("dmc/", "dmc/<domain>-<task>"),
    ],
)
def test_wrong_environment_names(name, message):
    with pytest.raises(UserError, match=message):
        parse_environment(name)


def test_entry_points_add_names_but_replace_none(monkeypatch):
    points = [
        importlib.metadata.EntryPoint("mine", "elsewhere:Mine", "pompc.algorithms"),
        importlib.metadata.EntryPoint("ppo", "elsewhere:PPO", "pompc.algorithms"),
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points if group == ALGORITHMS.group else [])
    with pytest.warns(UserWarning, match="the algorithm 'ppo' from elsewhere:PPO is hidden by pompc's own"):
        assert list(ALGORITHMS) == [*ALGORITHMS.builtin, "mine"]
    assert ALGORITHMS["mine"].target == "elsewhere:Mine"
    assert ALGORITHMS["ppo"].target == "pompc.algorithms.ppo:PPO"


def test_builtin_names_do_not_read_the_entry_points(monkeypatch):
    def fail(group):
        raise AssertionError("entry points were read")

    monkeypatch.setattr(importlib.metadata, "entry_points", fail)
    assert ENVIRONMENTS["acrobot"].description


def test_every_builtin_command_and_measurement_is_there_and_measures_something_that_has_a_name():
    assert all(callable(COMMANDS.resolve(name)) for name in COMMANDS.builtin)
    for name, entry in BENCHMARKS.builtin.items():
        assert callable(BENCHMARKS.resolve(name))
        assert entry.subject in ALGORITHMS or entry.subject in ENVIRONMENTS
