"""The plain TD-MPC2 that agents are timed beside computes the same as the agent."""

import pytest
import tiny
import torch
from tensordict import TensorDict

from pompc.report.plain_latent import PlainTDMPC2


@pytest.fixture
def agent(monkeypatch):
    """Make an agent whose policy draws no noise and whose heads are always the same two."""
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    monkeypatch.setattr(torch, "randperm", lambda count, **_: torch.arange(count))
    torch.manual_seed(0)
    made = tiny.agent(ensemble_size=5, dropout=0.0, num_proposals=4)
    for name, parameter in made.named_parameters():
        torch.nn.init.normal_(parameter, 1.0 if "norm" in name else 0.0, 0.3)
    made.critic.soft_update(1.0)
    return made


@torch.no_grad()
def test_action_sequences_have_the_same_value(agent):
    state, actions = agent.encode(torch.randn(1, 3)), torch.rand(6, 3, 2) * 2 - 1
    charges = agent.planner.scorer.evaluate(
        agent.planner.rollout(state, actions[None, None]), actions[None, None], terminal_value=agent.terminal_value()
    )
    found = PlainTDMPC2(agent).value(state.expand(6, -1), actions.transpose(0, 1))
    torch.testing.assert_close(found, -charges.sum(-1)[0, 0], rtol=1e-4, atol=1e-4)
    assert found.std() > 0


def test_plans_are_as_good_as_the_agents(agent):
    observation, plain = torch.randn(1, 3), PlainTDMPC2(agent)
    found = torch.stack([plain.plan(observation) for _ in range(30)])
    with torch.no_grad():
        state = agent.encode(observation.expand(30, -1))
        plan = agent.planner.plan(state, proposals=agent.proposals(state), terminal_value=agent.terminal_value())
    error = (found.var(0) / 30 + plan.mean[:, 0, 0].var(0) / 30).sqrt()
    assert ((found.mean(0) - plan.mean[:, 0, 0].mean(0)).abs() < 4 * error).all()


def test_updates_have_the_same_losses(agent):
    plain = PlainTDMPC2(agent)
    for seed in range(3):
        torch.manual_seed(seed)
        entries = {"observation": 3, "action": 2, "reward": 1, "plan_mean": 2, "plan_std": 2}
        data = {name: torch.rand(4, 8, dim) for name, dim in entries.items()}
        batch = TensorDict({**data, "terminated": torch.zeros(4, 8, 1)}, batch_size=[4, 8])
        found, expected = plain.update(batch.clone()), agent.update(batch)
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5, msg=name)
