"""Every algorithm runs, on every kind of environment, or explains in one line why it cannot.

What an environment can break is what all algorithms of a base class ask of it: its shapes, its tasks, its ends, its
repeated actions, its model. So one algorithm of each base class meets every environment, and every other one meets one
here and, if it has a class of its own, another one in tests/training/test_resume.py.
"""

import csv
import math
from itertools import count

import pytest
import torch
from small import ALGORITHMS, ENVIRONMENTS, LEARNED_PARTS, complete, config

from pompc import registry
from pompc.envs.dm_control import DMControl, DMControlConfig
from pompc.errors import UserError
from pompc.training.metric_names import METRICS

WITHOUT_MODEL = ("dmc/cartpole-swingup", "multitask", "gym/Pendulum-v1")
LEARNS_FROM_AN_EXPERT = ("imitate", "dagger", "plannetx", "trust_expert")
PLANS_ON_A_MODEL = ("adaptive_hrl", "hrl_mpc", "subgoal", "ac_mpc", "dtc", "mppi", "mpc_critic", *LEARNS_FROM_AN_EXPERT)
USERS = {"envbase", "metaworld"}
"""Families of environments that the user has, tested in tests/envs."""
KNOWN_MODEL = ("polo", "cacto", "mpq")
"""Off-policy systems on the explicit model."""
ADOPTING = ("adaptive_hrl", "subgoal", "dtc", "imitate", "tdmpc2")
"""One of every way to an explicit model with learned parts."""
OFF_POLICY = ("tdmpc2", "tdmpc_square", "bmpc", "pompc", "adaptive_pompc")
RELATIVES = {
    "boom": "dmc/cartpole-swingup",
    "gem_mpc": "acrobot",
    "awac": "multitask",
    "bc": "linear_system",
    "bc_sac": "gym/Pendulum-v1",
    "efficient_tdmpc": "acrobot",
    "tdmpc_square_late": "linear_system",
    "tdmpc_square_arc75": "gym/Pendulum-v1",
}
"""Off-policy algorithms and settings that differ from one above in a loss or a mean, each with one environment."""
ON_POLICY = tuple(
    name for name in ALGORITHMS if name not in (*OFF_POLICY, *RELATIVES, *KNOWN_MODEL, *LEARNS_FROM_AN_EXPERT)
)
WITH_MODEL = tuple(name for name in ENVIRONMENTS if name not in WITHOUT_MODEL)


SHORT = ("eval.at_start=false", "eval.episodes=1", "eval.every=1000")
"""One evaluation, after the last step."""


def cover(algorithms, environments, everywhere=()):
    """Pair the algorithms with the environments: those that are named with all, the others with one in turn."""
    turn, environments, pairs = count(), tuple(environments), []
    for algo in algorithms:
        met = environments if algo in everywhere else [environments[next(turn) % len(environments)]]
        pairs += [(algo, env) for env in met]
    return pairs


@pytest.fixture(autouse=True)
def _every_logged_name_has_a_meaning(tmp_path):
    """After every run of this file: the table of names is complete."""
    yield
    for table, group in {"metrics": "train", "eval": "eval", "timing": "time"}.items():
        for file in tmp_path.rglob(f"{table}.csv"):
            columns = set(file.read_text().partition("\n")[0].split(",")) - {"step", "seed", ""}
            assert {f"{group}/{name}" for name in columns} <= METRICS.keys()


def test_every_algorithm_and_environment_is_tested():
    assert ALGORITHMS.keys() == registry.ALGORITHMS.builtin.keys()
    families = registry.ENVIRONMENTS.builtin.keys() - USERS
    assert {name.partition("/")[0] for name in ENVIRONMENTS} == families


def test_the_registry_says_who_has_and_who_needs_an_explicit_model():
    """The runs below show that this is right."""
    needing = {name for name, entry in registry.ALGORITHMS.builtin.items() if entry.explicit_model}
    having = {name for name in ENVIRONMENTS if registry.ENVIRONMENTS[name.partition("/")[0]].explicit_model}
    assert needing == {*PLANS_ON_A_MODEL, *KNOWN_MODEL}
    assert having == ENVIRONMENTS.keys() - set(WITHOUT_MODEL)


@pytest.mark.parametrize(
    ("algo", "env"),
    [
        *cover([name for name in ON_POLICY if name not in PLANS_ON_A_MODEL], ENVIRONMENTS, ["ppo"]),
        *cover([name for name in ON_POLICY if name in PLANS_ON_A_MODEL], WITH_MODEL, ["adaptive_hrl"]),
    ],
)
def test_a_few_steps(algo, env, tmp_path):
    complete(config(tmp_path, algo, env, "steps=48", "algo.batch_size=16", *SHORT))
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [16, 32, 48]  # repeated actions count
    assert all(math.isfinite(float(row["reward"])) for row in rows)
    assert (tmp_path / "checkpoints" / "last.pt").exists()


@pytest.mark.parametrize(("algo", "env"), cover(PLANS_ON_A_MODEL, WITHOUT_MODEL, ["adaptive_hrl"]))
def test_an_algorithm_that_plans_on_a_model_is_refused_where_there_is_none(algo, env, tmp_path):
    with pytest.raises(
        UserError, match="has no explicit dynamics to plan with: take an algorithm that needs none"
    ) as error:
        complete(config(tmp_path, algo, env))
    assert "\n" not in str(error.value)
    assert "algo.model=learned" not in str(error.value)
    assert not (tmp_path / "metrics.csv").exists()


@pytest.mark.parametrize(("algo", "env"), [*cover(OFF_POLICY, ENVIRONMENTS, ["tdmpc2"]), *RELATIVES.items()])
def test_a_few_steps_of_the_off_policy_agents(algo, env, tmp_path):
    """A run makes random steps, then the burst of updates, then planned steps with an update each."""
    repeat = 2 if env.startswith("dmc/") else 1
    complete(config(tmp_path, algo, env, f"steps={48 * repeat}", *SHORT))
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [step * repeat for step in (8, 16, 24, 28, 32, 40, 48)]
    assert rows[0]["model_loss"] == ""
    for name in ("consistency_loss", "reward_loss", "value_loss", "policy_loss"):
        assert math.isfinite(float(rows[-1][name])), name
    assert torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)["training"]["updates"] == 10 + 10


@pytest.mark.parametrize(
    ("algo", "env"), [(algo, WITH_MODEL[i % len(WITH_MODEL)]) for i, algo in enumerate(OFF_POLICY)]
)
def test_a_few_steps_of_an_off_policy_agent_on_the_explicit_model(algo, env, tmp_path):
    """A finite lambda: the policy also learns from the return, for state values through the model's equations."""
    overrides = ("algo.model=known", "kl_weight=1.0", "virtual_ratio=0.5")
    complete(config(tmp_path, algo, env, *overrides, "steps=48", *SHORT))
    with open(tmp_path / "metrics.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    for name in ("value_loss", "virtual_loss", "policy_loss", "policy_grad_norm"):
        assert math.isfinite(float(last[name])), name
    assert "consistency_loss" not in last


@pytest.mark.parametrize(("algo", "env"), cover(KNOWN_MODEL, WITHOUT_MODEL))
def test_a_setting_on_the_explicit_model_is_refused_where_there_is_none(algo, env, tmp_path):
    with pytest.raises(UserError, match=r"^algo\.model=known: .* has no explicit dynamics to plan with") as error:
        complete(config(tmp_path, algo, env))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "metrics.csv").exists()


@pytest.mark.parametrize(("algo", "env"), cover(KNOWN_MODEL, WITH_MODEL))
def test_a_few_steps_of_the_settings_on_the_explicit_model(algo, env, tmp_path):
    complete(config(tmp_path, algo, env, "steps=48", *SHORT))
    with open(tmp_path / "metrics.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert math.isfinite(float(last["blend" if algo == "mpq" else "virtual_loss"]))
    assert torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)["training"]["updates"] == 10 + 10


@pytest.mark.parametrize(
    ("algo", "env"), [*(("mppi", env) for env in WITH_MODEL), *((algo, "linear_system") for algo in ADOPTING)]
)
def test_a_few_steps_with_learned_parts_of_the_explicit_model(algo, env, tmp_path):
    complete(config(tmp_path, algo, env, *LEARNED_PARTS, "steps=64", *SHORT))
    with open(tmp_path / "metrics.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    for name in ("residual_loss", "margin_loss", "margin_refused"):
        assert math.isfinite(float(last[name])), name


@pytest.mark.parametrize(("algo", "env"), cover(LEARNS_FROM_AN_EXPERT, WITH_MODEL, ["imitate"]))
def test_a_few_steps_of_an_algorithm_that_learns_from_an_expert(algo, env, tmp_path):
    complete(config(tmp_path, algo, env, "steps=64", *SHORT))
    with open(tmp_path / "metrics.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert int(last["step"]) == 64
    for name in ("policy_loss", "policy_grad_norm"):
        assert math.isfinite(float(last[name])), name
    assert 0 <= float(last.get("expert_share", 0)) <= 1
    assert int(float(last["updates"])) > 0


@pytest.fixture
def _rendering():
    try:
        DMControl(DMControlConfig(pixels=True)).make().close()
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("_rendering")
def test_off_policy_agents_learn_from_pixels(tmp_path):
    overrides = ("env.pixels=true", "env.action_repeat=2", "algo.buffer_size=200", "algo.seed_steps=26", "steps=72")
    complete(config(tmp_path, "tdmpc2", "dmc/cartpole-swingup", *overrides, *SHORT))
    state = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)
    assert state["training"]["replay"]["slots"]["observation"].dtype == torch.uint8
    assert state["training"]["updates"] > 10
    assert all(torch.isfinite(value).all() for value in state["agent"].values())


@pytest.mark.usefixtures("_rendering")
def test_the_other_algorithms_refuse_pixels(tmp_path):
    with pytest.raises(
        UserError, match=r"ppo learns from flat observations, not from images \(9, 64, 64\): take one of"
    ):
        complete(config(tmp_path, "ppo", "dmc/cartpole-swingup", "env.pixels=true"))
