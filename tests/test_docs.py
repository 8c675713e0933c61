"""The examples of the README and of docs/extending.md run as printed; the tables of keys say what the configs do."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from line import Line, LineConfig

from pompc.agent import Problem
from pompc.algorithms.ppo import PPO, PPOConfig
from pompc.data.collector import make_collector
from pompc.dials import ScheduleConfig
from pompc.offpolicy.config import LatentConfig, latent_planner
from pompc.offpolicy.latent import LatentMPPIRL
from pompc.planner import MPPIConfig
from pompc.registry import ALGORITHMS

ROOT = Path(__file__).parent.parent


def example(page, name):
    """Run the marked code block of a page and return its names."""
    text = (ROOT / page).read_text()
    block = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", text, re.S)
    assert block, f"{page} has no example {name!r}"
    names: dict[str, Any] = {"__name__": f"example_{name}"}
    exec(compile(block[1], f"{page}:{name}", "exec", dont_inherit=True), names)
    return names


def updates(family, make_agent, batches=1):
    """The agent and the metrics of its last ``learn``, after some batches of four environments."""
    env = family.vectorise(4, seed=0)
    problem = Problem(
        observation_dim=env.observation_spec["observation"].shape[-1],
        action_dim=env.action_spec.shape[-1],
        num_envs=4,
        task_model=family.task_model,
        device=torch.device("cpu"),
        episode_length=family.episode_length,
    )
    agent = make_agent(problem)
    collector = make_collector(env, agent, agent.frames_per_batch)
    metrics = [agent.learn(data) for _, data in zip(range(batches), collector, strict=False)]
    return agent, metrics[-1]


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    """Dataclasses look their module up by name."""
    import sys
    import types

    for name in ("algorithm", "latent", "environment", "planner"):
        monkeypatch.setitem(sys.modules, f"example_{name}", types.ModuleType(f"example_{name}"))


def test_the_algorithm_of_the_extending_page_learns():
    names = example("docs/extending.md", "algorithm")
    planner = MPPIConfig(horizon=4, num_samples=8)
    config = names["TrustingConfig"](batch_size=64, planner=planner)
    _, metrics = updates(Line(LineConfig()), lambda problem: names["Trusting"](config, problem))
    assert metrics["virtual_ratio"] == 0.3


def test_the_latent_algorithm_of_the_extending_page_plans_and_learns():
    names = example("docs/extending.md", "latent")
    planner = dataclasses.replace(latent_planner(), num_samples=16, num_elites=4, num_iterations=2)
    widths = {"encoder_dim": 16, "mlp_dim": 16, "latent_dim": 16, "ensemble_size": 3, "num_proposals": 2}
    learning = {"discount": 0.9, "batch_size": 16, "buffer_size": 1000, "seed_steps": 80, "pretrain_updates": 3}
    config = names["SelectiveConfig"](planner=planner, **widths, **learning)
    agent, metrics = updates(Line(LineConfig()), lambda problem: names["Selective"](config, problem), batches=24)
    assert agent.updates == 3 + 3 * 4, "a burst after 21 batches, then one update per transition"
    assert agent.model_steps == 3 * 4 * 2 * 16 * 3, "three batches were planned"
    losses = [float(metrics[name]) for name in ("model_loss", "policy_loss", "kl")]
    assert all(math.isfinite(loss) for loss in losses)

    batch, _ = agent.replay.sample(64)
    agent.model_loss(batch)
    with torch.no_grad():
        torch.nn.init.normal_(agent.critic.heads.linears[-1].weight)  # heads that have learned to disagree
        sample = agent.policy.sample(batch["state"])
        every, better = (cls.planner_kl(agent, batch, sample) for cls in (LatentMPPIRL, names["Selective"]))
        state = batch["state"].flatten(0, 1)
        torch.manual_seed(1)
        cautious = agent.state_value(state)
        torch.manual_seed(1)
        mean = agent.critic.values(agent.critic_inputs(state)).mean(0)
    assert 0 < (better == 0).float().mean() < 1
    assert torch.equal(better[better != 0], every[better != 0])
    assert (cautious < mean).all()


def test_the_environment_of_the_extending_page_runs():
    names = example("docs/extending.md", "environment")
    _, metrics = updates(names["Pendulum"](names["PendulumConfig"]()), lambda p: PPO(PPOConfig(batch_size=64), p))
    assert metrics["reward"] < 0


def test_the_planner_example_of_the_readme_swings_to_its_goal():
    names = example("README.md", "planner")
    assert names["state"].abs().max() < 0.2


def documented(page):
    """The keys and defaults in the tables of a page, as printed."""
    rows = re.findall(r"^\| `([\w.]+)` \| (\S+) \|", (ROOT / "docs" / page).read_text(), re.M)
    return {
        key: default
        for key, default in rows
        if default != "below" and key.startswith(("algo.", "kl_weight", "virtual_ratio"))
    }


def defaults(config):
    """The keys of a config and their defaults as a configuration file has them."""
    found = {}
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        dial = entry.name in ("kl_weight", "virtual_ratio")
        if isinstance(value, ScheduleConfig):
            found |= {f"{entry.name}.{name}": printed(part) for name, part in dataclasses.asdict(value).items()}
        elif entry.name != "planner":
            found[entry.name if dial else f"algo.{entry.name}"] = printed(value)
    return found


def printed(value):
    """As yaml prints it."""
    return ".inf" if value == math.inf else json.dumps(value).strip('"')


def test_the_keys_of_the_latent_family_are_explained_with_their_defaults():
    assert documented("latent.md") == defaults(LatentConfig())


@pytest.mark.parametrize(
    ("name", "pages"),
    [
        ("tdmpc2", ("tdmpc2",)),
        ("tdmpc_square", ("tdmpc_square",)),
        ("bmpc", ("bmpc",)),
        ("pompc", ("pompc",)),
        ("adaptive_pompc", ("pompc", "adaptive_pompc")),
    ],
)
def test_every_key_of_a_latent_algorithm_is_explained_where_it_differs(name, pages):
    shared, own = defaults(LatentConfig()), defaults(ALGORITHMS.resolve(name).Config())
    changed = {key: value for key, value in own.items() if shared.get(key) != value}
    rows = {key: default for page in pages for key, default in documented(f"{page}.md").items()}
    assert {key: default for key, default in rows.items() if shared.get(key) != default} == changed
    assert rows.keys() <= own.keys()


def test_the_pages_name_only_keys_that_exist():
    known = {key for name in ALGORITHMS.builtin for key in defaults(ALGORITHMS.resolve(name).Config())}
    for page in (ROOT / "docs").glob("*.md"):
        named = set(re.findall(r"\balgo\.[a-z]\w*", page.read_text()))
        assert named <= known, f"{page.name} names {named - known}"
        for link, anchor in re.findall(r"\]\((\w+\.md)(#[\w-]+)?\)", page.read_text()):
            headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / link).read_text(), re.M)
            assert not anchor or anchor[1:] in {slug(heading) for heading in headings}, f"{page.name}: {link}{anchor}"


def slug(heading):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
