"""The examples of docs/ run as printed, the tables of keys agree with the configs, and links lead to files."""

import dataclasses
import html
import json
import math
import re
import runpy
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from line import Line, LineConfig

from pompc.algorithms.ppo import PPO, PPOConfig
from pompc.cli import main
from pompc.data.collector import make_collector
from pompc.dials import ScheduleConfig
from pompc.errors import UserError
from pompc.offpolicy.config import OffPolicyConfig
from pompc.planner import MPPIConfig
from pompc.problem import Problem
from pompc.registry import ALGORITHMS

ROOT = Path(__file__).parent.parent


def block(page, name):
    """Return the marked code block of a page."""
    found = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", (ROOT / page).read_text(), re.S)
    assert found, f"{page} has no example {name!r}"
    return found[1]


def example(page, name):
    """Run the marked code block of a page and return its names."""
    torch.manual_seed(0)
    names: dict[str, Any] = {"__name__": f"example_{name}"}
    exec(compile(block(page, name), f"{page}:{name}", "exec", dont_inherit=True), names)
    return names


def updates(family, make_agent, batches=1):
    """Learn from some batches of four environments; return the agent and the last metrics."""
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
    """Put the module in ``sys.modules``, where dataclasses look it up."""
    for name in ("algorithm", "latent", "environment"):
        monkeypatch.setitem(sys.modules, f"example_{name}", types.ModuleType(f"example_{name}"))


def small(config, **options):
    """Make a config of an off-policy algorithm with small networks and short plans."""
    planner = dataclasses.replace(config().planner, num_samples=16, num_elites=4, num_iterations=2)
    widths = {"encoder_dim": 16, "mlp_dim": 16, "latent_dim": 16, "ensemble_size": 3, "num_proposals": 2}
    learning = {"discount": 0.9, "batch_size": 16, "buffer_size": 1000, "seed_steps": 80, "pretrain_updates": 3}
    return config(planner=planner, **widths, **learning, **options)


def disagreeing(agent):
    """Make the agent's value heads disagree; return it."""
    with torch.no_grad():
        torch.nn.init.normal_(agent.critic.heads.linears[-1].weight)
    return agent


def test_the_algorithm_of_the_extending_page_learns():
    names = example("docs/extending.md", "algorithm")
    planner = MPPIConfig(horizon=4, num_samples=8)
    config = names["TrustingConfig"](batch_size=64, planner=planner)
    agent, metrics = updates(Line(LineConfig()), lambda problem: names["Trusting"](config, problem))
    assert metrics["virtual_ratio"] == 0.3
    assert torch.equal(agent.proposals(torch.ones(3, 2)), torch.zeros(3, 1, 1, 4, agent.problem.action_dim))


def test_the_off_policy_algorithm_of_the_extending_page_plans_and_learns():
    names = example("docs/extending.md", "latent")
    config = small(names["SelectiveConfig"])
    agent, metrics = updates(Line(LineConfig()), lambda problem: names["Selective"](config, problem), batches=24)
    assert agent.updates == 3 + 3 * 4, "a burst after 21 batches, then one update per transition"
    losses = [float(metrics[name]) for name in ("model_loss", "policy_loss", "kl")]
    assert all(math.isfinite(loss) for loss in losses)

    batch, indices = agent.replay.sample(64)
    stored = batch["plan_mean"].clone()
    agent.updates = 10  # when plans are renewed
    agent.reanalyzer(agent, batch, indices)
    assert not torch.equal(batch["plan_mean"][:-1, :20], stored[:-1, :20])
    assert torch.equal(batch["plan_mean"][:, 20:], stored[:, 20:])

    agent.update(batch)
    with torch.no_grad():
        sample = disagreeing(agent).policy.sample(batch["state"])
        every, better = (prior.divergence(agent, batch, sample) for prior in (names["StoredPlan"](), agent.prior))
    assert 0 < (better == 0).float().mean() < 1
    assert torch.equal(better[better != 0], every[better != 0])


@pytest.mark.parametrize(
    ("page", "name", "kind", "options"),
    [
        ("extending", "latent", "Selective", {"optimism": -1.0}),
        ("quickstart", "algorithm", "Cautious", {"caution": 0.5}),
    ],
)
def test_the_cautious_planner_of_the_pages_takes_disagreement_off_the_value(page, name, kind, options):
    names = example(f"docs/{page}.md", name)
    config = names[f"{kind}Config"]
    assert small(config) == small(config, **options), "its default"
    made = [small(config, **dict.fromkeys(options, 0.0)), small(config)]
    agents = [updates(Line(LineConfig()), lambda problem, c=c: names[kind](c, problem), batches=1)[0] for c in made]
    agents[1].load_state_dict(disagreeing(agents[0]).state_dict(), strict=False)  # a scale of the return may be missing
    values = []
    for agent in agents:
        torch.manual_seed(1)
        values.append(agent.terminal_value()(torch.rand(8, 16)))
    assert (values[1] < values[0]).all()


def test_the_caution_of_the_quickstart_has_a_range():
    with pytest.raises(UserError, match="caution"):
        example("docs/quickstart.md", "algorithm")["CautiousConfig"](caution=-1.0)


def test_the_environment_of_the_extending_page_runs():
    names = example("docs/extending.md", "environment")
    _, metrics = updates(names["Pendulum"](names["PendulumConfig"]()), lambda p: PPO(PPOConfig(batch_size=64), p))
    assert metrics["reward"] < 0


def test_the_environment_of_the_quickstart_runs_from_its_file(tmp_path, monkeypatch):
    (tmp_path / "my_task.py").write_text(block("docs/quickstart.md", "environment"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    small = ("steps=800", "algo.batch_size=400", "eval.every=800", "eval.episodes=2", "wandb.mode=disabled")
    command = ["run", "--algo", "ppo", "--env", "my_task:Reach-v0", *small, "eval.video=false", "run_dir=run"]
    assert main(command) == 0
    returns = [float(line.split(",")[1]) for line in (tmp_path / "run/eval.csv").read_text().splitlines()[1:]]
    assert len(returns) == 2
    assert all(value < 0 for value in returns)


def test_the_example_of_the_layer_finds_the_cost_of_a_given_action():
    names = example("docs/layer.md", "layer")
    assert names["loss"].item() < 1e-3
    assert names["place"].item() > 0.3


def test_the_planner_alone_drives_two_robots_to_their_goal():
    assert example("docs/planner.md", "planner")["state"].abs().max() < 0.2


def test_each_robot_takes_the_candidate_of_its_nearest_goal():
    names = example("docs/planner.md", "candidates")
    assert names["nearest"].tolist() == [1, 1]
    assert names["plan"].batch_size == (2, 3)
    assert names["action"][0] > 0.3, "the first drives to its goal"
    assert names["action"][1].abs() < 0.3, "the second is there"


def test_the_closed_forms_of_the_linear_page_hold():
    names = example("docs/linear.md", "linear")
    assert names["best"].cost(names["start"]) == pytest.approx(0.1298, abs=1e-4)
    assert 0.001 < names["regret"] < 0.003
    control = names["exact"].action(names["start"])
    joint = [*names["start"], *control]
    assert joint @ names["H"] @ joint == pytest.approx(names["exact"].cost(names["start"]))


def test_the_example_of_constraints_stops_at_the_wall_and_before_it():
    stops = example("docs/planner.md", "constraints")["stops"]
    for tighten, state in stops.items():
        assert (state <= 1.0 - tighten).all()
        assert (state > 0.85 - tighten).all()


def test_a_reference_over_the_horizon_is_followed():
    errors = torch.stack(example("docs/planner.md", "reference")["errors"])
    assert errors[50:].max() < 0.05


def test_a_lifted_state_keeps_the_limit_of_the_acceleration_and_of_its_change():
    names = example("docs/planner.md", "rate_limit")
    applied = torch.stack(names["applied"])
    assert applied.abs().max() <= 1
    assert applied.diff(dim=0).abs().max() <= names["MAX_CHANGE"] + 1e-6
    assert applied.diff(dim=0).abs().max() > 0.9 * names["MAX_CHANGE"], "the limit is what holds it back"
    assert names["state"][:, :2].abs().max() < 0.1


def documented(page):
    """Read the keys and defaults in the tables of a page, as printed."""
    lines = re.findall(r"^\| `([\w.]+)` \| (\S+) \|", (ROOT / "docs" / page).read_text(), re.M)
    return {
        key: default
        for key, default in lines
        if default != "below" and key.startswith(("algo.", "kl_weight", "virtual_ratio", "policy_share"))
    }


def defaults(config):
    """List the keys of a config and their defaults in the form of a configuration file."""
    found = {}
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        key = entry.name if entry.name in ("kl_weight", "virtual_ratio", "policy_share") else f"algo.{entry.name}"
        if isinstance(value, ScheduleConfig):
            found |= {f"{key}.{name}": printed(part) for name, part in dataclasses.asdict(value).items()}
        elif entry.name not in ("planner", "filter", "model_learning"):
            found[key] = printed(value)
    return found


def printed(value):
    """Print a value as yaml does."""
    return ".inf" if value == math.inf else json.dumps(value).strip('"')


def test_the_keys_of_the_off_policy_agents_are_explained_with_their_defaults():
    assert documented("latent.md") == defaults(OffPolicyConfig())


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
def test_every_key_of_an_off_policy_algorithm_is_explained_if_it_differs(name, pages):
    shared, own = defaults(OffPolicyConfig()), defaults(ALGORITHMS.resolve(name).Config())
    changed = {key: value for key, value in own.items() if shared.get(key) != value}
    printed_defaults = {key: default for page in pages for key, default in documented(f"{page}.md").items()}
    assert {key: default for key, default in printed_defaults.items() if shared.get(key) != default} == changed
    assert printed_defaults.keys() <= own.keys()


def test_the_pages_name_only_keys_that_exist():
    known = {key for name in ALGORITHMS.classes for key in defaults(ALGORITHMS.resolve(name).Config())}
    known |= {key.rpartition(".")[0] for key in known if key.count(".") > 1}  # of a schedule
    known.add("algo.caution")  # of the algorithm that the quickstart writes
    known.add("algo.model_learning")  # a group of options
    for page in (ROOT / "docs").glob("*.md"):
        named = set(re.findall(r"\balgo\.[a-z]\w*", page.read_text()))
        assert named <= known, f"{page.name} names {named - known}"
        for link, anchor in re.findall(r"\]\((\w+\.md)(#[\w-]+)?\)", page.read_text()):
            headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / link).read_text(), re.M)
            assert not anchor or anchor[1:] in {slug(heading) for heading in headings}, f"{page.name}: {link}{anchor}"


def slug(heading):
    """Make the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


OTHERS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")
PAGES = [*map(ROOT.joinpath, OTHERS), *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("results/*/README.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file(page):
    prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.S)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", prose)]
    missing = [link for link in links if link and ":" not in link and not (page.parent / link).exists()]
    assert not missing


def test_the_map_and_the_site_have_every_page():
    for page in (ROOT / "docs").glob("*.md"):
        if page.name != "index.md":
            assert f"]({page.name})" in (ROOT / "docs/index.md").read_text(), f"docs/index.md lacks {page.name}"
        assert f"docs/{page.name}\n" in (ROOT / "mkdocs.yml").read_text(), f"mkdocs.yml lacks {page.name}"


def test_the_readme_is_short():
    """Words outside of code blocks, those of tables and links included."""
    prose = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text(), flags=re.S)
    assert len(prose.split()) < 1000


def test_the_figure_of_the_dials_is_of_the_defaults_of_today():
    """``python docs/dials.py`` writes what it drew into the file."""
    script = runpy.run_path(str(ROOT / "docs/dials.py"))
    points = script["algorithms"]()
    assert [point.name for point in points] == ALGORITHMS.classes
    drawn = html.unescape((ROOT / "docs/dials.svg").read_text())
    assert script["described"](points) in drawn, "docs/dials.svg is old: python docs/dials.py"
    assert script["described"](points).startswith("adaptive_hrl: (0.0, 0.3) -> (0.0, 0.0)")
