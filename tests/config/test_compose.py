"""Composition, overrides, hash and directory."""

import math

import pytest
from circuits import BASE
from omegaconf import OmegaConf, open_dict

from pompc.config.compose import (
    SHARED,
    EvalConfig,
    RunConfig,
    algorithm_config,
    build,
    compose,
    config_hash,
    environment_config,
    presets,
    run_config,
    run_directory,
    with_absolute_files,
    with_overrides,
)
from pompc.config.options import SEEDS
from pompc.config.schema import defaults
from pompc.dials import ScheduleConfig
from pompc.envs.carla_racing.track.xodr import TRACKS
from pompc.errors import UserError


def racing(*overrides, **options):
    return compose("adaptive_hrl", "carla_racing", overrides, **options)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps=abc", "steps must be a number, not 'abc'"),
        ("steps=1.5", "steps must be a whole number"),
        ("steps=0", "steps must be at least 1"),
        ("steps=null", "steps must be a whole number, not null"),
        ("num_envs=-2", "num_envs must be at least 1"),
        ("eval.every=0", "eval.every must be at least 1"),
        ("seed=-1", "seed must lie in"),
        ("device=gpu", "device must be cpu, cuda, cuda:N or auto"),
        ("wandb.mode=off", "wandb.mode must be one of auto, online, offline, disabled, not 'off'"),
        ("eval.video=3", "eval.video must be true or false"),
        ("eval=3", "eval must be a mapping"),
        ("eval={evrey: 3}", "unknown key 'eval.evrey'; did you mean 'eval.every'"),
        ("wandb.tags=one", "wandb.tags must be a list"),
        ("stesp=3", "unknown key 'stesp'; did you mean 'steps'"),
        ("planner.horzion=3", "unknown key 'planner.horzion'; did you mean 'planner.horizon'"),
        ("horizon=3", "unknown key 'horizon'; did you mean 'planner.horizon'"),
        ("plannr.horizon=3", "unknown key 'plannr.horizon'; did you mean 'planner.horizon'"),
        ("steps.more=3", "unknown key 'steps.more'"),
        ("+new_key=1", "keys cannot be added"),
        ("~steps", "keys cannot be added or removed"),
        ("steps", "'steps' is not key=value"),
        ("steps=[1", "cannot read the value of"),
        ("env.track=${nowhere}", "nowhere"),
        ("env.name=acrobot", "env.name cannot be changed"),
        ("env=acrobat", "did you mean 'acrobot'"),
        ("algo=", "no algorithm given"),
        ("steps=inf", "steps must be a whole number, not inf"),
        ("eval.video=inf", "eval.video must be true or false"),
        ("eval.max_steps=0", "eval.max_steps must be at least 1"),
        ("eval.max_steps=inf", "eval.max_steps must be a whole number"),
        ("eval.num_envs=0", "eval.num_envs must be at least 1"),
        ("preset=quik", "unknown preset 'quik'; did you mean 'quick'"),
    ],
)
def test_bad_overrides_are_one_line(override, message):
    with pytest.raises(UserError, match=message.replace("[", r"\[")) as error:
        racing(override)
    assert "\n" not in str(error.value)


def test_only_the_servers_of_a_simulator_are_no_part_of_a_run():
    """An environment of another package may mean something else by the same names."""
    for env, counts in (("carla_racing", False), ("acrobot", True)):
        cfg = compose("ppo", env)
        changed = cfg.copy()
        with open_dict(changed):
            changed.env.timeout = 3.0
        assert (config_hash(cfg) != config_hash(changed)) == counts


def test_values_keep_the_type_of_their_default():
    cfg = racing("steps=1e6", "planner.temperature=2", "wandb.project=7", "kl_weight=1", "virtual_ratio=0.3")
    assert (cfg.steps, cfg.planner.temperature, cfg.wandb.project) == (1_000_000, 2.0, "7")
    assert type(cfg.steps) is int
    assert type(cfg.planner.temperature) is float
    assert (cfg.kl_weight, cfg.virtual_ratio) == (1.0, 0.3)
    assert run_config(racing("run_dir=/tmp/a b")).run_dir == "/tmp/a b"


def test_the_dials_take_schedules_and_numbers_either_way_round():
    cfg = racing("kl_weight={schedule: exp, initial: 0.5}", "virtual_ratio.decay=0.5")
    assert cfg.kl_weight == {"schedule": "exp", "initial": 0.5}
    assert cfg.virtual_ratio.decay == 0.5
    with pytest.raises(UserError, match="virtual_ratio must be a mapping"):
        racing("virtual_ratio=high")


def test_a_schedule_goes_on_from_the_dial_it_replaces():
    def dials(algo, *overrides):
        return algorithm_config(compose(algo, "dmc/cartpole-swingup", overrides))

    assert dials("pompc", "kl_weight={schedule: exp, decay: 0.9}").kl_weight.initial == 1.0
    ratio = dials("adaptive_pompc", "virtual_ratio={schedule: exp}").virtual_ratio
    assert (ratio.schedule, ratio.initial, ratio.decay, ratio.ema) == ("exp", 0.3, 0.9999, 0.99)
    assert dials("tdmpc2", "virtual_ratio={schedule: exp}").virtual_ratio.initial == 0.3  # 0 would stay 0
    with pytest.raises(UserError, match=r"unknown key 'kl_weight\.rate'"):
        dials("pompc", "kl_weight={rate: 0.9}")
    with pytest.raises(
        UserError, match=r"kl_weight\.schedule: kl_weight is a number here; .* kl_weight='\{schedule: exp"
    ):
        dials("adaptive_pompc", "kl_weight.schedule=exp")


def test_a_mapping_changes_only_the_keys_it_has():
    assert racing("eval={every: 7}").eval == {**racing().eval, "every": 7}
    assert compose("ppo", "gym/Pendulum-v1", ["env.kwargs={g: 9.0}"]).env.kwargs.g == 9.0
    cfg = compose(
        "ppo", "gym/Pendulum-v1", ["env.kwargs.g=9.0", "env.kwargs.dt=0.1", "env.kwargs={max_episode_steps: 5}"]
    )
    assert cfg.env.kwargs == {"max_episode_steps": 5}
    cfg = compose("ppo", "gym/Pendulum-v1", ["env.kwargs.g=9.0", "env.kwargs.dt=0.1"])
    assert with_overrides(cfg, ["env.kwargs.other=1"]).env.kwargs == {"g": 9.0, "dt": 0.1, "other": 1}


def test_a_number_sign_is_no_comment():
    assert racing("run_dir=out/try #1", "wandb.project=lab #3").run_dir == "out/try #1"
    assert racing("run_dir='out/try #1'").run_dir == "out/try #1"
    with pytest.raises(UserError, match="steps must be a number, not '100 # short'"):
        racing("steps=100 # short")


def test_choices_may_be_overrides_too():
    cfg = compose(None, None, ["algo=ppo", "env=dmc/cartpole-swingup", "preset=quick", "steps=7"])
    assert (cfg.algo.name, cfg.env.name, cfg.env.task, cfg.steps) == ("ppo", "dmc", "cartpole-swingup", 7)
    assert cfg == compose("ppo", "dmc/cartpole-swingup", ["steps=7"], preset="quick")


def test_later_overrides_win_over_the_name_and_the_preset():
    assert compose("ppo", "dmc/walker-walk", ["env.task=walker-run"]).env.task == "walker-run"
    assert racing("num_envs=3", preset="quick").num_envs == 3


def test_with_overrides_copies():
    cfg = racing()
    changed = with_overrides(cfg, ["env.time_limit=3"])
    assert changed.env.time_limit == 3.0
    assert cfg.env.time_limit != 3.0
    with pytest.raises(UserError, match="cannot be changed"):
        with_overrides(cfg, ["algo=ppo"])


def test_the_top_level_agrees_with_its_dataclass():
    top = OmegaConf.to_container(compose("ppo", "acrobot"))
    assert {key: value for key, value in top.items() if key not in ("algo", "env", *SHARED)} == defaults(RunConfig)


def test_every_preset_composes():
    for preset in presets():
        for algo in ("adaptive_hrl", "ppo", "mppi"):
            compose(algo, "acrobot", preset=preset)


@pytest.mark.parametrize(
    "override",
    ["steps=5", "seed=3", "device=auto", "threads=2", "run_dir=x", "wandb.mode=disabled", "eval.video=false",
     "eval.at_start=false", "checkpoint.every=9", "planner.temperature=1", "env.time_limit=50"],
)  # fmt: skip
def test_the_hash_ignores_what_changes_no_result(override):
    assert config_hash(racing(override)) == config_hash(racing())


@pytest.mark.parametrize(
    "override", ["num_envs=5", "planner.horizon=7", "eval.every=7", "env.time_limit=7", "virtual_ratio=0.3"]
)
def test_the_hash_sees_the_rest(override):
    assert config_hash(racing(override)) != config_hash(racing())


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
    one, other = (config_hash(racing(f"env.track={track(folder)}")) for folder in ("one", "other"))
    assert one == other != config_hash(racing())
    monkeypatch.chdir(track("one").parent)
    assert config_hash(racing("env.track=my.xodr")) == one
    track("one", BASE.replace('a="6"', 'a="5"'))
    assert config_hash(racing("env.track=my.xodr")) != one
    shipped = TRACKS / "esses.xodr"
    assert config_hash(racing(f"env.track={shipped}")) == config_hash(racing())


def test_a_file_that_is_not_there_has_no_hash():
    with pytest.raises(UserError, match=r"env\.track: cannot read nowhere\.xodr"):
        config_hash(racing("env.track=nowhere.xodr"))


def test_a_path_means_the_same_in_every_folder(track, monkeypatch):
    path = track("one")
    monkeypatch.chdir(path.parent.parent)
    assert with_absolute_files(racing("env.track=one/my.xodr")).env.track == str(path.resolve())
    monkeypatch.chdir(TRACKS)
    cfg = racing()
    assert with_absolute_files(cfg).env.track == "esses", "a shipped one is found by its name everywhere"
    assert with_absolute_files(compose("ppo", "acrobot")) == compose("ppo", "acrobot")


def test_the_directory_is_that_of_the_command():
    cfg = compose("ppo", "dmc/walker-walk", ["seed=3"])
    assert run_directory(cfg).as_posix() == f"runs/ppo/dmc-walker-walk/seed3-{config_hash(cfg)}"
    longer = compose("ppo", "dmc/walker-walk", ["seed=3", "steps=9e6"])
    assert run_directory(longer) == run_directory(cfg)
    other = compose("ppo", "dmc/walker-walk", ["seed=4"])
    assert run_directory(other).name == run_directory(cfg).name.replace("seed3", "seed4")
    assert run_directory(racing("run_dir=here")).as_posix() == "here"
    assert len(config_hash(cfg)) == 8


@pytest.mark.parametrize("text", ["inf", "+inf", ".inf", "+.inf", "Inf", "infinity"])
def test_infinity_is_a_number_however_it_is_written(text):
    given = algorithm_config(compose("pompc", "acrobot", [f"kl_weight={text}"]))
    assert given.kl_weight == math.inf
    schedule = f"kl_weight={{schedule: fixed, initial: {text}}}"
    assert algorithm_config(compose("bmpc", "acrobot", [schedule])).kl_weight.initial == math.inf
    assert compose("ppo", "acrobot", [f"wandb.project={text}"]).wandb.project == text  # text stays text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("algo.learning_rate=inf", "algo.learning_rate must be positive, not inf"),
        ("planner.temperature=inf", "temperature"),
        ("algo.batch_size=inf", "algo.batch_size must be a whole number, not inf"),
        ("kl_weight=.nan", "kl_weight must be a number or a mapping {key: value}, not nan"),
        ("algo.entropy_coef=.nan", "algo.entropy_coef must be a number, not nan"),
    ],
)
def test_where_infinity_or_no_number_makes_no_sense_one_line_says_so(override, message):
    with pytest.raises(UserError) as error:
        algorithm_config(compose("pompc", "acrobot", [override]))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["control_step", "time_limit", "planner_mass"])
def test_an_endless_time_on_the_track_is_refused(key):
    with pytest.raises(UserError, match=f"env.{key} must be positive, not inf"):
        environment_config(compose("ppo", "carla_racing", [f"env.{key}=inf"]))


def test_infinity_in_a_yaml_file_is_a_number_too(tmp_path):
    (tmp_path / "run.yaml").write_text("schedule: fixed\ninitial: inf\n")
    node = OmegaConf.to_container(OmegaConf.load(tmp_path / "run.yaml"))
    assert build(ScheduleConfig, node).initial == math.inf


def test_the_seed_of_fresh_episodes_is_that_of_no_evaluation_in_training():
    assert EvalConfig(seed=1000).fresh_seed == 1_001_000
    assert 0 <= EvalConfig(seed=SEEDS - 1).fresh_seed < SEEDS
