"""The latent world model: published sizes, simplicial states, carried tasks, and the planner's view of it."""

import pytest
import torch

from pompc.models import Judge, Model
from pompc.models.config import SIZES, ModelSize
from pompc.models.imagination import Imagination
from pompc.models.tasks import TaskEmbedding
from pompc.models.world_model import WorldModel
from pompc.networks.critics import Critic
from pompc.networks.policies import SquashedGaussian
from pompc.networks.twohot import TwoHot

TINY = ModelSize(encoder_dim=16, encoder_layers=2, mlp_dim=16, latent_dim=16, ensemble_size=2)
MASKS = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])


def tasks(dim=5):
    return TaskEmbedding(MASKS, torch.tensor([0.9, 0.95, 0.99]), dim)


def model(shape=(4,), shake=True, **options):
    """Make a model with weights far from the start, at which rewards are zero and tasks almost alike."""
    torch.manual_seed(5)
    made = WorldModel(shape, 3, TINY, simnorm_group=8, two_hot=TwoHot(21, -5.0, 5.0), **options)
    for parameter in made.parameters() if shake else ():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def observations(*lead, of=3):
    """Draw observations whose last entry is a task's index ``[*lead, 4]``."""
    observation = torch.randn(*lead, 4)
    observation[..., -1] = torch.randint(0, of, lead).float()
    return observation


def simplices(latent):
    return torch.allclose(latent.unflatten(-1, (-1, 8)).sum(-1), torch.ones(()), atol=1e-5) and bool(
        (latent >= 0).all()
    )


@pytest.mark.parametrize(
    ("size", "observation", "action", "millions"),
    [(5, 5, 1, 4.93), (5, 223, 38, 5.16), (1, 5, 1, 1.20), (1, 223, 38, 1.34)],
    ids=["cartpole-5M", "dog-5M", "cartpole-1M", "dog-1M"],
)
def test_the_published_sizes_have_the_published_numbers_of_parameters(size, observation, action, millions):
    """The count has model, policy and value heads, without the slow copies of the heads."""
    widths = SIZES[size]
    with torch.device("meta"):
        two_hot = TwoHot(101, -10.0, 10.0)
        world = WorldModel((observation,), action, widths, simnorm_group=8, two_hot=two_hot)
        policy = SquashedGaussian(world.input_dim, widths.mlp_dim, action, log_std_min=-10, log_std_max=2)
        critic = Critic(world.input_dim + action, widths.mlp_dim, widths.ensemble_size, two_hot)
    parts = (world, policy, critic.heads)
    count = sum(parameter.numel() for part in parts for parameter in part.parameters()) / 1e6
    assert count == pytest.approx(millions, rel=0.01)


def test_states_are_simplices_and_stay_so():
    world = model()
    state = world.encode(torch.randn(3, 7, 4) * 10)
    assert state.shape == (3, 7, 16)
    assert simplices(state)
    for _ in range(5):
        state = world.next(state, torch.rand(3, 7, 3) * 2 - 1)
        assert simplices(state)
    assert torch.equal(world.latent(state), state)


def test_rewards_start_at_zero_and_terminations_undecided():
    world = model(shake=False, episodic=True)
    state, action = world.encode(torch.randn(50, 4)), torch.randn(50, 3)
    torch.testing.assert_close(world.reward(state, action), torch.zeros(50), rtol=0, atol=1e-6)
    assert world.termination_logits(state).abs().max() < 0.1


def test_the_reward_is_the_decoded_distribution():
    world = model()
    state, action = world.encode(torch.randn(2, 5, 4)), torch.rand(2, 5, 3)
    assert world.reward(state, action).shape == (2, 5)
    expected = world.two_hot.decode(world.reward_logits(state, action))
    assert torch.equal(world.reward(state, action), expected)
    assert expected.std() > 0


def test_an_action_changes_the_next_state_and_the_reward():
    world = model()
    state = world.encode(torch.randn(6, 4))
    a, b = torch.zeros(6, 3), torch.ones(6, 3)
    assert ((world.next(state, a) - world.next(state, b)).abs().amax(-1) > 0).all()
    assert (world.reward(state, a) != world.reward(state, b)).all()


@pytest.mark.parametrize("episodic", [False, True])
def test_a_transition_is_the_step_its_reward_and_its_end(episodic):
    world = model(episodic=episodic)
    state, action = world.encode(torch.randn(200, 4)), torch.rand(200, 3)
    if episodic:
        with torch.no_grad():  # now half of the states are ends
            world.termination_head[-1].bias -= world.termination_logits(world.next(state, action)).median()
    assert isinstance(world, Model)
    then, reward, ended = world.transition(state, action)
    assert torch.equal(then, world.next(state, action))
    assert torch.equal(reward, world.reward(state, action))
    assert torch.equal(ended, world.termination_logits(then) > 0 if episodic else torch.zeros(200, dtype=torch.bool))
    assert ended.any() == world.terminates == episodic


def test_terminations_of_a_model_without_them_are_refused():
    with pytest.raises(RuntimeError, match="episodic=True"):
        model().termination_logits(torch.zeros(1, 16))


def test_pixels_are_encoded_like_any_other_observation():
    state = model((9, 64, 64), shake=False).encode(torch.randint(0, 256, (2, 3, 9, 64, 64), dtype=torch.uint8))
    assert state.shape == (2, 3, 16)
    assert simplices(state)


def test_the_task_goes_through_unchanged():
    world, observation = model(tasks=tasks()), observations(40)
    state = world.encode(observation)
    assert state.shape == (40, 17)
    assert simplices(world.latent(state))
    for _ in range(4):
        state = world.next(state, torch.randn(40, 3))
        assert torch.equal(state[..., -1], observation[..., -1])
    assert torch.equal(world.tasks.index(state), observation[..., -1].long())


def test_every_network_sees_the_task_and_not_its_number():
    world = model(tasks=tasks(), episodic=True)
    observation, action = torch.randn(1, 4).expand(3, 4).clone(), torch.ones(3, 3)
    observation[:, -1] = torch.arange(3)
    state = world.encode(observation)
    same = torch.cat([world.latent(state)[:1].expand(3, -1), state[:, -1:]], -1)
    for seen in (
        world.latent(state),
        world.next(same, action),
        world.reward(same, action),
        world.termination_logits(same),
    ):
        assert len(seen.unique(dim=0)) == 3
    with torch.no_grad():
        world.tasks.table.weight.copy_(world.tasks.table.weight[:1].expand(3, -1))
    # One sample at a time: a product of several may round the last samples differently.
    latent = torch.cat([world.latent(world.encode(one)) for one in observation.split(1)])
    assert torch.equal(latent, latent[:1].expand(3, -1))


def test_task_vectors_are_shortened_to_length_one_by_bound_alone():
    made = tasks()
    made.table.weight.data.copy_(torch.tensor([[3.0, 4.0, 0, 0, 0], [0.3, 0.4, 0, 0, 0], [0, 0, 0, 0, -2.0]]))
    before = made.table.weight.clone()
    made(observations(7))
    assert torch.equal(made.table.weight, before)
    made.bound()
    expected = torch.tensor([[0.6, 0.8, 0, 0, 0], [0.3, 0.4, 0, 0, 0], [0, 0, 0, 0, -1.0]])
    torch.testing.assert_close(made.table.weight.detach(), expected)


def test_only_the_task_that_was_seen_learns_its_vector():
    world, observation = model(tasks=tasks()), observations(6, of=1) + torch.tensor([0.0, 0.0, 0.0, 1.0])
    world.next(world.encode(observation), torch.ones(6, 3)).square().sum().backward()
    moved = world.tasks.table.weight.grad.abs().sum(-1)
    assert (moved > 0).tolist() == [False, True, False]


# -- the planner's view -----------------------------------------------------------------------------------------------


def test_imagination_is_the_model_with_rewards_as_negative_costs():
    world = model()
    imagination, state, action = Imagination(world), world.encode(torch.randn(2, 3, 4)), torch.rand(2, 3, 3)
    then = imagination.step(state, action)
    assert isinstance(imagination, Judge)
    assert torch.equal(then, world.next(state, action))
    cost, ends = imagination.judge(state, action, then, None)
    assert ends is None
    assert torch.equal(cost, -world.reward(state, action))
    assert torch.equal(imagination.running(state, action, then, None), cost)
    assert torch.equal(imagination.terminal(state, None), torch.zeros(2, 3))


def test_an_episode_ends_if_its_end_is_likelier_than_not():
    world = model(episodic=True)
    state, action = world.encode(torch.randn(200, 4)), torch.rand(200, 3)
    then = world.next(state, action)
    with torch.no_grad():  # now half of the states are ends
        world.termination_head[-1].bias -= world.termination_logits(then).median()
    ends = Imagination(world).judge(state, action, then, None)[1]
    assert torch.equal(ends, torch.sigmoid(world.termination_logits(then)) > 0.5)
    assert 0 < ends.sum() < 200


def test_actions_that_a_task_ignores_do_not_matter():
    world = model(tasks=tasks(), episodic=True)
    imagination, state = Imagination(world), world.encode(observations(60))
    mask = MASKS[state[:, -1].long()]
    a = torch.randn(60, 3)
    b = torch.where(mask > 0, a, torch.randn(60, 3) * 5)
    assert torch.equal(imagination.step(state, a), imagination.step(state, b))
    then = imagination.step(state, a)
    for x, y in zip(imagination.judge(state, a, then, None), imagination.judge(state, b, then, None), strict=True):
        assert torch.equal(x, y)
    changed = torch.where(mask > 0, a + 1, a)
    assert (imagination.running(state, changed, then, None) != imagination.running(state, a, then, None)).all()
