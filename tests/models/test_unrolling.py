"""Rollouts of a whole plan in a world model: equal to its single steps, with fewer products."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pompc.models.config import ModelSize
from pompc.models.imagination import Imagination
from pompc.models.protocols import Unrolling
from pompc.models.unrolling import begin, unroll
from pompc.models.world_model import TaskEmbedding, WorldModel
from pompc.networks.twohot import TwoHot

WIDTH, LATENT, ACTION, BINS = 24, 16, 3, 21
SIZE = ModelSize(encoder_dim=16, encoder_layers=2, mlp_dim=WIDTH, latent_dim=LATENT, ensemble_size=2)
MASKS = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])


def model(cls=WorldModel, **options):
    """Make a world model with weights far from the start, at which rewards are zero."""
    torch.manual_seed(5)
    made = cls((4,), ACTION, SIZE, **{"simnorm_group": 8, "two_hot": TwoHot(BINS, -5.0, 5.0), **options})
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made.requires_grad_(False)


def start(made, batch=2):
    """Encode observations whose last entry is a task, if there are tasks."""
    observation = torch.randn(batch, 4)
    observation[:, -1] = torch.arange(batch) % 2
    return made.encode(observation)


OPTIONS = {
    "published": {},
    "episodic": {"episodic": True},
    "several tasks": {"tasks": TaskEmbedding(MASKS, torch.tensor([0.9, 0.99]), 5), "episodic": True},
    "one reward layer": {"reward_layers": 1},
    "no simplices": {"simnorm_group": None},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_unrolling_equals_single_steps(options):
    made = model(**options)
    state, actions = start(made), torch.randn(2, 3, 5, 4, ACTION)
    states, reward, ended = unroll(made, begin(made, state), actions)
    now = state[:, None, None].expand(2, 3, 5, -1)
    torch.testing.assert_close(states[..., 0, :], now)
    for step in range(4):
        now, expected, over = made.transition(now, actions[..., step, :])
        torch.testing.assert_close(states[..., step + 1, :], now, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(reward[..., step], expected, rtol=1e-4, atol=1e-4)
        if made.terminates:
            assert torch.equal(ended[..., step], over)
    assert (ended is None) == (not made.terminates)
    assert reward.std() > 0


def test_the_first_latent_is_multiplied_once_for_all_samples():
    """Counted in floating point operations: of the first step only the products of actions are made for every sample."""
    made, samples, horizon = model(), 7, 3
    actions = torch.randn(1, 1, samples, horizon, ACTION)
    with FlopCounterMode(display=False) as counter:
        unroll(made, begin(made, start(made, batch=1)), actions)
    encoder = 4 * 16 + 16 * LATENT
    behind = WIDTH * WIDTH + WIDTH * LATENT + WIDTH * WIDTH + WIDTH * BINS
    first = 2 * WIDTH
    once = first * LATENT
    steps = samples * (horizon * (behind + first * ACTION) + (horizon - 1) * first * LATENT)
    assert counter.get_total_flops() - 2 * (encoder + once + steps) in (
        0,
        2 * samples * horizon * BINS,
    )  # mv of the bins


def test_an_imagination_ignores_entries_that_a_task_does_not_have():
    made = model(tasks=TaskEmbedding(MASKS, torch.tensor([0.9, 0.99]), 5))
    imagination, state, actions = Imagination(made), start(made), torch.randn(2, 1, 5, 4, ACTION)
    other = actions.clone()
    other[0, ..., 1:] = torch.randn(1, 5, 4, 2)
    found = [imagination.unroll(imagination.begin(state), a).reward for a in (actions, other)]
    assert torch.equal(*found)
    other[1] = -actions[1]
    assert not torch.equal(imagination.unroll(imagination.begin(state), other).reward, found[0])


def test_a_model_with_steps_of_another_kind_takes_them_singly():
    class Slow(WorldModel):
        def next(self, state, action):
            return state + 0.1 * (super().next(state, action) - state)

    assert isinstance(Imagination(model()), Unrolling)
    assert not isinstance(Imagination(model(cls=Slow)), Unrolling)
