"""The examples of the README and of docs/extending.md run as printed."""

import re
from pathlib import Path

import pytest
import torch
from line import Line, LineConfig

from pompc.agent import Problem
from pompc.algorithms.ppo import PPO, PPOConfig
from pompc.data.collector import make_collector
from pompc.planner import MPPIConfig

ROOT = Path(__file__).parent.parent


def example(page, name):
    """Run the marked code block of a page and return its names."""
    text = (ROOT / page).read_text()
    block = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", text, re.S)
    assert block, f"{page} has no example {name!r}"
    names = {"__name__": f"example_{name}"}
    exec(compile(block[1], f"{page}:{name}", "exec", dont_inherit=True), names)
    return names


def one_update(family, make_agent):
    env = family.vectorise(4, seed=0)
    problem = Problem(
        observation_dim=env.observation_spec["observation"].shape[-1],
        action_dim=env.action_spec.shape[-1],
        num_envs=4,
        task_model=family.task_model,
        device=torch.device("cpu"),
    )
    agent = make_agent(problem)
    data = next(iter(make_collector(env, agent, agent.frames_per_batch)))
    return agent.learn(data)


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    """Dataclasses look their module up by name."""
    import sys
    import types

    for name in ("algorithm", "environment", "planner"):
        monkeypatch.setitem(sys.modules, f"example_{name}", types.ModuleType(f"example_{name}"))


def test_the_algorithm_of_the_extending_page_learns():
    names = example("docs/extending.md", "algorithm")
    planner = MPPIConfig(horizon=4, num_samples=8)
    config = names["TrustingConfig"](batch_size=64, planner=planner)
    metrics = one_update(Line(LineConfig()), lambda problem: names["Trusting"](config, problem))
    assert metrics["virtual_ratio"] == 0.3


def test_the_environment_of_the_extending_page_runs():
    names = example("docs/extending.md", "environment")
    metrics = one_update(names["Pendulum"](names["PendulumConfig"]()), lambda p: PPO(PPOConfig(batch_size=64), p))
    assert metrics["reward"] < 0


def test_the_planner_example_of_the_readme_swings_to_its_goal():
    names = example("README.md", "planner")
    assert names["state"].abs().max() < 0.2
