"""An algorithm of another package, installed as its author would install it: one file, one entry point."""

import importlib.metadata
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hierarchy import PLANNER, collect, first_step, problem
from small import assert_same, drawing
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc import cli

PACKAGE = Path(__file__).parents[2] / "examples" / "dagger"
SHORT = (
    *("steps=192", "num_envs=2", "algo.batch_size=64", "algo.gradient_steps=5", "algo.minibatch_size=16"),
    *("planner.horizon=3", "planner.num_samples=8", "env.time_limit=12", "eval.every=96", "eval.episodes=2"),
    *("eval.video=false", "wandb.mode=disabled"),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Install the package into a folder that Python searches; nothing is downloaded."""
    folder = tmp_path_factory.mktemp("dagger")
    shutil.copytree(PACKAGE, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    options = ("--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--target", folder / "site")
    subprocess.run([sys.executable, "-m", "pip", "install", *options, folder / "source"], check=True, timeout=120)
    return folder / "site"


@pytest.fixture
def dagger(site, monkeypatch):
    """Import the module of the installed package."""
    monkeypatch.syspath_prepend(str(site))
    (point,) = importlib.metadata.entry_points(group="pompc.algorithms", name="tiny_dagger")
    return sys.modules[point.load().__module__]


def command(directory, *overrides):
    return ["run", "--algo", "tiny_dagger", "--env", "acrobot", *SHORT, f"run_dir={directory}", *overrides]


def agent_of(dagger, **options):
    torch.manual_seed(0)
    config = dagger.DAggerConfig(**{"planner": PLANNER, "batch_size": 256, **options})
    return dagger.DAgger(config, problem(num_envs=8))


def test_the_module_is_at_most_80_lines():
    assert len((PACKAGE / "pompc_dagger.py").read_text().splitlines()) <= 80


@pytest.mark.usefixtures("dagger")
def test_the_command_line_runs_an_installed_package(tmp_path):
    assert cli.main(command(tmp_path / "run", "steps=128", "eval.at_start=false")) == 0
    header, *rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert "policy_loss" in header.split(",")
    assert len(rows) == 2


def test_a_longer_run_continues_a_shorter_one_to_the_last_bit(dagger, tmp_path):
    with drawing(False):
        assert cli.main(command(tmp_path / "whole")) == 0
        for steps in (128, 192):
            assert cli.main(command(tmp_path / "parts", f"steps={steps}")) == 0
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_the_imitation_error_falls(dagger):
    """The error is the mean squared distance from the planner's actions on new states, over their variance.

    Four seeds end near 0.1.
    """
    agent = agent_of(dagger, learning_rate=3e-3, gradient_steps=100, planner=replace(PLANNER, num_samples=64))
    left = []
    for _ in range(4):
        (data,) = collect(agent)
        with torch.no_grad():
            own = agent.policy(agent.moments(data["observation"])).clamp(-1, 1)
        left.append(((own - data["label"]).square().mean() / data["label"].var()).item())
        agent.learn(data)
    assert left[0] > 0.9
    assert left[-1] < 0.2


def test_the_planner_hands_over_to_the_policy(dagger):
    shares = []
    for decay in (1.0, 0.5):
        agent = agent_of(dagger, planner_share_decay=decay, gradient_steps=1)
        agent.updates = 2
        (data,) = collect(agent)
        shares.append((data["action"] == data["label"]).float().mean().item())
    assert shares[0] == 1
    assert shares[1] == pytest.approx(0.25, abs=0.08)


def test_the_policy_alone_acts_in_evaluation(dagger):
    agent = agent_of(dagger)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        td = agent(first_step(agent))
    assert agent.model_steps == 0
    torch.testing.assert_close(td["action"], agent.policy(td["observation"]).clamp(-1, 1))
