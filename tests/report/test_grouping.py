"""Methods are told apart by what their runs were configured to do."""

import dataclasses
import json

import pytest

from pompc.errors import UserError
from pompc.report.grouping import differences, group
from pompc.report.runs import Run


@pytest.fixture
def make(tmp_path):
    """A maker of runs from options."""
    count = iter(range(100))

    def run(algo="adaptive_hrl", seed=0, env="acrobot", **options):
        path = tmp_path / str(next(count))
        path.mkdir()
        config = {"seed": seed, "steps": 1000 * seed, **options}
        (path / "config.yaml").write_text(json.dumps(config))
        return Run(path=path, algo=algo, env=env, seed=seed, hash=str(sorted(options.items())))

    return run


def names(*runs, split=()):
    return {env: {name: len(found) for name, found in methods.items()} for env, methods in group(runs, split).items()}


def test_an_algorithm_with_one_configuration_keeps_its_name(make):
    runs = [make("ppo", 0), make("ppo", 1), make("mppi", 0), make("ppo", 0, env="racing")]
    assert names(*runs) == {"acrobot": {"ppo": 2, "mppi": 1}, "racing": {"ppo": 1}}


def test_a_schedule_beside_a_number_is_named_by_its_kind(make):
    falling = {"schedule": "inv", "initial": 0.3, "decay": 0.98}
    runs = [make(virtual_ratio=0.0), make(virtual_ratio=0.3), make(virtual_ratio=falling)]
    assert list(names(*runs)["acrobot"]) == [
        "adaptive_hrl (virtual_ratio=0.0)",
        "adaptive_hrl (virtual_ratio=0.3)",
        "adaptive_hrl (virtual_ratio=inv)",
    ]
    faster = {**falling, "decay": 0.9}
    assert list(names(make(virtual_ratio=0.3), make(virtual_ratio=falling), make(virtual_ratio=faster))["acrobot"]) == [
        "adaptive_hrl (virtual_ratio=0.3)",
        "adaptive_hrl (virtual_ratio=inv, virtual_ratio.decay=0.98)",
        "adaptive_hrl (virtual_ratio=inv, virtual_ratio.decay=0.9)",
    ]


def test_options_of_the_evaluation_name_a_method_only_if_nothing_else_does(make):
    runs = [make(kl_weight=0.0, eval={"every": 5}), make(kl_weight=1.0, eval={"every": 9})]
    assert list(names(*runs)["acrobot"]) == ["adaptive_hrl (kl_weight=0.0)", "adaptive_hrl (kl_weight=1.0)"]
    runs = [make(eval={"every": 5}), make(eval={"every": 9})]
    assert list(names(*runs)["acrobot"]) == ["adaptive_hrl (eval.every=5)", "adaptive_hrl (eval.every=9)"]


def test_differences_leave_out_what_changes_no_result(make):
    methods = {
        "a": [make(seed=0, algo_={}, wandb={"mode": "online"}, env_=1, planner={"horizon": 5, "samples": 8})],
        "b": [make(seed=1, wandb={"mode": "offline"}, env_=1, planner={"horizon": 9, "samples": 8}, extra="x")],
    }
    assert differences(methods) == {"planner.horizon": {"a": "5", "b": "9"}, "extra": {"b": "x"}}
    assert list(differences(methods)) == ["extra", "planner.horizon"]


def test_values_of_an_option_can_make_environments(make):
    runs = [make(env_mass=1.0), make(env_mass=1.3), make("ppo", env_mass=1.3), make(env="racing")]
    assert names(*runs, split=["env_mass"]) == {
        "acrobot (env_mass=1.0)": {"adaptive_hrl": 1},
        "acrobot (env_mass=1.3)": {"adaptive_hrl": 1, "ppo": 1},
        "racing": {"adaptive_hrl": 1},
    }
    with pytest.raises(UserError, match=r"--split env\.mas: no run has this option"):
        group(runs, ["env.mas"])


def test_the_same_seed_twice_in_a_folder_is_refused_with_both_paths(make):
    one, other = make(seed=3), make(seed=3)
    with pytest.raises(UserError, match=r".*0 and .*1 are the same seed 3 of adaptive_hrl: leave one out"):
        group([one, other])


def test_the_same_seeds_in_several_folders_are_methods_named_by_them(make, tmp_path):
    runs = [make(seed=seed, beta=beta) for beta, seed in ((1, 0), (1, 1), (1, 0), (1, 2), (2, 0))]
    places = ["here", "here", "there/again", "there/again", "here"]
    moved = [
        dataclasses.replace(run, path=tmp_path / place / run.path.name) for run, place in zip(runs, places, strict=True)
    ]
    for run, new in zip(runs, moved, strict=True):
        new.path.parent.mkdir(parents=True, exist_ok=True)
        run.path.rename(new.path)
    assert names(*moved)["acrobot"] == {
        "adaptive_hrl (beta=1, in here)": 2,
        "adaptive_hrl (beta=1, in there/again)": 2,
        "adaptive_hrl (beta=2)": 1,
    }


def test_runs_without_a_hash_are_told_apart_by_their_options(make):
    runs = [dataclasses.replace(make(seed=seed, backend=name), hash=None) for name in ("a", "b") for seed in (0, 1)]
    assert names(*runs)["acrobot"] == {"adaptive_hrl (backend=a)": 2, "adaptive_hrl (backend=b)": 2}
