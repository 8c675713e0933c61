"""What the policy proposes to the planner: draws or its mean, and from when on."""

import math

import pytest
import tiny
import torch

from pompc.algorithms.bmpc import BMPC
from pompc.algorithms.tdmpc2 import TDMPC2, TDMPC2Config
from pompc.errors import UserError
from pompc.models.rollout import rollout_policy


def agent_of(cls=TDMPC2, **options):
    torch.manual_seed(0)
    return tiny.agent(cls, **options)


def rollouts(agent, state, act):
    """Roll ``act`` out by hand, twice per state."""
    return rollout_policy(agent.model, act, state.unsqueeze(1).expand(-1, 2, -1), 3)[0].unsqueeze(1)


@pytest.mark.parametrize("cls", [TDMPC2, BMPC])
@pytest.mark.parametrize("log_std_range", [None, (-1.0, 0.5)])
@torch.no_grad()
def test_by_default_they_are_draws_of_the_policy(cls, log_std_range):
    agent = agent_of(cls)
    state = agent.encode(torch.randn(4, 3))
    torch.manual_seed(7)
    found = agent.proposals(state, log_std_range)
    torch.manual_seed(7)
    assert torch.equal(found, rollouts(agent, state, lambda now: agent.policy.sample(now, log_std_range).action))


@pytest.mark.parametrize("cls", [TDMPC2, BMPC])
@torch.no_grad()
def test_without_noise_the_mean_is_rolled_out(cls):
    agent = agent_of(cls, proposal_noise=0.0, num_proposals=1)
    state = agent.encode(torch.randn(4, 3))
    expected = rollouts(agent, state, lambda now: agent.policy.action(agent.policy(now)[0]))
    assert torch.equal(agent.proposals(state), expected[:, :, :1])
    assert torch.equal(agent.proposals(state, (-1.0, 0.0)), expected[:, :, :1]), "also in a reanalysis"


@torch.no_grad()
def test_the_noise_is_in_units_of_the_policys_std():
    stds = []
    for noise in (0.5, 1.0):
        agent = agent_of(BMPC, proposal_noise=noise, num_proposals=15, log_std_min=-3.0, log_std_max=-2.9)
        stds.append(agent.proposals(agent.encode(torch.randn(200, 3)))[:, 0, :, 0].std(1).mean())
    assert stds[0] / stds[1] == pytest.approx(0.5, rel=0.05)
    assert stds[1] == pytest.approx(math.exp(-2.95), rel=0.1)


def test_the_policy_proposes_after_so_many_updates():
    agent = agent_of(proposals_after=3)
    state = agent.encode(torch.randn(4, 3)).detach()
    for updates, proposes in ((0, False), (2, False), (3, True)):
        agent.updates = updates
        assert (agent.proposals(state) is not None) is proposes


def test_equal_proposals_are_refused():
    words = r"^algo\.num_proposals=24 rollouts of the policy's mean are all the same: set algo\.num_proposals=1, or"
    with pytest.raises(UserError, match=words):
        TDMPC2Config(proposal_noise=0.0)
