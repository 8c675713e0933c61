"""The commands of the page make the same configurations again, and name the folders of the runs."""

import shlex

import pytest
from stored_runs import write_run

from pompc.config.spec import configure
from pompc.report.comparison import CompareOptions
from pompc.report.compute import make_comparison
from pompc.report.html.commands import commands, folders
from pompc.report.runs import find_runs
from pompc.report.scores import Bounds


def write_configured(path, algo, env, overrides, seed=0):
    spec = configure(algo, env, [*overrides, f"seed={seed}"])
    identity = {"config_hash": spec.config_hash, "env": spec.label}
    write_run(path, (0, 1, 2), seed, algo=algo, **identity)
    (path / "config.yaml").write_text(spec.to_yaml())
    return spec


@pytest.mark.parametrize(
    ("algo", "env", "overrides"),
    [
        ("ppo", "acrobot", []),
        ("adaptive_hrl", "carla_racing", ["virtual_ratio=0.5", "algo.hidden_sizes=[8,8]", "env.mass=1.2", "steps=9"]),
        ("tdmpc2", "dmc/cartpole-swingup", ["planner.noise=spline", "eval.video=false", "wandb.tags=[a,b]"]),
    ],
)
def test_the_command_of_a_method_makes_its_configuration_again(tmp_path, algo, env, overrides):
    spec = write_configured(tmp_path / "run", algo, env, overrides)
    words = words_of(tmp_path)
    assert words[:6] == ["pompc", "run", "--algo", algo, "--env", env]
    assert configure(algo, env, words[6:]) == spec
    assert len(words[6:]) <= len(overrides) + 2  # the seed, and what the environment decides, but no default


def test_a_schedule_in_the_place_of_a_number_is_in_the_command(tmp_path):
    spec = write_configured(tmp_path / "run", "tdmpc2", "acrobot", ["kl_weight={schedule: linear, to: 0.5}"])
    words = words_of(tmp_path)
    assert any(word.startswith("kl_weight={schedule: linear, ") for word in words)
    assert configure("tdmpc2", "acrobot", words[6:]) == spec


def words_of(folder):
    """Split the only command of the runs below a folder."""
    _, command = commands(make_comparison([folder]))
    assert command["remark"] == ""
    return shlex.split(command["text"])


def test_seeds_of_a_method_are_a_loop(tmp_path):
    for seed in (3, 5):
        write_configured(tmp_path / str(seed), "mppi", "acrobot", ["steps=99"], seed)
    text = commands(make_comparison([tmp_path]))[1]["text"]
    assert text == "for seed in 3 5; do pompc run --algo mppi --env acrobot steps=99 seed=$seed; done"


def test_options_and_algorithms_that_are_gone_are_named(tmp_path):
    write_configured(tmp_path / "old", "mppi", "acrobot", [])
    config = tmp_path / "old" / "config.yaml"
    config.write_text(config.read_text() + "ancient: 1\n")
    write_configured(tmp_path / "gone", "ppo", "acrobot", [])
    identity = tmp_path / "gone" / "run.json"
    identity.write_text(identity.read_text().replace('"ppo"', '"extinct"'))
    gone, old = sorted(commands(make_comparison([tmp_path]))[1:], key=lambda one: one["words"])
    assert (gone["words"], gone["text"]) == ("extinct on acrobot", "")
    assert "extinct" in gone["remark"].split("does not know it")[1]
    assert old["text"] == "pompc run --algo mppi --env acrobot seed=0"
    assert old["remark"] == "Not options of this version of pompc, so not in the command: ancient."


def test_the_command_of_the_page_names_folders_and_what_was_asked(tmp_path):
    for seed in range(2):
        write_run(tmp_path / "a" / f"seed{seed}", (0, 1, 2), seed, algo="ppo")
        write_run(tmp_path / "b c" / f"seed{seed}", (0, 1, 2), seed, algo="mppi")
    whole = [tmp_path / "a", tmp_path / "b c"]
    assert folders(find_runs(whole)) == [str(path) for path in whole]
    assert folders(find_runs([tmp_path / "a" / "seed0"])) == [str(tmp_path / "a" / "seed0")]
    options = CompareOptions(
        metric="success", threshold=0.4, share=0.8, baseline="ppo", bounds=[Bounds.parse("a*=0:10")], split=["env.mass"]
    )
    for path in (tmp_path).glob("*/*/config.yaml"):
        path.write_text("env: {mass: 1.0}\n")
    text = commands(make_comparison(whole, options))[0]["text"]
    assert shlex.split(text) == [
        "pompc", "compare", *map(str, whole), "--metric", "success", "--threshold-value", "0.4", "--threshold", "0.8",
        "--split", "env.mass", "--baseline", "ppo", "--bounds", "a*=0:10",
    ]  # fmt: skip
