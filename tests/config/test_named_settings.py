"""Named settings: an algorithm's entry under another name, with other defaults."""

import pytest

from pompc.config.compose import compose
from pompc.config.spec import configure
from pompc.errors import UserError
from pompc.listing import point
from pompc.registry import ALGORITHMS, ARCHITECTURES, WAYS

NAMED = [name for name, entry in ALGORITHMS.builtin.items() if entry.base is not None]


@pytest.fixture
def eager(monkeypatch):
    """A setting of PO-MPC in the table."""

    def add(**settings):
        keys = {key.replace("__", "."): value for key, value in settings.items()}
        entry = ALGORITHMS["pompc"].named("pompc", "eager", keys)
        monkeypatch.setitem(ALGORITHMS.builtin, "eager", entry)

    return add


def test_a_named_setting_has_its_settings_and_the_rest_of_its_algorithm(eager):
    eager(algo__convex=True, kl_weight=9.0, eval__every=70)
    mine, base = compose("eager", "acrobot"), compose("pompc", "acrobot")
    assert (mine["algo"].pop("convex"), mine.pop("kl_weight"), mine["eval"].pop("every")) == (True, 9.0, 70)
    assert (mine["algo"].pop("name"), base["algo"].pop("name")) == ("eager", "pompc")
    assert (base["algo"].pop("convex"), base.pop("kl_weight"), base["eval"].pop("every")) == (False, 1.0, 50_000)
    assert mine == base
    assert mine["num_envs"] == 1, "the file of the algorithm counts"


def test_environments_presets_and_the_user_come_after_it(eager):
    eager(steps=9, eval__num_envs=2, planner__horizon=7)
    assert compose("eager", "acrobot", preset="quick")["steps"] == 4000
    assert compose("eager", "dmc/cartpole-swingup")["eval"]["num_envs"] == 10
    assert compose("eager", "acrobot", ["planner.horizon=4"])["planner"]["horizon"] == 4


def test_a_schedule_takes_the_place_of_a_number(eager):
    eager(virtual_ratio={"schedule": "linear", "initial": 0.1, "to": 0.7})
    spec = configure("eager", "acrobot")
    assert (spec.algorithm_config.virtual_ratio.to, spec.algorithm_config.virtual_ratio.decay) == (0.7, 0.98)
    assert point("eager") == ("1", "0.1 to 0.7", "planner", "algorithmic")


def test_a_run_of_it_has_its_name_and_its_own_directory(eager):
    eager(kl_weight=9.0)
    mine, same = configure("eager", "acrobot"), configure("pompc", "acrobot", ["kl_weight=9.0"])
    assert mine.identity["algo"] == "eager"
    assert mine.directory.parts[1] == "eager"
    assert mine.algorithm_config == same.algorithm_config
    assert mine.changed(["seed=3"]).algorithm_config == mine.algorithm_config


def test_a_wrong_key_of_a_setting_is_an_error(eager):
    eager(algo__convexx=True)
    with pytest.raises(UserError, match=r"algo\.convexx"):
        compose("eager", "acrobot")


@pytest.mark.parametrize("name", NAMED)
def test_every_named_setting_composes_and_differs_from_its_algorithm(name):
    spec = configure(name, "acrobot")
    assert spec.algorithm_config != configure(ALGORITHMS[name].base, "acrobot").algorithm_config
    assert 0 < len(ALGORITHMS[name].settings) <= 15


@pytest.mark.parametrize("name", ALGORITHMS.builtin)
def test_every_algorithm_has_its_place_in_the_survey(name):
    entry = ALGORITHMS[name]
    assert entry.way in WAYS
    assert entry.architecture in (ARCHITECTURES if entry.way in ("aligned", "closed_loop") else (None, *ARCHITECTURES))
    assert "?" not in point(name)
