"""``pompc finetune``: a run that begins with the weights of another one, and is a normal run from then on."""

import shutil

import pytest
import small
import torch

import pompc
from pompc import cli
from pompc.config.compose import with_overrides
from pompc.config.spec import configure, resolve
from pompc.errors import UserError
from pompc.training import checkpoint, finetune_command
from pompc.training.directory import RunDirectory
from pompc.training.loaded import LoadedAgent
from pompc.training.opening import open_checkpoint
from pompc.training.session import Session

RUN = ("steps=32", "num_envs=2", "eval.every=64", "eval.episodes=1", "eval.video=false", "wandb.mode=disabled")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    spec = small.config(tmp_path_factory.mktemp("source"), "tdmpc2", "linear_system", "eval.diagnose=false")
    return small.complete(spec)


def session(source, directory, env, *overrides):
    """Start a run that begins with the weights of ``source``."""
    known = checkpoint.load(source / "checkpoints" / "last.pt")["config"]
    values = finetune_command.composed(known, env)
    values["finetune"] = {"source": str(source), "task": None}
    spec = resolve(with_overrides(values, [*RUN, f"run_dir={directory}", *overrides]))
    return Session(spec, RunDirectory(directory))


def test_the_options_of_the_algorithm_go_along_and_those_of_the_run_do_not(source):
    known = checkpoint.load(source / "checkpoints" / "last.pt")["config"]
    values = finetune_command.composed(known, "acrobot")
    plain = configure("tdmpc2", "acrobot").values
    assert values["algo"]["latent_dim"] == known["algo"]["latent_dim"] != plain["algo"]["latent_dim"]
    assert values["planner"] == known["planner"]
    assert values["env"] == plain["env"]
    assert values["steps"] == plain["steps"] != known["steps"]


def test_the_same_sizes_keep_every_weight_and_the_agent_acts_from_the_first_step(source, tmp_path):
    begun = session(source, tmp_path, "linear_system")
    begun.close()
    kept = checkpoint.load(source / "checkpoints" / "last.pt")["agent"]
    assert small.differences(dict(begun.agent.state_dict()), kept) == []
    assert begun.transferred[1].startswith("kept: ")
    assert begun.transferred[-1] == "acts from the first step: every weight is kept"
    assert begun.agent.budget.begun
    assert (begun.counters.step, begun.agent.updates) == (0, 0)


def test_other_sizes_leave_the_seed_phase(source, tmp_path):
    begun = session(source, tmp_path, "acrobot")
    begun.close()
    assert any(line.startswith("new: model.encoder (1)") for line in begun.transferred)
    assert not begun.agent.budget.begun


def test_it_is_a_normal_run_that_the_same_command_resumes(source, tmp_path, capsys):
    small_env = ("env.time_limit=12", f"run_dir={tmp_path}")
    arguments = ["finetune", str(source), "--env", "linear_system", *RUN, *small_env]
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    assert f"weights of {source}/checkpoints/last.pt, step 128\nkept: model.encoder" in said
    state = checkpoint.load(tmp_path / "checkpoints" / "last.pt")
    assert state["config"]["finetune"]["source"] == str(source)
    assert state["training"]["updates"] > 0
    assert cli.main(arguments) == 0
    assert "is finished (32 steps)" in capsys.readouterr().out
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path, moved, ignore=lambda *_: ["elsewhere"])
    assert open_checkpoint(moved / "checkpoints" / "last.pt").parts.agent.updates == state["training"]["updates"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "acrobot", "--task", "walker-walk"], "finetune.task=walker-walk: there is no task to choose"),
        ([], "the following arguments are required: --env"),
    ],
)
def test_what_does_not_fit_is_one_line(arguments, message, source, tmp_path, capsys):
    code = cli.main(["finetune", str(source), *arguments, *RUN, f"run_dir={tmp_path}"])
    said = capsys.readouterr()
    assert code == 2
    assert message in said.err
    assert said.err.count("\n") == 1


def test_a_run_on_several_tasks_goes_on_with_the_one_of_the_environments_name(tmp_path):
    many = small.complete(small.config(tmp_path / "many", "tdmpc2", "multitask", "steps=64", "eval.diagnose=false"))
    begun = session(many, tmp_path / "one", "dmc/cartpole-swingup")
    begun.close()
    assert begun.transferred[1] == "task: cartpole-swingup, its vector is part of the weights now"
    seen = torch.randn(3, 5)
    padded = torch.cat([seen, torch.zeros(3, 4)], -1)  # cup-catch observes 8 numbers; task 0
    expected = pompc.load(many, policy=True).act(padded)
    begun.agent.policy_alone = True
    found = LoadedAgent(begun.agent, begun.spec, seed=0).act(seen)
    torch.testing.assert_close(found, expected[:, :1])
    with pytest.raises(
        UserError, match=r"has not learned walker-walk; finetune\.task names one of cartpole-swingup, cup-"
    ):
        session(many, tmp_path / "other", "dmc/walker-walk")


def test_another_algorithm_is_refused(source, tmp_path):
    values = configure("ppo", "linear_system", [*RUN, f"finetune.source={source}", f"run_dir={tmp_path}"])
    with pytest.raises(UserError, match="is of tdmpc2, the run of ppo"):
        Session(values, RunDirectory(tmp_path))


def test_a_task_without_a_source_is_refused():
    with pytest.raises(UserError, match=r"finetune\.task names a task of finetune\.source"):
        configure("ppo", "acrobot", ["finetune.task=walker-walk"])
