"""A configuration resolved once: typed configs, hash, directory, files."""

import dataclasses
import sys
from dataclasses import dataclass
from types import ModuleType

import pytest
from circuits import BASE

from pompc.algorithms.adaptive_hrl import AdaptiveHRLConfig
from pompc.config.compose import compose
from pompc.config.run_options import SEEDS, EvalConfig
from pompc.config.spec import configure, resolve
from pompc.envs.acrobot import AcrobotConfig
from pompc.envs.carla_racing.track.xodr import TRACKS
from pompc.errors import UserError
from pompc.registry import ALGORITHMS, ENVIRONMENTS, Entry

EXAMPLE = {"dmc": "dmc/cartpole-swingup", "gym": "gym/Pendulum-v1"}


def racing(*overrides, **options):
    return configure("ppo", "carla_racing", overrides, **options)


@pytest.mark.parametrize("name", ALGORITHMS.classes)
def test_without_overrides_an_algorithm_has_the_defaults_of_its_dataclass(name):
    spec = configure(name, "gym/Pendulum-v1")
    follows = {"episodic": True} if hasattr(spec.algorithm_config, "episodic") else {}
    assert spec.algorithm_config == ALGORITHMS.resolve(name).Config(**follows)


@pytest.mark.parametrize("name", ENVIRONMENTS.builtin)
def test_without_overrides_an_environment_has_the_defaults_of_its_dataclass(name):
    assert configure("ppo", EXAMPLE.get(name, name)).environment_config == ENVIRONMENTS.resolve(name).Config()


def test_a_spec_says_everything_and_cannot_be_changed():
    spec = configure("adaptive_hrl", "acrobot", ["algo.candidates=3", "planner.horizon=7", "env.goal=hold", "seed=5"])
    assert isinstance(spec.algorithm_config, AdaptiveHRLConfig)
    assert (spec.algorithm_config.candidates, spec.algorithm_config.planner.horizon) == (3, 7)
    assert spec.environment_config == AcrobotConfig(goal="hold")
    assert spec.identity == {"algo": "adaptive_hrl", "env": "acrobot", "seed": 5, "config_hash": spec.config_hash}
    assert spec.options.seed == spec.values["seed"] == 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.algorithm = "ppo"


def test_what_only_the_dataclass_can_check_is_refused_when_it_is_resolved():
    values = compose("adaptive_hrl", "acrobot", ["planner.min_std=3"])
    with pytest.raises(UserError, match=r"planner\.min_std=3\.0 is above planner\.max_std=2\.0"):
        resolve(values)


def test_a_changed_spec_is_another_one():
    spec = racing()
    assert spec.changed(["env.time_limit=3"]).environment_config.time_limit == 3.0
    assert spec.environment_config.time_limit == 50.0
    assert spec.changed([]) == spec


@pytest.mark.parametrize(
    "override",
    ["steps=5", "seed=3", "device=auto", "threads=2", "run_dir=x", "wandb.mode=disabled", "eval.video=false",
     "eval.at_start=false", "checkpoint.every=9", "planner.temperature=1", "env.time_limit=50", "env.timeout=3"],
)  # fmt: skip
def test_the_hash_ignores_what_changes_no_result(override):
    spec = configure("mppi", "carla_racing")
    assert spec.changed([override]).config_hash == spec.config_hash


def test_the_hash_does_not_depend_on_how_much_of_a_schedule_is_written_out():
    def code(text):
        return configure("tdmpc2", "acrobot", [f"virtual_ratio={{{text}}}"]).config_hash

    assert (
        code("schedule: exp") == code("schedule: exp, initial: 0.3, decay: 0.98") != code("schedule: exp, decay: 0.9")
    )


@pytest.mark.parametrize(
    "override", ["num_envs=5", "planner.horizon=7", "eval.every=7", "env.time_limit=7", "virtual_ratio=0.3"]
)
def test_the_hash_sees_the_rest(override):
    spec = configure("adaptive_hrl", "carla_racing")
    assert spec.changed([override]).config_hash != spec.config_hash


def test_an_environment_of_another_package_may_mean_something_else_by_the_same_names(monkeypatch):
    @dataclass(frozen=True, kw_only=True)
    class Config:
        timeout: float = 1.0

    module = ModuleType("another_package")
    module.Room = type("Room", (), {"Config": Config, "terminates": True, "__init__": lambda self, config: None})
    monkeypatch.setitem(sys.modules, "another_package", module)
    monkeypatch.setattr(ENVIRONMENTS, "external", lambda: {"room": Entry("another_package:Room", "a room")})
    assert configure("ppo", "room").config_hash != configure("ppo", "room", ["env.timeout=3"]).config_hash


@pytest.fixture
def track(tmp_path):
    """A circuit in a folder, by a function that gives its path there."""

    def track(folder, text=BASE):
        (tmp_path / folder).mkdir(exist_ok=True)
        path = tmp_path / folder / "my.xodr"
        path.write_text(text)
        return path

    return track


def test_the_hash_sees_what_is_in_a_file_and_not_where_it_lies(track, monkeypatch):
    one, other = (racing(f"env.track={track(folder)}").config_hash for folder in ("one", "other"))
    assert one == other != racing().config_hash
    monkeypatch.chdir(track("one").parent)
    assert racing("env.track=my.xodr").config_hash == one
    track("one", BASE.replace('a="6"', 'a="5"'))
    assert racing("env.track=my.xodr").config_hash != one
    shipped = TRACKS / "esses.xodr"
    assert racing(f"env.track={shipped}").config_hash == racing().config_hash


def test_a_file_that_is_not_there_has_no_hash():
    with pytest.raises(UserError, match=r"env\.track: cannot read .*nowhere\.xodr"):
        racing("env.track=nowhere.xodr")


def test_a_path_means_the_same_in_every_folder(track, monkeypatch):
    path = track("one")
    monkeypatch.chdir(path.parent.parent)
    spec = racing("env.track=one/my.xodr")
    assert spec.environment_config.track == spec.values["env"]["track"] == str(path.resolve())
    assert spec.files == {"track": path.resolve()}
    monkeypatch.chdir(TRACKS)
    assert racing().environment_config.track == "esses", "a shipped one is found by its name everywhere"
    assert configure("ppo", "acrobot").files == {}


def test_the_directory_is_that_of_the_command():
    spec = configure("ppo", "dmc/walker-walk", ["seed=3"])
    assert spec.directory.as_posix() == f"runs/ppo/dmc-walker-walk/seed3-{spec.config_hash}"
    assert spec.changed(["steps=9e6"]).directory == spec.directory
    assert spec.changed(["seed=4"]).directory.name == spec.directory.name.replace("seed3", "seed4")
    assert racing("run_dir=here").directory.as_posix() == "here"
    assert len(spec.config_hash) == 8


def test_the_seed_of_fresh_episodes_is_that_of_no_evaluation_in_training():
    assert EvalConfig(seed=1000).fresh_seed == 1_001_000
    assert 0 <= EvalConfig(seed=SEEDS - 1).fresh_seed < SEEDS
