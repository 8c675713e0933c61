"""Options of the CARLA backend that are checked without a server."""

import sys
import types

import pytest

from pompc.config.compose import compose
from pompc.config.overrides import keys
from pompc.config.spec import configure, resolve
from pompc.envs.carla_racing import CarlaRacing, CarlaRacingConfig
from pompc.errors import UserError


@pytest.fixture
def _installed(monkeypatch):
    """Install an empty module of the client's name: no test here asks a server."""
    monkeypatch.setitem(sys.modules, "carla", types.ModuleType("carla"))


def test_a_missing_client_is_one_line_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "carla", None)
    where = r"pip install 'pompc\[carla\]' .* 3\.10, 3\.11 and 3\.12 .* this is Python 3\.\d+"
    with pytest.raises(UserError, match=where) as e:
        CarlaRacing(CarlaRacingConfig(backend="carla"))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("servers", "match"),
    [
        ((), "env.servers is empty"),
        (("localhost",), "'localhost' is no address .* host:port"),
        (("a:b",), "'a:b' is no address"),
        (("here:70000",), "'here:70000' is no address"),
        (("a:2000", "b:2000", "a:2000"), "names a:2000 twice"),
    ],
)
def test_wrong_addresses_are_refused(servers, match):
    with pytest.raises(UserError, match=match):
        CarlaRacingConfig(servers=servers)


@pytest.mark.parametrize("option", [{"timeout": 0.0}, {"retries": -1}, {"wall_height": -1.0}, {"frame_stack": 0}])
def test_values_out_of_range_are_refused(option):
    with pytest.raises(UserError, match=f"env.{next(iter(option))} "):
        CarlaRacingConfig(**option)


@pytest.mark.usefixtures("_installed")
def test_a_tick_has_at_most_sixteen_physics_steps():
    with pytest.raises(UserError, match=r"env.substep=0.002 makes 25 .* at most 16"):
        CarlaRacing(CarlaRacingConfig(backend="carla", substep=0.002))


def test_a_server_compiles_nothing():
    with pytest.raises(UserError, match=r"env.compile needs env.backend=embedded"):
        CarlaRacing(CarlaRacingConfig(backend="carla", compile=True))


@pytest.mark.usefixtures("_installed")
def test_every_environment_needs_a_server():
    family = CarlaRacing(CarlaRacingConfig(backend="carla", servers=("a:1", "b:2")))
    assert family.max_envs == 2
    assert CarlaRacing(CarlaRacingConfig()).max_envs is None
    with pytest.raises(UserError, match=r"num_envs=3: .* names 2: set num_envs=2"):
        family.vectorise(3, seed=0)


@pytest.mark.parametrize(
    ("algo", "words", "expected"),
    [
        ("ppo", [], 16),
        ("ppo", ["env.backend=carla"], 1),
        ("ppo", ["env.backend=carla", "env.servers=[a:1,b:2]"], 2),
        ("tdmpc2", ["env.backend=carla", "env.servers=[a:1,b:2]"], 1),
        (
            "ppo",
            ["env.backend=carla", "num_envs=4"],
            4,
        ),  # a number that is asked for and cannot be had is refused later
    ],
)
def test_environments_are_as_many_as_servers_unless_given(algo, words, expected):
    spec = resolve(compose(algo, "carla_racing", words), fit_num_envs="num_envs" not in keys(words))
    assert spec.options.num_envs == expected


def test_servers_come_from_the_command_line_and_may_move():
    words = ["env.backend=carla", "env.servers=[127.0.0.1:2000, gpu-box:3000]"]
    spec = configure("ppo", "carla_racing", words)
    config = spec.environment_config
    assert [tuple(address) for address in config.addresses] == [("127.0.0.1", 2000), ("gpu-box", 3000)]
    elsewhere = ["env.servers=[other:1]", "env.timeout=30", "env.retries=9"]
    moved = configure("ppo", "carla_racing", ["env.backend=carla", *elsewhere])
    assert moved.config_hash == spec.config_hash != configure("ppo", "carla_racing").config_hash
