"""Environments and machines of ordinary users: endless episodes, nothing to learn from, a missing display."""

import csv
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import gymnasium
import pytest
import small
import tiny
from small import config, environment
from toy import LIMIT, Toy, toy_config

from pompc import cli
from pompc.system.graphics import import_with_or_without_gl
from pompc.training.assemble import assemble
from pompc.training.evaluate import evaluate
from pompc.training.run import run

CASES = Path(__file__).parents[1] / "cases" / "environments"
SHORT = ("steps=300", "num_envs=2", "algo.batch_size=100", "algo.minibatch_size=50", "algo.epochs=2")
LATENT = (
    *("steps=300", "num_envs=2", "algo.model_size=1", "algo.batch_size=16", "algo.seed_steps=100"),
    *("algo.pretrain_updates=5", "algo.update_to_data=0.1", "algo.num_proposals=4", "planner.num_samples=32"),
    *("planner.num_elites=8", "planner.num_iterations=2"),
)
NOTEBOOK = "module://matplotlib_inline.backend_inline"  # as Jupyter sets it
EVALUATION = ("eval.every=200", "eval.episodes=2", "eval.video=false", "wandb.mode=disabled")


@pytest.fixture
def start(monkeypatch, tmp_path, capsys):
    """A run on one of the cases, all of which register the same id; what it printed."""

    def start(name, algo, *options):
        monkeypatch.delitem(sys.modules, name, raising=False)
        gymnasium.registry.pop("Case-v0", None)
        monkeypatch.syspath_prepend(str(CASES))
        command = ["run", "--algo", algo, "--env", f"{name}:Case-v0", *EVALUATION, f"run_dir={tmp_path}", *options]
        assert cli.main(command) == 0
        return capsys.readouterr().out.splitlines()

    yield start
    gymnasium.registry.pop("Case-v0", None)


def rows(file: Path) -> list[dict[str, str]]:
    with open(file, newline="") as handle:
        return list(csv.DictReader(handle))


def test_episodes_without_end_are_cut_counted_and_announced(start, tmp_path):
    with pytest.warns(UserWarning, match=r"no time limit .* cut after 60 environment steps \(eval.max_steps\)") as said:
        out = start("no_time_limit", "ppo", *SHORT, "eval.max_steps=60")
    assert len([one for one in said if "no time limit" in str(one.message)]) == 1
    evaluations = [line for line in out if "evaluation: " in line]
    assert len(evaluations) == 3
    assert all(line.endswith("length 60  2 of 2 episodes cut (eval.max_steps)") for line in evaluations)
    assert {(row["length"], row["cut"]) for row in rows(tmp_path / "eval_episodes.csv")} == {("60.0", "1.0")}
    assert {row["cut"] for row in rows(tmp_path / "eval.csv")} == {"1.0"}
    assert cli.main(["eval", str(tmp_path), "--episodes", "3"]) == 0


def test_what_was_cut_is_said_by_pompc_eval_too(start, tmp_path, capsys):
    with pytest.warns(UserWarning, match="no time limit"):
        start("no_time_limit", "ppo", *SHORT, "eval.max_steps=60", "steps=100")
    assert cli.main(["eval", str(tmp_path), "--episodes", "3", "eval.max_steps=30"]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == "3 of 3 episodes cut (eval.max_steps): their returns are of the steps until there"


def test_an_environment_that_ends_its_own_episodes_is_evaluated_to_their_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("toy.Point.episode_length", None)
    made = assemble(toy_config(tmp_path))
    result = evaluate(made.agent, made.family, episodes=3, seed=4, noise_seed=3)
    assert set(result.column("length")) <= {LIMIT, LIMIT - 3}
    assert set(result.column("cut")) == {0.0}
    assert result.cut == ""
    some = evaluate(made.agent, made.family, episodes=3, seed=4, noise_seed=3, max_steps=LIMIT - 1)
    assert sum(some.column("cut")) == sum(result.column("length") == LIMIT) > 0


def test_the_limit_counts_environment_steps_and_a_known_one_needs_none():
    made = assemble(config(Path("unused"), "ppo", "lunar_lander", "env.action_repeat=4", "env.time_limit=40"))
    whole = evaluate(made.agent, made.family, episodes=2, seed=4, noise_seed=3)
    assert "cut" not in whole.episodes[0]
    part = evaluate(made.agent, made.family, episodes=2, seed=4, noise_seed=3, max_steps=10)
    assert set(part.column("length")) == {3}
    assert set(part.column("cut")) == {1.0}


@pytest.mark.parametrize("algo", ["tdmpc2", "bmpc"])
def test_a_run_that_learned_nothing_says_so_and_why(algo, start, tmp_path):
    out = start("one_step_episodes", algo, *LATENT)
    assert out[-1] == (
        "finished, but nothing was learned: in 300 transitions no episode of at least 3 steps has ended; lower "
        "algo.sequence (null: planner.horizon), or, if episodes do not end, give the environment a time limit: "
        f"{tmp_path / 'eval.csv'}"
    )


def test_the_advice_helps(start, tmp_path):
    out = start("one_step_episodes", "tdmpc2", *LATENT, "planner.horizon=1")
    assert out[-1] == f"finished: {tmp_path / 'eval.csv'}"


def test_ppo_learns_from_episodes_of_one_step(start, tmp_path):
    out = start("one_step_episodes", "ppo", *SHORT)
    assert out[-1] == f"finished: {tmp_path / 'eval.csv'}"


@pytest.mark.parametrize("algo", ["ppo", "adaptive_hrl", "mppi"])
def test_a_run_shorter_than_a_batch_makes_its_update_all_the_same(algo, tmp_path, capsys):
    assert run(config(tmp_path, algo, "acrobot", "steps=2", "eval.episodes=1", "eval.at_start=false")) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"finished: {tmp_path / 'eval.csv'}"
    assert small.final_state(tmp_path)["training"]["updates"] == 1


@pytest.mark.parametrize(
    ("options", "steps", "reason"),
    [
        ({"seed_steps": 500}, 11, "all 22 transitions were of the seed phase (algo.seed_steps, here 500); raise steps"),
        (
            {"seed_steps": 10, "pretrain_updates": 0, "update_to_data": 1e-3},
            15,
            "before the first update was due; raise",
        ),
        ({"seed_steps": 10}, 15, None),
    ],
)
def test_an_off_policy_agent_says_why_it_has_learned_nothing(options, steps, reason):
    agent = tiny.agent(**options)
    tiny.World(agent).run(steps)
    said = agent.idle_reason()
    assert said is None if reason is None else reason in said


def test_an_agent_of_another_kind_says_it_too(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Toy, "learn", lambda self, data: {"loss": 0.0})
    assert run(toy_config(tmp_path, "steps=32")) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == f"finished, but nothing was learned: no update was made: {tmp_path / 'eval.csv'}"


def python(code: str, **variables: str) -> list[str]:
    """The lines that a new interpreter prints."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env={**environment(), **variables}, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        (NOTEBOOK, NOTEBOOK if find_spec("matplotlib_inline") else "None"),
        ("no such thing", "None"),
        ("svg", "svg"),  # what matplotlib has is obeyed
        ("", "None"),
    ],
)
def test_no_window_is_needed_to_draw_a_curve(given, chosen):
    code = (
        "import os, pompc.report.curves, matplotlib;"
        "print(matplotlib.get_backend(auto_select=False)); print(os.environ['MPLBACKEND'])"
    )
    assert python(code, MPLBACKEND=given) == [chosen, given]


def test_a_graphics_back_end_that_cannot_be_loaded_costs_pictures_alone(tmp_path):
    """One without its library; one that does not exist comes to the same code, which the next test shows."""
    run_dir = tmp_path / "run"
    options = [*SHORT, *EVALUATION, "env.episode_frames=20", f"run_dir={run_dir}", "eval.at_start=false"]
    code = f"""
import os, sys, warnings
from pompc.cli import main
code = main(["run", "--algo", "ppo", "--env", "dmc/cartpole-swingup", *{options!r}])
print(code, os.environ["MUJOCO_GL"])
"""
    assert python(code, MUJOCO_GL="osmesa")[-1] == "0 osmesa"
    assert (run_dir / "eval.csv").exists()


def test_pictures_that_were_asked_for_say_what_is_missing(tmp_path):
    code = """
from pompc.system.graphics import import_with_or_without_gl
import_with_or_without_gl("mujoco")
from pompc.envs.dm_control import DMControl, DMControlConfig
from pompc.errors import UserError
family = DMControl(DMControlConfig(pixels=True))
try:
    family.make()
except UserError as error:
    print(error)
DMControl(DMControlConfig()).make().close()
"""
    (said,) = python(code, MUJOCO_GL="nonsense")
    assert said.startswith("MuJoCo cannot render here (MUJOCO_GL=nonsense): ")


def test_a_package_that_is_missing_is_not_tried_twice():
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        import_with_or_without_gl("no_such_package.part")
