"""What the iterations of a latent plan share is computed once, and changes no cost."""

import pytest
import tiny
import torch

from pompc.models.imagination import Imagination
from pompc.planner.once import Once

PROPOSALS = 3


def agent(**options):
    """Make an agent with random weights that plans with proposals."""
    torch.manual_seed(0)
    made = tiny.agent(num_proposals=PROPOSALS, **options)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return made


def planned(made, state):
    """Plan with the same random numbers every time."""
    torch.manual_seed(1)
    return made.planner.plan(state, proposals=made.proposals(state), terminal_value=made.terminal_value())


@pytest.mark.parametrize("options", [{}, {"episodic": True}, {"ensemble_size": 5}], ids=str)
@torch.no_grad()
def test_a_plan_equals_the_one_that_takes_single_steps(options, monkeypatch):
    made = agent(**options)
    state = made.encode(torch.randn(4, 3))
    found = planned(made, state)
    monkeypatch.setattr(made.planner.scorer, "_unrolling", None)
    expected = planned(made, state)
    torch.testing.assert_close(found.costs, expected.costs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.states, expected.states, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.mean, expected.mean, rtol=1e-3, atol=1e-3)
    assert found.costs.std() > 0


@pytest.mark.parametrize("block", [1, 2**18], ids=["single environments", "all at once"])
@torch.no_grad()
def test_proposals_are_rolled_out_once_per_plan(block, monkeypatch):
    monkeypatch.setattr("pompc.planner.blocks.BLOCK_ON_CPU", block)
    made, rolled = agent(), []
    unroll = Imagination.unroll
    count = lambda self, start, actions: rolled.append(actions[..., 0, 0].numel()) or unroll(self, start, actions)  # noqa: E731
    monkeypatch.setattr(Imagination, "unroll", count)
    planned(made, made.encode(torch.randn(2, 3)))
    iterations, samples = 2, 16
    assert sum(rolled) == 2 * (PROPOSALS + iterations * (samples - PROPOSALS))


@torch.no_grad()
def test_the_value_of_proposals_is_drawn_in_every_iteration(monkeypatch):
    made, seen = agent(), []
    value = made.terminal_value()
    torch.manual_seed(1)
    state = made.encode(torch.randn(1, 3))
    made.planner.plan(
        state, proposals=made.proposals(state), terminal_value=lambda last: seen.append(last) or value(last)
    )
    assert [last.shape[2] for last in seen] == [16, 16]
    assert torch.equal(seen[0][:, :, :PROPOSALS], seen[1][:, :, :PROPOSALS])
    assert not torch.equal(seen[0], seen[1])


@torch.no_grad()
def test_proposals_that_change_are_rolled_out_again():
    made, once = agent(), Once()
    state, imagination = made.encode(torch.randn(1, 3)), made.planner.dynamics
    actions = torch.rand(1, 1, 16, 3, 2)
    for proposed in (actions, actions, -actions):
        begun = once.begun(0, imagination, state, proposed, PROPOSALS)
        expected = imagination.unroll(begun.beginning, proposed)
        torch.testing.assert_close(begun.judged(imagination, proposed)[0], expected.states)
