"""Environments of users, through the command line: each works, or one line refuses it."""

import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from pompc import cli
from pompc.data.replay import SliceReplay
from pompc.offpolicy import parts
from pompc.system.process import require_memory

CASES = Path(__file__).parents[1] / "cases" / "environments"
COMMON = ("eval.every=100", "eval.episodes=2", "eval.video=false", "wandb.mode=disabled")
SHORT = ("steps=200", "algo.batch_size=100", "algo.minibatch_size=50", "algo.epochs=2", *COMMON)
LATENT = (
    *("steps=120", "algo.model_size=1", "algo.batch_size=4", "algo.seed_steps=60", "algo.pretrain_updates=1"),
    *("algo.update_to_data=0.02", "algo.num_proposals=2", "planner.num_samples=8", "planner.num_elites=4"),
    *("planner.num_iterations=1", "planner.horizon=2", "algo.latent_dim=64", *COMMON),
)


@pytest.fixture(autouse=True)
def _importable(monkeypatch, tmp_path):
    """Make the cases importable, afresh in every test: they are all registered under one name."""
    monkeypatch.syspath_prepend(CASES)
    monkeypatch.chdir(tmp_path)
    yield
    gymnasium.registry.pop("Case-v0", None)
    for case in CASES.glob("*.py"):
        sys.modules.pop(case.stem, None)


def pompc(*arguments: str) -> int:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="gymnasium")  # its own word on odd spaces
        return cli.main(arguments)


@pytest.mark.parametrize("num_envs", [1, 2])
@pytest.mark.parametrize(
    "case",
    ["float64_bounds", "locked_action", "growing_info", "reward_array", "reset_without_options"],
)
def test_it_works(case, num_envs, capsys):
    assert pompc("run", "--algo", "ppo", "--env", f"{case}:Case-v0", f"num_envs={num_envs}", *SHORT) == 0
    assert "finished" in capsys.readouterr().out
    assert len(list(Path("runs").rglob("checkpoints/last.pt"))) == 1


def test_a_close_that_raises_is_a_warning():
    with pytest.warns(UserWarning, match=r"Gone\.close\(\) raised ConnectionResetError: the simulator has gone"):
        assert pompc("run", "--algo", "ppo", "--env", "close_raises:Case-v0", "num_envs=2", *SHORT) == 0


@pytest.mark.parametrize("num_envs", [1, 2])
@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("constructor_raises", "constructor_raises:Case-v0 cannot be made: difficulty must be set to easy or hard"),
        (
            "wrong_observation_shape",
            "wrong_observation_shape:Case-v0: reset() returned an observation of shape (4,), but its space has (3,)",
        ),
    ],
)
def test_it_is_refused_in_one_line(case, says, num_envs, capsys):
    assert pompc("run", "--algo", "ppo", "--env", f"{case}:Case-v0", f"num_envs={num_envs}", *SHORT) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith(f"pompc: error: {says}")


def test_pictures_are_encoded_by_off_policy_agents(monkeypatch):
    stored = []
    monkeypatch.setattr(SliceReplay, "extend", _noting(SliceReplay.extend, stored))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(plain numbers|encoder|memory)")
        arguments = ("--env", "image_observation:Case-v0", "num_envs=2", "algo.buffer_size=2000", *LATENT)
        assert pompc("run", "--algo", "tdmpc2", *arguments) == 0
    assert {(column.shape[1:], str(column.dtype)) for column in stored} == {((3, 64, 64), "torch.uint8")}


def _noting(extend, stored):
    def noted(self, data):
        extend(self, data)
        stored.append(self._columns["observation"])

    return noted


def test_pictures_are_a_warning_for_an_algorithm_without_an_encoder():
    arguments = ("--env", "image_observation:Case-v0", "num_envs=2", *SHORT)
    with pytest.warns(
        UserWarning, match=r"ppo has no encoder for pictures: .*21,168 plain numbers.*take one of tdmpc2"
    ):
        assert pompc("run", "--algo", "ppo", *arguments) == 0
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*plain numbers")
        assert pompc("run", "--algo", "ppo", *arguments, "env.pictures=false") == 0


def test_a_replay_without_memory_is_refused_before_anything_is_played(monkeypatch, capsys):
    asked = []

    def more(what, need, device, fix):
        asked.append(need)
        require_memory(what, need * 10**8, device, fix)  # more than a processor can address

    monkeypatch.setattr(parts, "require_memory", more)
    arguments = ("--env", "image_observation:Case-v0", "num_envs=2", "algo.buffer_size=2000", *LATENT)
    assert pompc("run", "--algo", "tdmpc2", *arguments) == 2
    out, err = capsys.readouterr()
    assert asked == [2000 * 3 * 64 * 64]
    assert (
        "a replay of 2,000 observations needs 2,457,600.0 GB of cpu memory, more than there is: lower algo.buffer"
        in err
    )
    assert "evaluation" not in out


class Low(gymnasium.Env):
    """Bounds the wrong way round."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self):
        self.action_space = gymnasium.spaces.Box(np.ones(2), np.zeros(2), dtype=np.float64)


def test_bounds_the_wrong_way_round_are_one_line(capsys):
    gymnasium.register("Case-v0", Low)
    assert pompc("run", "--algo", "ppo", "--env", "gym/Case-v0", *SHORT) == 2
    err = capsys.readouterr().err
    assert "Case-v0 cannot be made: Box all low values must be less than or equal to high" in err
    assert "test_user_environments.py" in err


class Buggy(gymnasium.Env):
    """A real bug in step; its author needs the traceback."""

    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return self.no_such_attribute


def test_a_bug_in_step_keeps_its_traceback():
    gymnasium.register("Case-v0", Buggy, max_episode_steps=5)
    with pytest.raises(AttributeError, match="no_such_attribute"):
        pompc("run", "--algo", "ppo", "--env", "gym/Case-v0", "num_envs=2", *SHORT)
