"""A fault stops a run and names its cause, its step and its evidence, or is one line for the user."""

import csv
import json
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small import assert_same, complete, config, drawing, final_state
from toy import Point, PointEnv, Toy, register, toy_config

from pompc import cli
from pompc.config.spec import configure
from pompc.data.collector import ActionBoundsError, ResumableCollector
from pompc.errors import NonFiniteError, Unavailable, UserError
from pompc.planner.scoring import Scorer
from pompc.system import locking
from pompc.training import evaluate, session
from pompc.training.run import run

SHORT = ("steps=160", "eval.every=1000")


def spoil_step(monkeypatch, key: str, value: float, at: int) -> None:
    """Environment 2 of the training's four gives ``value`` for ``key`` in its step number ``at``."""
    step, calls = PointEnv._step, [0]

    def spoiled(self, td):
        result = step(self, td)
        if self.batch_size[0] == 4:
            calls[0] += 1
            if calls[0] == at:
                result[key][2, -1] = value
        return result

    monkeypatch.setattr(PointEnv, "_step", spoiled)


def spoil_agent(monkeypatch, method: str, change: Callable[[Any], Any]) -> None:
    """Replace what a method of the toy returns in its sixth call by a training (evaluation acts in eval mode)."""
    original, calls = getattr(Toy, method), [0]

    def spoiled(self, td, *rest):
        result = original(self, td, *rest)
        calls[0] += self.training
        return change(result) if self.training and calls[0] == 6 else result

    monkeypatch.setattr(Toy, method, spoiled)


def with_action(value: float) -> Callable[[Any], Any]:
    def change(td):
        td["action"][1] = value
        return td

    return change


NAN, INF = float("nan"), float("inf")
# What is spoiled, how, the error, the name in it, and the step at which the iteration began: batches have 16 steps, 4 per
# environment.
FAULTS = [
    ("observation", lambda patch: spoil_step(patch, "observation", NAN, 10), NonFiniteError, "observation", 32),
    ("observation inf", lambda patch: spoil_step(patch, "observation", INF, 3), NonFiniteError, "observation", 0),
    ("reward", lambda patch: spoil_step(patch, "reward", -INF, 10), NonFiniteError, "reward", 32),
    ("action", lambda patch: spoil_agent(patch, "act", with_action(NAN)), NonFiniteError, "action", 16),
    ("action inf", lambda patch: spoil_agent(patch, "act", with_action(INF)), NonFiniteError, "action", 16),
    ("bounds", lambda patch: spoil_agent(patch, "act", with_action(1.5)), ActionBoundsError, "action", 16),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "kind", "name", "step"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_bad_number_stops_the_run_and_leaves_its_batch(spoil, kind, name, step, tmp_path, monkeypatch):
    spoil(monkeypatch)
    with pytest.raises(kind, match=f"^{name} ") as error:
        run(toy_config(tmp_path, *SHORT))
    path = tmp_path / "crash" / f"step_{step}.pt"
    assert error.value.__notes__ == [f"in the iteration that began at environment step {step}; the batch is in {path}"]
    batch = torch.load(path, weights_only=True)
    bad = {"reward": ("next", "reward"), "observation": ("next", "observation")}.get(name, ("action",))
    for key in bad:
        batch = batch[key]
    assert batch.shape[0] == 4
    good = torch.isfinite(batch) & (batch.abs() <= 1.0 if name == "action" else torch.tensor(True))
    assert (~good).nonzero()[0, 0] == (1 if name == "action" else 2)
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert len(rows) == (0 if step == 0 else 1 + step // 16)
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "failed"


def test_a_run_continues_where_its_fault_is_gone(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        spoil_step(patch, "reward", NAN, 30)
        with pytest.raises(NonFiniteError):
            run(toy_config(tmp_path, *SHORT))
    assert run(toy_config(tmp_path, *SHORT)) == 0


def test_a_bad_observation_at_a_start_is_named(tmp_path, monkeypatch):
    reset = PointEnv._reset
    monkeypatch.setattr(PointEnv, "_reset", lambda self, *a, **k: reset(self, *a, **k).apply_(_spoil_observation))
    with pytest.raises(NonFiniteError, match=r"observation is not finite \(environment 1, entry 0\)"):
        run(toy_config(tmp_path, *SHORT))


def _spoil_observation(values: torch.Tensor) -> torch.Tensor:
    if values.shape[-1] == 2:
        values[1] = NAN
    return values


def test_a_bad_number_in_an_evaluation_is_said_to_be_there(tmp_path, monkeypatch):
    step = PointEnv._step

    def spoiled(self, td):
        result = step(self, td)
        result["reward"][:] = NAN if self.batch_size[0] == 3 else result["reward"]
        return result

    monkeypatch.setattr(PointEnv, "_step", spoiled)
    with pytest.raises(NonFiniteError, match="reward") as error:
        run(toy_config(tmp_path, *SHORT))
    assert "in the evaluation that began at environment step 0" in error.value.__notes__[0]
    assert torch.load(tmp_path / "crash" / "step_0.pt", weights_only=True)["next"]["reward"].shape == (3, 1)


def test_a_planner_cost_that_is_not_finite_is_named(tmp_path, monkeypatch):
    rollout = Scorer.rollout
    monkeypatch.setattr(Scorer, "rollout", lambda self, *arguments: rollout(self, *arguments) * NAN)
    with pytest.raises(NonFiniteError, match="cost") as error:
        run(config(tmp_path, "mppi", "acrobot"))
    assert "step_0.pt" in error.value.__notes__[0]
    assert "observation" in torch.load(tmp_path / "crash" / "step_0.pt", weights_only=True)


@pytest.mark.parametrize("minibatch", [16, 32], ids=["two gradient steps", "one gradient step"])
@pytest.mark.parametrize("algo", ["ppo", "adaptive_hrl"])
def test_a_policy_that_learning_destroyed_is_named(algo, minibatch, tmp_path):
    """A huge learning rate makes parameters inf or nan while the loss before was finite."""
    huge = (f"algo.minibatch_size={minibatch}", "algo.learning_rate=1e38", "algo.max_grad_norm=1e30", "eval.episodes=1")
    with pytest.raises(NonFiniteError) as error:
        run(config(tmp_path, algo, "acrobot", *huge))
    assert list((tmp_path / "crash").glob("step_*.pt"))
    assert error.value.__notes__


def test_the_command_line_leaves_the_traceback_to_python(tmp_path):
    register()
    options = ("algo.nan_at=1", f"run_dir={tmp_path}", "wandb.mode=disabled", "num_envs=2", "eval.episodes=1")
    with pytest.raises(NonFiniteError) as caught:
        cli.main(["run", "--algo", "toy", "--env", "point", *options])
    _, error, note = "".join(traceback.format_exception(caught.value)).rsplit("\n", 3)[:3]
    assert error == "pompc.errors.NonFiniteError: loss/value is not finite (here)"
    assert note == f"in the iteration that began at environment step 0; the batch is in {tmp_path}/crash/step_0.pt"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--algo", "adaptive_hrl", "--env", "dmc/cartpole-swingup"], "has no explicit dynamics to plan with: take"),
        (["--algo", "mppi", "--env", "gym/Pendulum-v1"], "has no explicit dynamics to plan with: take"),
        (["--algo", "ppo", "--env", "acrobot", "device=cuda:77"], "device cuda:77: torch sees"),
        (["--algo", "ppo", "--env", "acrobot", "device=cuda:077"], "device cuda:077: torch sees"),
        (["--algo", "ppo", "--env", "acrobot", "device=cuda:256"], "device cuda:256: torch sees"),
        (["--algo", "ppo", "--env", "acrobot", "device=tpu"], "device must be cpu, cuda, cuda:N or auto, not 'tpu'"),
    ],
)
def test_what_cannot_work_is_one_line_and_exit_code_2(arguments, said, tmp_path, capsys):
    assert cli.main(["run", *arguments, f"run_dir={tmp_path}", "wandb.mode=disabled"]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("pompc: error: ")
    assert said in err
    assert err.count("\n") == 1
    assert out == ""


def test_an_unwritable_directory_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    arguments = [
        "run",
        "--algo",
        "ppo",
        "--env",
        "acrobot",
        "wandb.mode=disabled",
        f"run_dir={tmp_path / 'file' / 'run'}",
    ]
    assert cli.main(arguments) == 2
    assert (
        f"cannot write {tmp_path / 'file' / 'run'} (Not a directory): give another run_dir=" in capsys.readouterr().err
    )


def test_a_directory_without_permission_is_one_line(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(locking, "open", refused, raising=False)
    with pytest.raises(UserError, match=r"cannot write .* \(Permission denied\): give another run_dir="):
        run(configure("ppo", "acrobot", [f"run_dir={tmp_path}"]))


def test_an_episode_that_never_ends_is_said_to(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "MAX_EPISODE_STEPS", 5)
    monkeypatch.setattr(Point, "episode_length", 3)  # which it does not keep to
    with pytest.raises(UserError, match="did not end within 5 steps, although the environment has a limit: give"):
        run(toy_config(tmp_path, *SHORT))


@pytest.mark.parametrize("lost", [1, 4])  # evaluations before it; the last is the fifth
def test_an_evaluation_that_was_lost_is_made_up_for(lost, tmp_path, monkeypatch):
    complete(toy_config(tmp_path / "whole"))
    good, calls = session.evaluate, []

    def unlucky(*arguments, **options):
        calls.append(0)
        if len(calls) == lost + 1:
            raise Unavailable("the simulator is gone")
        return good(*arguments, **options)

    cfg = toy_config(tmp_path / "cut")
    with monkeypatch.context() as patch:
        patch.setattr(session, "evaluate", unlucky)
        with pytest.raises(Unavailable):
            run(cfg)
    assert_same(tmp_path / "whole", complete(cfg))


def test_what_was_learned_before_the_environment_was_lost_counts(tmp_path, monkeypatch):
    """Inside a row of metrics, which spans several batches off policy."""
    cfg = config(tmp_path, "tdmpc2", "acrobot", "eval.at_start=false")
    collect, calls = ResumableCollector.rollout, []

    def unlucky(self):
        calls.append(0)
        if len(calls) == 30:  # of 4 a row
            raise Unavailable("the simulator is gone")
        return collect(self)

    with monkeypatch.context() as patch:
        patch.setattr(ResumableCollector, "rollout", unlucky)
        with pytest.raises(Unavailable):
            run(cfg)
    saved = final_state(tmp_path)
    assert saved["counters"]["step"] == saved["training"]["budget"]["transitions"] == 2 * 29
    complete(cfg)
    with open(tmp_path / "metrics.csv", newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert 2 * 29 in steps
    assert steps[-1] >= 128


def test_wandb_without_a_login_is_offline_and_quiet(tmp_path, monkeypatch, capfd):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "NETRC"):  # a developer's login may be there
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    first, resumed = (
        toy_config(tmp_path / "run", f"steps={steps}", "wandb.mode=auto", "eval.video=true") for steps in (32, 64)
    )
    with drawing(True), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert run(first) == 0
        assert run(resumed) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "wandb:" not in out
    assert (
        len(out.splitlines()) == 7
    )  # start, evaluation (before training and at the end), end; the second has one less
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))


@pytest.mark.parametrize("where", ["init", "log"])
def test_a_failure_of_wandb_is_one_warning_and_costs_nothing(where, tmp_path, monkeypatch):
    import wandb

    def fail(*_, **__):
        raise RuntimeError("the service is gone")

    monkeypatch.setattr(wandb if where == "init" else wandb.Run, where, fail)
    with pytest.warns(UserWarning, match="wandb stopped .*the service is gone.*training continues") as seen:
        assert run(toy_config(tmp_path, "steps=64", "wandb.mode=offline")) == 0
    assert len([warning for warning in seen if "wandb" in str(warning.message)]) == 1
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 5
