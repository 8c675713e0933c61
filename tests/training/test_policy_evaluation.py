"""``eval.policy=true``: evaluations and videos act by the bare policy, and training does not notice."""

from pathlib import Path

import pytest
import torch
from small import ALGORITHMS, complete, config, differences, final_state
from tensordict import TensorDict

from pompc import cli
from pompc.errors import UserError
from pompc.training.assemble import assemble
from pompc.training.evaluate import evaluate
from pompc.training.play import evaluate_checkpoint
from pompc.training.video import record_episode

WITHOUT_POLICY = ("mppi", "adaptive_hrl")


def made(algo: str, env: str, *overrides: str):
    torch.manual_seed(0)
    return assemble(config(Path("unused"), algo, env, *overrides))


def first_step(agent, env):
    """Reset the environment of an assembly, with what the agent carries."""
    td = env.reset()
    td["is_init"] = torch.ones(len(td), 1, dtype=torch.bool)
    carried = {name: torch.rand(len(td), *spec.shape) for name, spec in agent.primers().items()}
    return td.update(TensorDict(carried, batch_size=[len(td)]))


@pytest.mark.parametrize("env", ["acrobot", "multitask"])
def test_an_off_policy_agent_takes_its_policys_mean_without_a_plan(env):
    parts = made("tdmpc2", env, "eval.policy=true")
    agent, td = parts.agent, first_step(parts.agent, parts.env)
    sample = agent.policy.sample(agent.encode(td["observation"]))
    acted = agent(td.clone())
    expected = agent.policy.action(sample.mean)
    if env == "multitask":
        expected = expected * agent.model.tasks.action_masks[td["observation"][:, -1].long()]
    assert torch.equal(acted["action"], expected)
    assert agent.model_steps == 0
    assert torch.equal(acted["next", "planner_mean"], td["planner_mean"])  # carried, not used
    assert agent.overlay(acted) is None


def test_without_the_option_the_planner_acts():
    parts = made("tdmpc2", "acrobot")
    evaluated = parts.agent(first_step(parts.agent, parts.env))
    assert parts.agent.model_steps > 0
    assert not torch.equal(evaluated["next", "planner_mean"], torch.zeros_like(evaluated["planner_mean"]))


def test_ppo_is_evaluated_as_always():
    results = []
    for overrides in ((), ("eval.policy=true",)):
        parts = made("ppo", "acrobot", *overrides)
        results.append(evaluate(parts.agent, parts.family, episodes=2, seed=1, noise_seed=2).episodes)
    assert differences(*results) == []


def test_training_is_not_disturbed_and_pompc_eval_takes_the_option_too(tmp_path, capsys):
    planned, bare = (
        complete(config(tmp_path / name, "tdmpc2", "linear_system", "steps=48", f"eval.policy={name}"))
        for name in ("false", "true")
    )
    assert (planned / "metrics.csv").read_bytes() == (bare / "metrics.csv").read_bytes()
    assert (planned / "eval.csv").read_bytes() != (bare / "eval.csv").read_bytes()
    states = [final_state(directory) for directory in (planned, bare)]
    for state in states:
        del state["manifest"], state["counters"]["best"]
    assert differences(*states) == []
    tables = []
    for arguments in ([planned], [planned, "eval.policy=true"], [bare]):
        capsys.readouterr()
        assert cli.main(["eval", *map(str, arguments), "--episodes", "1"]) == 0
        tables.append(capsys.readouterr().out.partition("\n")[2])  # without the title, which names the file
    assert tables[0] != tables[1] == tables[2]


def test_a_video_too_shows_the_policy(tmp_path, monkeypatch):
    parts = made("tdmpc2", "acrobot", "eval.policy=true", "env.time_limit=3")
    monkeypatch.setattr(parts.agent.planner, "plan", lambda *_, **__: pytest.fail("a plan was made"))
    record_episode(parts.agent, parts.family, tmp_path / "film.mp4", seed=0)
    assert (tmp_path / "film.mp4").stat().st_size > 0


@pytest.mark.parametrize("algo", WITHOUT_POLICY)
def test_an_agent_without_a_policy_over_actions_refuses_before_anything_is_collected(algo, tmp_path, capsys):
    small = [text for text in ALGORITHMS[algo] if text.startswith("planner")]
    arguments = ["--algo", algo, "--env", "acrobot", "eval.policy=true", f"run_dir={tmp_path}", *small]
    assert cli.main(["run", *arguments]) == 2
    said = capsys.readouterr().err
    assert f"eval.policy=true is not applicable to {algo}" in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "metrics.csv").exists()


def test_pompc_eval_refuses_it_in_the_same_words(tmp_path):
    directory = complete(config(tmp_path, "mppi", "acrobot", "steps=32"))
    with pytest.raises(UserError, match=r"eval\.policy=true is not applicable to mppi"):
        evaluate_checkpoint(directory, overrides=["eval.policy=true"])
