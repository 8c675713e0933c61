"""Composition: names, presets and overrides to checked values, without torch."""

import math

import pytest
from omegaconf import OmegaConf

from pompc.config.compose import compose, presets, with_overrides
from pompc.config.run_options import RunConfig
from pompc.config.schema import build, group
from pompc.config.spec import configure
from pompc.config.values import plain
from pompc.dials import ScheduleConfig
from pompc.errors import UserError


def racing(*overrides, **options):
    return compose("adaptive_hrl", "carla_racing", overrides, **options)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps=abc", "steps must be a whole number, not 'abc'"),
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
        ("horizon=3", "unknown key 'horizon'; did you mean 'filter.horizon' or 'planner.horizon'"),
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


def test_a_wrong_algorithm_is_named_even_where_the_environment_is_still_missing():
    with pytest.raises(UserError, match="unknown algorithm 'nope'"):
        compose("nope", None)


def test_values_have_the_type_of_their_option():
    given = racing("steps=1e6", "planner.temperature=2", "wandb.project=7", "kl_weight=1", "virtual_ratio=0.3")
    assert (given["steps"], given["planner"]["temperature"], given["wandb"]["project"]) == (1_000_000, 2.0, "7")
    assert type(given["steps"]) is int
    assert type(given["planner"]["temperature"]) is float
    assert (given["kl_weight"], given["virtual_ratio"]) == (1.0, 0.3)
    assert (racing("run_dir=/tmp/a b")["run_dir"], racing("run_dir=7")["run_dir"]) == ("/tmp/a b", "7")
    assert racing("run_dir=null")["run_dir"] is None


def test_the_dials_take_schedules_and_numbers_either_way_round():
    given = racing("kl_weight={schedule: exp, initial: 0.5}", "virtual_ratio.decay=0.5")
    assert given["kl_weight"] == plain(ScheduleConfig(schedule="exp", initial=0.5)), "with all of its options"
    assert given["virtual_ratio"]["decay"] == 0.5
    with pytest.raises(UserError, match="virtual_ratio must be a number or a mapping"):
        racing("virtual_ratio=high")


def test_a_schedule_goes_on_from_the_dial_it_replaces():
    def dials(algo, *overrides):
        return configure(algo, "dmc/cartpole-swingup", overrides).algorithm_config

    assert dials("pompc", "kl_weight={schedule: exp, decay: 0.9}").kl_weight.initial == 1.0
    ratio = dials("adaptive_pompc", "virtual_ratio={schedule: exp}").virtual_ratio
    assert (ratio.schedule, ratio.initial, ratio.decay, ratio.ema) == ("exp", 0.3, 0.9999, 0.99)
    assert dials("tdmpc2", "virtual_ratio={schedule: exp}").virtual_ratio.initial == 0.3  # 0 would stay 0
    with pytest.raises(UserError, match=r"unknown key 'kl_weight\.speed'"):
        dials("pompc", "kl_weight={speed: 0.9}")
    with pytest.raises(UserError, match=r"kl_weight\.decay: kl_weight is a number here; .* kl_weight='\{schedule: "):
        dials("adaptive_pompc", "kl_weight.decay=0.9")


def test_a_mapping_changes_only_the_keys_it_has():
    assert racing("eval={every: 7}")["eval"] == {**racing()["eval"], "every": 7}

    def arguments(*overrides):
        return compose("ppo", "gym/Pendulum-v1", overrides)["env"]["kwargs"]

    assert arguments("env.kwargs={g: 9.0}") == {"g": 9.0}
    both = ("env.kwargs.g=9.0", "env.kwargs.dt=0.1")
    assert arguments(*both, "env.kwargs={max_episode_steps: 5}") == {"max_episode_steps": 5}
    values = with_overrides(compose("ppo", "gym/Pendulum-v1", both), ["env.kwargs.other=1"])
    assert values["env"]["kwargs"] == {"g": 9.0, "dt": 0.1, "other": 1}


def test_a_number_sign_is_no_comment():
    given = racing("run_dir=out/try #1", "wandb.project=lab #3")
    assert (given["run_dir"], given["wandb"]["project"]) == ("out/try #1", "lab #3")
    assert racing("run_dir='out/try #1'")["run_dir"] == "out/try #1"
    with pytest.raises(UserError, match="steps must be a whole number, not '100 # short'"):
        racing("steps=100 # short")


def test_a_value_may_be_taken_from_another_key():
    assert racing("eval.every=${steps}", "steps=70")["eval"]["every"] == 70
    with pytest.raises(UserError, match=r"eval\.every must be at least 1, not 0"):
        racing("eval.every=${seed}")


def test_choices_may_be_overrides_too():
    given = compose(None, None, ["algo=ppo", "env=dmc/cartpole-swingup", "preset=quick", "steps=7"])
    assert (given["algo"]["name"], given["env"]["name"]) == ("ppo", "dmc")
    assert (given["env"]["task"], given["steps"]) == ("cartpole-swingup", 7)
    assert given == compose("ppo", "dmc/cartpole-swingup", ["steps=7"], preset="quick")


def test_later_overrides_win_over_the_name_and_the_preset():
    assert compose("ppo", "dmc/walker-walk", ["env.task=walker-run"])["env"]["task"] == "walker-run"
    assert racing("num_envs=3", preset="quick")["num_envs"] == 3


def test_the_files_say_what_differs_from_the_dataclasses():
    assert (compose("ppo", "acrobot")["num_envs"], compose("tdmpc2", "acrobot")["num_envs"]) == (16, 1)
    assert compose("tdmpc2", "dmc/walker-walk")["eval"] == {**racing()["eval"], "episodes": 10, "num_envs": 10}
    assert racing("num_envs=3", preset="quick")["steps"] == 4000


def test_with_overrides_copies():
    given = racing()
    changed = with_overrides(given, ["env.time_limit=3"])
    assert changed["env"]["time_limit"] == 3.0
    assert given["env"]["time_limit"] != 3.0
    with pytest.raises(UserError, match="cannot be changed"):
        with_overrides(given, ["algo=ppo"])


def test_the_options_of_a_run_have_the_defaults_of_their_dataclass():
    values = compose("ppo", "acrobot")
    assert {key: values[key] for key in group(RunConfig).options} == group(RunConfig).defaults()


def test_every_preset_composes():
    of_one_environment = {"racing_mismatch": "carla_racing"}
    for preset in presets():
        for algo in ("adaptive_hrl", "ppo", "mppi"):
            compose(algo, of_one_environment.get(preset, "acrobot"), preset=preset)


@pytest.mark.parametrize("text", ["inf", "+inf", ".inf", "+.inf", "Inf", "infinity"])
def test_infinity_is_a_number_however_it_is_written(text):
    assert compose("pompc", "acrobot", [f"kl_weight={text}"])["kl_weight"] == math.inf
    schedule = f"kl_weight={{schedule: fixed, initial: {text}}}"
    assert compose("bmpc", "acrobot", [schedule])["kl_weight"]["initial"] == math.inf
    assert compose("ppo", "acrobot", [f"wandb.project={text}"])["wandb"]["project"] == text  # text stays text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("algo.learning_rate=inf", "algo.learning_rate must be positive, not inf"),
        ("planner.temperature=inf", "planner.temperature must be positive, not inf"),
        ("planner.noise=pink", "planner.noise must be one of white, coloured, spline, integrated, not 'pink'"),
        ("algo.batch_size=0", "algo.batch_size must be positive, not 0"),
        ("algo.ensemble_size=0", "algo.ensemble_size must be positive, not 0"),
        ("algo.batch_size=inf", "algo.batch_size must be a whole number, not inf"),
        ("kl_weight=.nan", "kl_weight must be a number or a mapping {key: value}, not nan"),
        ("algo.entropy_coef=.nan", "algo.entropy_coef must be a number, not nan"),
        ("algo.log_std_min=-50", "algo.log_std_min must lie in [-20, 20], not -50.0"),
    ],
)
def test_a_value_out_of_range_is_one_line_with_its_key(override, message):
    with pytest.raises(UserError) as error:
        compose("pompc", "acrobot", [override])
    assert str(error.value) == message


@pytest.mark.parametrize("key", ["control_step", "time_limit", "planner_mass"])
def test_an_endless_time_on_the_track_is_refused(key):
    with pytest.raises(UserError, match=f"env.{key} must be positive, not inf"):
        compose("ppo", "carla_racing", [f"env.{key}=inf"])


def test_infinity_in_a_yaml_file_is_a_number_too(tmp_path):
    (tmp_path / "run.yaml").write_text("schedule: fixed\ninitial: inf\n")
    node = OmegaConf.to_container(OmegaConf.load(tmp_path / "run.yaml"))
    assert build(ScheduleConfig, node).initial == math.inf
