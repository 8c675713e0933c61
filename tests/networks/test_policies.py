"""Policies agree with torch's distributions and with integrals."""

import pytest
import torch
from torch.distributions import Independent, Normal, TransformedDistribution, kl_divergence
from torch.distributions.transforms import TanhTransform

from pompc.models.tasks import TaskEmbedding
from pompc.networks.policies import POLICIES, PolicySample, gaussian_kl

NAMES = list(POLICIES)


def policy(name="squashed", action_dim=2, log_stds=(-4.0, 1.0), tasks=None, input_dim=5):
    torch.manual_seed(3)
    made = POLICIES[name](input_dim, 16, action_dim, log_std_min=log_stds[0], log_std_max=log_stds[1], tasks=tasks)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def drawn(mean, log_std, count, squash=torch.tanh):
    """Draw many times from one Gaussian by hand ``[count, 1]``."""
    mean, log_std, noise = torch.full((count, 1), mean), torch.full((count, 1), log_std), torch.randn(count, 1)
    return PolicySample(squash(mean + noise * log_std.exp()), mean, log_std, noise)


def test_gaussian_divergence_is_torchs():
    mean, std, other, width = torch.rand(4, 7, 3) + 0.1
    torch.testing.assert_close(
        gaussian_kl(mean, std, other, width), kl_divergence(Normal(mean, std), Normal(other, width))
    )
    assert gaussian_kl(mean, std, mean, std).abs().max() < 1e-6


def test_squashed_density_is_that_of_the_transformed_distribution():
    squashed, state = policy("squashed", 3), torch.randn(40, 5)
    sample = squashed.sample(state)
    reference = TransformedDistribution(
        Independent(Normal(sample.mean, sample.log_std.exp()), 1), TanhTransform(cache_size=0)
    )
    inside = sample.action.abs().amax(-1) < 0.98  # the reference inverts tanh, which loses all digits at the edge
    assert inside.sum() > 20
    # The volume change has 1e-6 inside its logarithm, which keeps it finite at the edge.
    torch.testing.assert_close(
        squashed.log_prob(sample)[inside], reference.log_prob(sample.action)[inside], rtol=1e-3, atol=1e-3
    )


def test_clamped_density_is_that_of_the_gaussian_behind_it():
    clamped = policy("clamped", 3, log_stds=(-2.0, 1.0))
    sample = clamped.sample(torch.randn(40, 5))
    x = sample.mean + sample.noise * sample.log_std.exp()
    expected = Independent(Normal(sample.mean, sample.log_std.exp()), 1).log_prob(x)
    torch.testing.assert_close(clamped.log_prob(sample), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sample.action, x.clamp(-1, 1))
    assert sample.action.abs().max() == 1


@pytest.mark.parametrize("name", NAMES)
def test_draws_have_the_mean_and_the_std_that_forward_returns(name):
    made, state = policy(name, 2, log_stds=(-3.0, -2.0)), torch.randn(1, 5)
    mean, log_std = made(state)
    x = made.sample(state.expand(40_000, 5))
    gaussian = x.mean + x.noise * x.log_std.exp()
    torch.testing.assert_close(gaussian.mean(0), mean[0], rtol=0, atol=3e-3)
    torch.testing.assert_close(gaussian.std(0), log_std[0].exp(), rtol=0.02, atol=0)
    assert x.action.abs().max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_draws_are_differentiable_to_the_network(name):
    made = policy(name, log_stds=(-3.0, -1.0))
    made.sample(torch.randn(6, 5)).action.sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in made.parameters())


def test_the_mean_is_free_before_squashing_and_bounded_before_clamping():
    for name, largest in (("squashed", 50.0), ("clamped", 1.0)):
        made = policy(name)
        torch.nn.init.constant_(made.net[-1].bias, 50.0)
        assert made(torch.zeros(1, 5))[0].amax().item() == pytest.approx(largest, rel=0.1)


@pytest.mark.parametrize(("bias", "end"), [(-100.0, -4.0), (100.0, 1.0), (0.0, -1.5)])
def test_the_log_std_fills_its_range(bias, end):
    made = policy()
    with torch.no_grad():
        made.net[-1].weight.zero_()
        made.net[-1].bias.fill_(bias)
    assert made(torch.randn(3, 5))[1].unique().item() == pytest.approx(end)


@pytest.mark.parametrize("name", NAMES)
def test_another_range_stretches_the_log_std_and_nothing_else(name):
    made, state = policy(name, log_stds=(-3.0, 1.0)), torch.randn(30, 5)
    torch.manual_seed(0)
    usual = made.sample(state)
    torch.manual_seed(0)
    wider = made.sample(state, (-2.0, 0.0))
    torch.testing.assert_close((wider.log_std + 2) / 2, (usual.log_std + 3) / 4)
    assert torch.equal(wider.mean, usual.mean)
    assert torch.equal(wider.noise, usual.noise)
    torch.manual_seed(0)
    same = made.sample(state, (-3.0, 1.0))
    torch.testing.assert_close(same.action, usual.action)


def test_saturated_actions_have_a_finite_density_and_gradient():
    made = policy("squashed", log_stds=(-10.0, 2.0))
    torch.nn.init.constant_(made.net[-1].bias, 30.0)
    sample = made.sample(torch.randn(20, 5))
    assert (sample.action.abs() == 1).any()
    loss = made.divergence(sample, torch.zeros(20, 2), torch.full((20, 2), 0.05)).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter.grad).all() for parameter in made.parameters())


def grid(low, high, count=200_001):
    x = torch.linspace(low, high, count, dtype=torch.float64)
    return x, x[1] - x[0]


@pytest.mark.parametrize(("mean", "std"), [(0.3, 0.5), (-0.8, 1.5)])
def test_squashed_divergence_averages_to_the_integral(mean, std):
    """In one dimension the KL is the integral of pi (log pi - log N) over (-1, 1), computed by a = tanh(x)."""
    made, centre, log_std = policy("squashed", 1), 0.4, -0.7
    sample = drawn(centre, log_std, 200_000)
    own, plan = Normal(centre, torch.tensor(log_std).exp().double()), Normal(mean, std)
    x, step = grid(centre - 5, centre + 5)
    volume = torch.log1p(-torch.tanh(x).square())
    exact = (own.log_prob(x).exp() * (own.log_prob(x) - volume - plan.log_prob(torch.tanh(x)))).sum() * step
    estimate = made.divergence(sample, torch.full((1,), mean), torch.full((1,), std))
    assert estimate.mean().item() == pytest.approx(exact.item(), abs=4 * estimate.std().item() / 200_000**0.5)
    assert exact > 0


def test_clamped_divergence_is_closed_form_over_the_action():
    made, mean, std = policy("clamped", 3), torch.rand(7, 3), torch.rand(7, 3) + 0.1
    sample = made.sample(torch.randn(7, 5))
    exact = kl_divergence(Normal(sample.mean, sample.log_std.exp()), Normal(mean, std)).mean(-1)
    torch.testing.assert_close(made.divergence(sample, mean, std), exact)


@pytest.mark.parametrize("name", NAMES)
def test_imitation_is_least_where_the_policy_is_what_it_imitates(name):
    """A policy that learns by imitation ends with the mean and the std that it was shown."""
    made, mean, std = policy(name, 1, log_stds=(-4.0, 1.0)), torch.full((256, 1), 0.2), torch.full((256, 1), 0.15)
    adam, state = torch.optim.Adam(made.parameters(), lr=3e-3), torch.zeros(256, 5)
    for _ in range(250):
        adam.zero_grad()
        made.imitation(state, mean, std).mean().backward()
        adam.step()
    actions = made.sample(torch.zeros(4000, 5)).action
    assert actions.mean().item() == pytest.approx(0.2, abs=0.03)
    assert actions.std().item() == pytest.approx(0.15, rel=0.15)


def test_clamped_imitation_is_the_other_divergence():
    made, state, mean, std = policy("clamped", 3), torch.randn(7, 5), torch.rand(7, 3), torch.rand(7, 3) + 0.1
    own, log_std = made(state)
    exact = kl_divergence(Normal(mean, std), Normal(own, log_std.exp())).mean(-1)
    torch.testing.assert_close(made.imitation(state, mean, std), exact)


def test_squashing_both_does_not_change_a_divergence():
    """Draws of the squashed densities average to the closed form between the Gaussians."""
    mean, log_std = torch.tensor([0.5]), torch.tensor([-0.4])
    sample = drawn(0.1, -0.8, 100_000)
    made = policy("squashed", 1)
    x = sample.mean + sample.noise * sample.log_std.exp()
    there = PolicySample(sample.action, mean, log_std, (x - mean) / log_std.exp())
    estimate = made.log_prob(sample) - made.log_prob(there)
    exact = sample.gaussian_kl(mean, log_std)[0].item()
    assert estimate.mean().item() == pytest.approx(exact, abs=4 * estimate.std().item() / 100_000**0.5)


def tasks():
    return TaskEmbedding(torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]), torch.full((3,), 0.9), 2)


@pytest.mark.parametrize("name", NAMES)
def test_actions_a_task_lacks_are_zero_and_count_for_nothing(name):
    made, task = policy(name, 3, tasks=tasks(), input_dim=6), torch.tensor([0.0, 1.0, 2.0])
    state = torch.cat([torch.randn(3, 4), task[:, None]], -1)
    sample = made.sample(state)
    assert ((sample.action == 0) == (sample.mask == 0)).all()
    assert sample.num_actions.tolist() == [1, 3, 2]
    mean, std = torch.rand(3, 3), torch.rand(3, 3) + 0.1
    for index, size in enumerate((1, 3, 2)):
        own = (slice(index, index + 1), slice(size))
        alone = PolicySample(sample.action[own], sample.mean[own], sample.log_std[own], sample.noise[own])
        for whole, part in (
            (made.log_prob(sample)[index], made.log_prob(alone)[0]),
            (sample.gaussian_log_prob[index], alone.gaussian_log_prob[0]),
            (made.divergence(sample, mean, std)[index], made.divergence(alone, mean[own], std[own])[0]),
        ):
            torch.testing.assert_close(whole, part)


@pytest.mark.parametrize("name", NAMES)
def test_imitation_does_not_look_at_actions_a_task_lacks(name):
    made, state = policy(name, 3, tasks=tasks(), input_dim=6), torch.cat([torch.randn(9, 4), torch.zeros(9, 1)], -1)
    losses = []
    for beyond in (0.1, 0.9):
        mean, std = (torch.cat([torch.full((9, 1), 0.2), torch.full((9, 2), beyond)], -1) for _ in range(2))
        torch.manual_seed(0)
        losses.append(made.imitation(state, mean, std))
    assert torch.equal(*losses)


def test_entries_of_a_sample_are_those_of_all_its_tensors():
    sample = policy(action_dim=3, tasks=tasks(), input_dim=6).sample(torch.ones(4, 2, 5))
    part = sample[:2]
    for name in ("action", "mean", "log_std", "noise", "mask"):
        assert torch.equal(getattr(part, name), getattr(sample, name)[:2])


def test_the_tasks_belong_to_the_world_model():
    assert not any("table" in name for name in policy(action_dim=3, tasks=tasks(), input_dim=6).state_dict())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("log_std", [-3.0, 0.0, 2.0])
def test_the_mean_divergence_is_the_mean_over_many_draws(name, log_std):
    gaussian, count = policy(name, log_stds=(log_std, log_std)), 40_000
    state, mean, std = torch.randn(1, 5), torch.tensor([[0.3, -0.9]]), torch.tensor([[0.7, 1.5]])
    drawn = gaussian.divergence(gaussian.sample(state.expand(count, 5)), mean.expand(count, 2), std.expand(count, 2))
    before = torch.get_rng_state()
    found = gaussian.mean_divergence(state, mean, std)
    assert torch.equal(before, torch.get_rng_state())  # nothing is drawn
    assert found.shape == (1,)
    assert abs(found - drawn.mean()) < 4 * drawn.std() / count**0.5 + 1e-4


def test_the_mean_divergence_leaves_out_entries_that_a_task_lacks():
    masks = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    tasks = TaskEmbedding(masks, torch.tensor([0.9, 0.9]), 4)
    gaussian = policy("squashed", tasks=tasks, input_dim=9)
    state = torch.cat([torch.randn(2, 5), torch.arange(2.0).unsqueeze(1)], dim=1)
    mean, std = torch.zeros(2, 2), torch.ones(2, 2)
    found = gaussian.mean_divergence(state, mean, std)
    mean[:, 1] = 5.0
    assert torch.equal(gaussian.mean_divergence(state, mean, std)[0], found[0])
    assert gaussian.mean_divergence(state, mean, std)[1] > found[1]
