"""The safety filter of the agents: what the environment gets, what is learned from, what is reported, who is refused."""

import csv
import warnings
from pathlib import Path

import pytest
import torch
from line import LineModel
from small import ALGORITHMS, complete, config, differences, final_state
from tensordict import TensorDict

from pompc import cli
from pompc.config.filter_options import FilterConfig
from pompc.data.collector import make_collector
from pompc.dials import AgentConfig
from pompc.envs.linear import LinearConfig
from pompc.errors import UserError
from pompc.filter import FILTERED, SafetyFilter, make_filter
from pompc.problem import Problem
from pompc.registry import ALGORITHMS as REGISTERED
from pompc.registry import ENVIRONMENTS
from pompc.training.assemble import assemble
from pompc.training.evaluate import evaluate
from pompc.training.video import record_episode

NARROW = ("env.disturbance=0", "env.start=[0.4, 0.1]", "env.start_range=0.05")
FILTER = (*NARROW, "filter.enabled=true", "filter.horizon=8", "filter.samples=4", "filter.tighten=1e-4")
BOTH = (*FILTER, "filter.train=true")
MEASURES = ("corrected", "feasible", "correction", "margin")


def made(algo, *overrides, env="linear_system"):
    torch.manual_seed(0)
    return assemble(config(Path("unused"), algo, env, *overrides))


def rows(file: Path) -> list[dict[str, str]]:
    with open(file, newline="") as text:
        return list(csv.DictReader(text))


def push_outwards(agent, monkeypatch):
    """Let the agent's decision be full control, whatever it planned."""
    act = agent.act

    def pushed(tensordict, explore):
        return act(tensordict, explore).set("action", torch.ones(len(tensordict), 1))

    monkeypatch.setattr(agent, "act", pushed)


def safety(model=None, **options):
    model = model or ENVIRONMENTS.resolve("linear_system")(LinearConfig(disturbance=0.0)).task_model()
    return SafetyFilter(FilterConfig(enabled=True, **options), model, 1, torch.device("cpu"))


def test_a_number_that_is_not_finite_passes_so_that_the_step_stops_the_run():
    filtered = safety()
    step = {"observation": torch.zeros(2, 2) + 0.3, "is_init": torch.ones(2, 1, dtype=torch.bool)}
    zero = {name: spec.zero(torch.Size([2])) for name, spec in filtered.primers().items()}
    action = torch.tensor([[float("nan")], [0.1]])
    after = filtered(TensorDict({**step, **zero, "action": action}, batch_size=[2]), explore=False)
    assert after["action"][0].isnan()
    assert after["action"][1].isfinite()


@pytest.mark.parametrize(("key", "value"), [("train", True), ("tighten", 0.1)])
def test_an_option_of_a_filter_that_is_off_is_refused(key, value):
    with pytest.raises(UserError, match=f"filter.{key} has no effect without filter.enabled=true: add it"):
        AgentConfig(filter=FilterConfig(**{key: value}))


def test_a_task_without_anything_to_keep_away_from_is_told():
    with pytest.warns(UserWarning, match="has nothing to keep away from, so filter.enabled=true changes no action"):
        made("ppo", "filter.enabled=true", "filter.horizon=2", env="acrobot")


CLASSES = {algo: REGISTERED.resolve(algo) for algo in ALGORITHMS}
ONE_OF_EACH = sorted({(cls.act, cls.learn): algo for algo, cls in CLASSES.items()}.values())
"""One algorithm of every way to act and to learn."""


@pytest.mark.parametrize("algo", ONE_OF_EACH)
def test_the_filter_of_every_kind_of_agent_keeps_the_bounds_while_collecting_and_in_evaluations(algo, monkeypatch):
    parts = made(algo, *BOTH, "env.time_limit=20")
    push_outwards(parts.agent, monkeypatch)
    collector = make_collector(parts.env, parts.agent, 40)
    data = collector.rollout()
    assert (data["next", "cost"] == 0).all()
    assert (data[FILTERED, "feasible"] == 1).all()
    assert 0 < data[FILTERED, "corrected"].mean() < 1
    distance = (data["action"] - 1.0).abs()
    assert torch.equal(data[FILTERED, "correction"], distance)
    assert torch.equal(data[FILTERED, "corrected"], (distance > 0).float())
    parts.agent.learn(data)  # the additional entries are in nobody's way
    result = evaluate(parts.agent, parts.family, episodes=1, seed=1, noise_seed=2)
    for episode in result.episodes:
        assert episode["cost"] == 0
        assert episode["feasible"] == 1
        assert 0 < episode["corrected"] < 1
        assert episode["margin"] >= 1e-4
        assert 0 <= episode["margin_error"] < 1e-6  # the model is exact up to float32


def test_without_a_filter_the_same_decisions_leave_the_bounds(monkeypatch):
    """Of one agent, because the decisions are not its own."""
    free = made("ppo", *NARROW, "env.time_limit=20")
    push_outwards(free.agent, monkeypatch)
    assert make_collector(free.env, free.agent, 40).rollout()["next", "cost"].mean() > 0.5


def test_the_policy_learns_from_its_proposal_and_the_environment_gets_the_certified_action(monkeypatch):
    parts = made("ppo", *BOTH)
    monkeypatch.setattr(parts.agent.actor.log_std, "data", torch.full_like(parts.agent.actor.log_std, 1.0))
    data = make_collector(parts.env, parts.agent, 64).rollout()
    proposed = data["policy_action"].clamp(-1, 1)
    changed = data[FILTERED, "corrected"] > 0
    assert changed.any()
    assert torch.equal(data["action"][~changed], proposed[~changed])
    assert (data["action"][changed] != proposed[changed]).all()
    mean, std = parts.agent.actor(parts.agent.normaliser(data["observation"]))
    expected = torch.distributions.Normal(mean, std).log_prob(data["policy_action"]).sum(-1)
    torch.testing.assert_close(data["log_prob"], expected)


def test_the_replay_keeps_the_executed_action():
    parts = made("tdmpc2", *BOTH)
    data = make_collector(parts.env, parts.agent, 16).rollout()
    assert (data[FILTERED, "corrected"] > 0).any()
    parts.agent.replay.extend(data)
    kept = parts.agent.replay.state_dict()["slots"]["action"]
    assert torch.equal(kept[: data.numel()].sort(0).values, data["action"].flatten(0, 1).sort(0).values)


def test_a_filter_of_evaluations_alone_is_unknown_to_the_training(tmp_path):
    without = complete(config(tmp_path / "without", "ppo", "linear_system", *NARROW, "steps=64"))
    evaluated = complete(config(tmp_path / "with", "ppo", "linear_system", *FILTER, "steps=64"))
    assert (without / "metrics.csv").read_bytes() == (evaluated / "metrics.csv").read_bytes()
    states = [final_state(directory) for directory in (without, evaluated)]
    carried = states[1]["collector"]["carrier"]
    assert not carried.pop("filter_backup").any()
    for state in states:
        del state["manifest"], state["counters"]["best"]
    assert differences(*states) == []
    assert not set(MEASURES) & rows(without / "eval.csv")[0].keys()
    assert set(MEASURES) < rows(evaluated / "eval.csv")[0].keys()


def test_a_filter_that_trains_is_in_all_files(tmp_path):
    directory = complete(config(tmp_path, "ppo", "linear_system", *BOTH, "steps=64"))
    for name in ("metrics.csv", "eval.csv", "eval_episodes.csv"):
        for row in rows(directory / name):
            assert 0 <= float(row["corrected"]) <= 1
            assert float(row["feasible"]) == 1
            assert float(row["margin"]) >= 1e-4
            assert float(row["correction"]) >= 0


def test_the_bare_policy_is_filtered_too():
    parts = made("tdmpc2", *FILTER, "eval.policy=true")
    episode = evaluate(parts.agent, parts.family, episodes=1, seed=1, noise_seed=2).episodes[0]
    assert parts.agent.model_steps == 0
    assert episode["cost"] == 0
    assert episode["feasible"] == 1


def test_an_evaluation_with_the_filter_is_the_same_every_time():
    parts = made("mppi", *FILTER)
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        results.append(evaluate(parts.agent, parts.family, episodes=2, seed=5, noise_seed=3).episodes)
    assert differences(*results) == []


def test_a_video_is_filtered(tmp_path, monkeypatch):
    parts = made("ppo", *FILTER, "env.time_limit=10")
    push_outwards(parts.agent, monkeypatch)
    summary = record_episode(parts.agent, parts.family, tmp_path / "film.mp4", seed=0)
    assert summary["cost"] == 0
    assert summary["success"] == 1


def test_pompc_eval_filters_a_finished_run(tmp_path, capsys):
    directory = complete(config(tmp_path, "ppo", "linear_system", *NARROW, "steps=32"))
    assert cli.main(["eval", str(directory), "--episodes", "1", *FILTER]) == 0
    said = capsys.readouterr().out
    for name in (*MEASURES, "margin_error"):
        assert name in said


def test_a_start_without_a_manoeuvre_to_safety_is_said_once_in_one_line():
    parts = made("ppo", *FILTER, "env.start=[-2.0, 0.0]")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            evaluate(parts.agent, parts.family, episodes=2, seed=1, noise_seed=2)
    said = [str(warning.message) for warning in caught if "manoeuvre" in str(warning.message)]
    assert len(said) == 1
    assert "no manoeuvre to safety from the start of 2 of 2 episodes" in said[0]
    assert "filter.horizon" in said[0]
    assert "\n" not in said[0]


def test_the_margin_error_is_what_the_model_promised_too_much():
    """The environment's disturbance pushes the first state down by up to 0.1, towards its lower bound."""
    parts = made("ppo", *FILTER[1:], "env.disturbance=0.1", "env.start=[0.6, 0.1]")
    td = make_collector(parts.env, parts.agent, 40).rollout()
    model = parts.agent.filter.model
    drift = model.step(td["observation"], td["action"])[..., 0] - td["next", "observation"][..., 0]
    error = parts.agent.filter.margin_error(td)
    torch.testing.assert_close(error, drift.clamp(min=0.0), atol=1e-6, rtol=0)
    assert 0.08 < error.max() < 0.1


# -- refusals --------------------------------------------------------------------------------------------------------


class Margins(LineModel):
    """The line with a wall at 2."""

    def margins(self, state, action, next_state):
        return 2.0 - next_state.abs()


class Stopping(Margins):
    """It can stand still anywhere."""

    def brake(self, state):
        return torch.zeros_like(state)

    def at_rest(self, state):
        return torch.ones_like(state[..., 0], dtype=torch.bool)


class WrongShape(Stopping):
    """Its terminal set has a dimension too many."""

    def at_rest(self, state):
        return torch.ones_like(state, dtype=torch.bool)


class WrongMargins(Stopping):
    """Its margins lack the dimension of the constraints."""

    def margins(self, state, action, next_state):
        return 2.0 - next_state.abs().squeeze(-1)


def problem(model, **options):
    return Problem(observation_dim=1, action_dim=1, num_envs=2, task_model=model, device=torch.device("cpu"), **options)


def test_a_family_with_the_three_methods_is_enough():
    safety = make_filter(FilterConfig(enabled=True, horizon=3), problem(Stopping))
    assert isinstance(safety, SafetyFilter)
    td = TensorDict(
        {
            "observation": torch.tensor([[0.0], [1.9]]),
            "is_init": torch.ones(2, 1, dtype=torch.bool),
            "action": torch.ones(2, 1),
            "filter_backup": torch.zeros(2, 3, 1),
        },
        batch_size=[2],
    )
    found = safety(td, explore=False)
    assert found["action"][0] == 1
    assert found["action"][1] <= 0.2 + 1e-6
    assert make_filter(FilterConfig(), problem(Stopping)) is None


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (LineModel, "LineModel has no margins"),
        (Margins, "Margins has no braking manoeuvre"),
        (WrongMargins, r"WrongMargins\.margins returned the shape \[1\] where \[1, constraints\] is needed"),
        (WrongShape, r"WrongShape\.at_rest returned the shape \[1, 1\] where \[1\] is needed"),
    ],
)
def test_a_model_that_lacks_something_is_refused_in_one_line(model, said):
    with pytest.raises(UserError, match=said) as error:
        make_filter(FilterConfig(enabled=True), problem(model))
    assert "\n" not in str(error.value)


def test_pictures_are_refused():
    with pytest.raises(UserError, match="not pictures"):
        make_filter(FilterConfig(enabled=True), problem(Stopping, image_shape=(3, 64, 64)))


@pytest.mark.parametrize("env", ["gym/Pendulum-v1", "multitask"])
def test_an_environment_without_an_explicit_model_is_refused_before_anything_is_collected(env, tmp_path, capsys):
    arguments = ["--algo", "ppo", "--env", env, "filter.enabled=true", f"run_dir={tmp_path}", "num_envs=10"]
    assert cli.main(["run", *arguments]) == 2
    said = capsys.readouterr().err
    assert "has no explicit dynamics to plan with: filter.enabled=true needs an environment that has them" in said
    assert "linear_system" in said
    assert not (tmp_path / "metrics.csv").exists()


def test_bounds_that_nothing_can_keep_are_refused_before_anything_is_collected(tmp_path):
    with pytest.raises(UserError, match="no control holds the linear system"):
        complete(config(tmp_path, "ppo", "linear_system", *FILTER, "env.low=[5, 0.5]", "env.high=[6, 1]"))
