"""Value ensembles: their start, their slow targets, the heads that are read, and their random networks."""

import math

import pytest
import torch

from pompc.networks.critics import Critic, RandomisedCritic, make_critic
from pompc.networks.layers import INITIALISERS
from pompc.networks.twohot import TwoHot, symlog


def critic(members=5, **options):
    return Critic(6, 16, members, TwoHot(21, -5.0, 5.0), **options)


def shaken(**options):
    """Make a critic whose heads have moved away from their start and their targets."""
    result = critic(**options)
    for parameter in result.heads.parameters():
        torch.nn.init.normal_(parameter)
    return result


@pytest.mark.parametrize("init", INITIALISERS)
def test_all_values_start_at_zero(init):
    fresh, x = critic(initialiser=INITIALISERS[init]), torch.randn(50, 6) * 100
    assert (fresh.logits(x) == 0).all()
    torch.testing.assert_close(fresh.values(x), torch.zeros(5, 50), rtol=0, atol=1e-6)
    torch.testing.assert_close(fresh.target_values(x), torch.zeros(5, 50), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("init", "stds"), [("trunc_normal", (0.02, 0.02)), ("uniform", (1 / math.sqrt(3 * 60), 1 / math.sqrt(3 * 128)))]
)
def test_hidden_layers_start_as_configured_and_the_last_layer_at_zero(init, stds):
    fresh = Critic(60, 128, 5, TwoHot(21, -5.0, 5.0), initialiser=INITIALISERS[init])
    *hidden, last = fresh.heads.linears
    for layer, std in zip(hidden, stds, strict=True):
        assert layer.weight.std().item() == pytest.approx(std, rel=0.03)
    assert last.weight.abs().max() == 0
    assert last.bias.abs().max() == 0
    assert (hidden[0].weight[0] != hidden[0].weight[1]).any()  # members start apart


def test_targets_start_as_the_heads_and_share_no_memory():
    fresh = critic()
    for head, target in zip(fresh.heads.parameters(), fresh.target.parameters(), strict=True):
        assert torch.equal(head, target)
        assert head.data_ptr() != target.data_ptr()
        assert head.requires_grad
        assert not target.requires_grad


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.7, 1.0])
def test_targets_move_by_the_rate_towards_the_heads(rate):
    moved = shaken()
    before = [p.clone() for p in moved.target.parameters()]
    heads = [p.detach().clone() for p in moved.heads.parameters()]
    moved.soft_update(rate)
    for old, new, head in zip(before, moved.target.parameters(), heads, strict=True):
        torch.testing.assert_close(new, old + rate * (head - old))
    assert all(torch.equal(a, b) for a, b in zip(heads, moved.heads.parameters(), strict=True))


def test_many_soft_updates_reach_the_heads():
    moved, x = shaken(), torch.randn(9, 6)
    for _ in range(60):
        moved.soft_update(0.3)
    torch.testing.assert_close(moved.target_values(x), moved.values(x), rtol=1e-4, atol=1e-4)


def test_target_values_carry_no_gradient_even_to_the_input():
    moved, x = shaken(), torch.randn(9, 6, requires_grad=True)
    assert not moved.target_values(x).requires_grad
    moved.values(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in moved.target.parameters())


def test_values_decode_the_logits_of_the_chosen_heads():
    moved, x, chosen = shaken(), torch.randn(3, 4, 6), torch.tensor([3, 1])
    expected = moved.two_hot.decode(moved.logits(x))
    torch.testing.assert_close(moved.values(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(moved.values(x, chosen), expected[chosen], rtol=1e-4, atol=1e-4)
    moved.soft_update(1.0)
    torch.testing.assert_close(moved.target_values(x, chosen), expected[chosen], rtol=1e-4, atol=1e-4)


def test_draws_are_two_different_heads_every_pair_as_often():
    five = critic()
    draws = torch.stack([five.draw() for _ in range(3000)])
    assert (draws[:, 0] != draws[:, 1]).all()
    counts = (draws.amin(1) * 5 + draws.amax(1)).unique(return_counts=True)[1]
    assert len(counts) == 10
    chi_square = ((counts - 300.0) ** 2 / 300.0).sum()
    assert chi_square < 28  # 9 degrees of freedom: exceeded once in a thousand


@pytest.mark.parametrize("members", [1, 2])
def test_of_two_heads_or_fewer_all_are_read(members):
    small = critic(members=members)
    assert small.draw() is None
    assert small.values(torch.zeros(3, 6), small.draw()).shape == (members, 3)


def test_training_drops_units_in_the_heads_and_never_in_the_targets():
    moved, x = shaken(dropout=0.5), torch.randn(9, 6)
    moved.soft_update(1.0)
    still = moved.target_values(x)
    moved.train()
    assert moved.training
    assert moved.heads.training
    assert not any(part.training for part in moved.target.modules())
    assert torch.equal(moved.target_values(x), still)
    assert not torch.equal(moved.values(x), moved.values(x))
    moved.eval()
    assert torch.equal(moved.values(x), moved.values(x))


def test_heads_and_targets_are_in_the_checkpoint_and_constants_are_not():
    names = set(critic().state_dict())
    assert {name.split(".")[0] for name in names} == {"heads", "target"}
    moved, other, x = shaken(), critic(), torch.randn(4, 6)
    other.load_state_dict(moved.state_dict())
    assert torch.equal(other.values(x), moved.values(x))
    assert torch.equal(other.target_values(x), moved.target_values(x))


# -- random networks -------------------------------------------------------------------------------------------------


def randomised(members=5, scale=2.0):
    return make_critic(6, 16, members, TwoHot(21, -5.0, 5.0), random_value_scale=scale)


def test_a_scale_of_zero_is_the_plain_critic_from_the_same_random_numbers():
    torch.manual_seed(3)
    plain = critic()
    torch.manual_seed(3)
    made = make_critic(6, 16, 5, TwoHot(21, -5.0, 5.0), random_value_scale=0.0)
    assert type(made) is Critic
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), made.parameters(), strict=True))


def test_new_randomised_heads_disagree_and_agree_with_their_slow_copies():
    fresh, x = randomised(), torch.randn(200, 6)
    values = fresh.values(x)
    assert isinstance(fresh, RandomisedCritic)
    assert symlog(values).std(0).mean() > 0.3, "about 0.4 times the scale"
    assert values.std(1).mean() > 0.1, "functions of the input, not offsets"
    assert torch.equal(fresh.target_values(x), values)
    chosen = torch.tensor([3, 1])
    torch.testing.assert_close(fresh.values(x, chosen), values[chosen])
    assert (critic().values(x).var(0) == 0).all(), "without random networks they agree"


def test_the_random_networks_are_frozen_and_saved_and_pass_gradients_to_the_input():
    fresh, x = randomised(), torch.randn(9, 6, requires_grad=True)
    assert not any(p.requires_grad for p in fresh.random_values.parameters())
    assert {name for name in fresh.state_dict() if name.startswith("random_values.")}
    before = [p.clone() for p in fresh.random_values.parameters()]
    fresh.values(x).sum().backward()
    assert x.grad.abs().max() > 0, "the last layers are zero: all of the gradient comes from the random networks"
    fresh.soft_update(1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, fresh.random_values.parameters(), strict=True))


def test_a_head_learns_the_target_less_its_random_value():
    fresh, x, target = randomised(), torch.randn(9, 6, requires_grad=True), torch.randn(9) * 10
    torch.nn.init.normal_(fresh.heads.linears[-1].weight)
    lift = 2.0 * fresh.random_values(x.detach()).squeeze(-1)
    logits, left = fresh.logits(x.detach()), symlog(target) - lift
    expected = torch.stack([fresh.two_hot.level_cross_entropy(logits[i], left[i]) for i in range(5)])
    loss = fresh.loss(x, target)
    torch.testing.assert_close(loss, expected)
    alone = torch.autograd.grad(fresh.two_hot.level_cross_entropy(fresh.logits(x), left).sum(), x)[0]
    torch.testing.assert_close(torch.autograd.grad(loss.sum(), x)[0], alone)


def test_randomised_heads_come_to_agree_near_data_and_stay_apart_elsewhere():
    torch.manual_seed(0)
    learner, x = randomised(), 0.5 * torch.randn(64, 6)
    target, far = 5 + 3 * x[:, 0], 4 * torch.randn(64, 6) + 6
    before, apart = learner.values(x).var(0).mean(), learner.values(far).var(0).mean()
    optimizer = torch.optim.Adam(learner.heads.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        learner.loss(x, target).mean().backward()
        optimizer.step()
    values = learner.values(x)
    torch.testing.assert_close(values.mean(0), target, rtol=0, atol=1.0)
    assert values.var(0).mean() < before / 5
    assert learner.values(far).var(0).mean() > max(apart, 20 * values.var(0).mean())
