"""The actions applied last: carried to the next plan by every agent whose planner charges or limits their change."""

import dataclasses

import pytest
import tiny
import torch
from hierarchy import FAMILY, PLANNER, SMALL, collect, first_step, hierarchical, problem
from tensordict import TensorDict
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.algorithms.ac_mpc import ACMPC, ACMPCConfig
from pompc.algorithms.dtc import DTC, DTCConfig
from pompc.algorithms.mppi import MPPIAgent, MPPIAgentConfig
from pompc.data.warm_start import APPLIED, reads_applied
from pompc.planner import MPPI

SMOOTH = dataclasses.replace(PLANNER, change_cost=0.5)
LONG = {**SMALL, "batch_size": 128}  # longer than an episode
EXPERT = {"task_model": FAMILY.task_model, "observation_dim": 1, "action_dim": 1, "model": "known"}
AGENTS = {
    "mppi": lambda planner: MPPIAgent(MPPIAgentConfig(planner=planner, batch_size=128), problem()),
    "adaptive_hrl": lambda planner: hierarchical(planner=planner, execute_steps=2, batch_size=128),
    "ac_mpc": lambda planner: ACMPC(ACMPCConfig(planner=planner, **LONG), problem()),
    "dtc": lambda planner: DTC(DTCConfig(planner=planner, plan_every=1, reference_steps=(1,), **LONG), problem()),
}


@pytest.fixture
def told(monkeypatch):
    """The actions that every plan was told, plan by plan."""
    seen, plan = [], MPPI.plan
    monkeypatch.setattr(MPPI, "plan", lambda self, *a, **k: seen.append(k.get("previous")) or plan(self, *a, **k))
    return seen


@pytest.mark.parametrize("name", AGENTS)
def test_every_plan_begins_at_the_actions_that_the_environment_got_and_an_episode_at_rest(name, told):
    torch.manual_seed(0)
    (data,) = collect(AGENTS[name](SMOOTH))
    before = torch.zeros(4, 2, 1)
    for time in range(data.shape[1]):
        begins = data["is_init"][:, time]
        before = before.masked_fill(begins.unsqueeze(-1), 0.0)
        torch.testing.assert_close(told[time], before, msg=f"step {time}")
        torch.testing.assert_close(data[APPLIED][:, time], before)
        before = torch.cat([before[:, 1:], data["action"][:, time].unsqueeze(1)], 1)
    assert data["is_init"][:, 1:].any(), "an episode begins in the middle"
    assert before.abs().max() > 0.1


def test_a_reset_of_one_environment_leaves_the_others_actions():
    agent = AGENTS["mppi"](SMOOTH)
    step = first_step(agent)
    step["is_init"] = torch.tensor([[True], [False], [True]])
    step[APPLIED] = torch.full((3, 2, 1), 0.7)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        acted = agent(step)
    assert acted["next", APPLIED][:, 0, 0].tolist() == pytest.approx([0.0, 0.7, 0.0])
    assert torch.equal(acted["next", APPLIED][:, 1], acted["action"])


def test_the_first_change_is_charged():
    """A dear change keeps the next action where the last one was; told nothing, the plan would jump."""
    agent = AGENTS["mppi"](dataclasses.replace(SMOOTH, change_cost=1e3, horizon=1, num_samples=256))
    step = first_step(agent)
    step["observation"] = torch.full((3, 1), 2.0)
    step["is_init"], step[APPLIED] = torch.zeros(3, 1, dtype=torch.bool), torch.full((3, 2, 1), 0.6)
    torch.manual_seed(0)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        assert (agent(step)["action"] - 0.6).abs().max() < 0.1


def test_what_a_filter_corrects_is_what_was_applied():
    agent = AGENTS["mppi"](SMOOTH)
    agent.filter = lambda tensordict, explore: tensordict.set("action", torch.full((3, 1), 0.25))
    agent.filter.primers = dict
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        acted = agent(first_step(agent))
    assert acted["next", APPLIED][:, 1].unique().tolist() == [0.25]


def test_the_seed_phase_and_a_bare_policy_are_remembered_too(told):
    agent = tiny.agent(planner={"change_cost": 0.5}, **EXPERT)
    data = tiny.World(agent).step()
    assert torch.equal(data["next", APPLIED][:, 0, 1], data["action"][:, 0])
    assert told == [], "random actions need no plan"
    agent.policy_alone = True
    carried = {name: spec.zero(torch.Size([2])) for name, spec in agent.primers().items()}
    start = {"observation": torch.randn(2, 1), "is_init": torch.ones(2, 1, dtype=torch.bool)}
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        acted = agent(TensorDict({**carried, **start}, batch_size=[2]))
    assert torch.equal(acted["next", APPLIED][:, 1], acted["action"])


def test_a_limit_of_change_reads_them_and_a_planner_without_one_carries_nothing():
    task = FAMILY.task_model()
    assert reads_applied(MPPI(PLANNER, task, task, 1, max_rate=0.1))
    plain = AGENTS["mppi"](PLANNER)
    assert not reads_applied(plain.planner)
    assert set(plain.primers()) == {"planner_mean"}
    plain.planner = MPPI(PLANNER, plain.task, plain.task, 1, max_rate=0.1)
    (data,) = collect(plain)
    change = data["action"] - data[APPLIED][:, :, 1]
    assert change.abs().max() <= 0.1 + 1e-6
