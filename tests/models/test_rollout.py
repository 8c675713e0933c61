"""Rollouts of a policy through a model."""

import torch

from pompc.models import rollout_policy


class Sum:
    """The next state is the state plus twice the action; counts its steps."""

    steps = 0

    def next(self, state, action):
        self.steps += 1
        return state + 2 * action


def test_every_action_is_the_policys_at_the_state_after_the_previous_action():
    model, state = Sum(), torch.arange(6.0).view(3, 2, 1)
    actions, states = rollout_policy(model, lambda x: -0.25 * x, state, 4)
    assert actions.shape == states.shape == (3, 2, 4, 1)
    expected = torch.stack([state * 0.5**k for k in range(4)], dim=-2)
    assert torch.equal(states, expected)
    assert torch.equal(actions, -0.25 * expected)


def test_no_step_is_taken_after_the_last_action():
    model = Sum()
    rollout_policy(model, lambda x: x, torch.ones(5, 1), 3)
    assert model.steps == 2
    actions, states = rollout_policy(model, lambda x: x + 1, torch.ones(5, 1), 1)
    assert model.steps == 2
    assert torch.equal(actions, torch.full((5, 1, 1), 2.0))
    assert torch.equal(states, torch.ones(5, 1, 1))
