"""How real and virtual transitions share value learning."""

import pytest
import torch

from pompc.networks.ensembles import masked_huber
from pompc.onpolicy.mixing import MIXES, VIRTUAL_WEIGHTS, equal_weight, news_weight
from pompc.onpolicy.virtual_targets import bootstrapped_share


def test_a_virtual_transition_weighs_the_news_in_its_target():
    bootstrapped = torch.tensor([1.0, 0.95, 0.9, 0.5, 0.0])
    real = torch.tensor(0.9)
    torch.testing.assert_close(news_weight(bootstrapped, real), torch.tensor([0.0, 0.5, 1.0, 1.0, 1.0]))
    assert equal_weight(bootstrapped, real).tolist() == [1.0] * 5


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("name", MIXES)
def test_mixes_weigh_virtual_transitions_by_the_ratio(name, ratio):
    real, virtual, real_weight, virtual_weight = MIXES[name](ratio, 256)
    assert real_weight + virtual_weight == pytest.approx(1)
    assert virtual_weight == pytest.approx(ratio, abs=1 / 256)
    assert (real > 0) == (ratio < 1)
    assert (virtual > 0) == (ratio > 0)


@pytest.mark.parametrize("name", MIXES)
def test_both_mixes_have_the_same_gradient_in_expectation(name):
    """Over minibatches that show every transition equally often the expectation is exact."""
    observation, target, slope = torch.randn(32), 3 * torch.randn(32), torch.ones(1, requires_grad=True)
    share = torch.cat([torch.full((24,), 0.75 / 24), torch.full((8,), 0.25 / 8)])  # 24 transitions are real

    def loss(index):
        values = slope * observation[index]
        return masked_huber(values.unsqueeze(0), target[index], torch.ones(1, len(index)))

    num_real, num_virtual, real_weight, virtual_weight = MIXES[name](0.25, 8)
    steps = 24 // num_real
    real = torch.randperm(24).view(steps, num_real)
    virtual = 24 + torch.cat([torch.randperm(8) for _ in range(3)])[: steps * num_virtual].view(steps, num_virtual)
    losses = [real_weight * loss(a) + virtual_weight * loss(b) for a, b in zip(real, virtual, strict=True)]
    (gradient,) = torch.autograd.grad(torch.stack(losses).mean(), slope)
    distance = observation - target  # distances of the values from their targets; the slope of the Huber loss ends at 1
    torch.testing.assert_close(gradient, (share * distance.clamp(-1, 1) * observation).sum().unsqueeze(0))


@pytest.mark.parametrize("ratio", [0.3, 0.8])
@pytest.mark.parametrize("weigh", VIRTUAL_WEIGHTS.values())
def test_a_bias_of_virtual_targets_counts_by_their_share_of_the_news(weigh, ratio):
    """One value of all states, learned from targets that move it by their news to 0, the virtual ones to their bias."""
    length = {"discount": 0.95, "gae_lambda": 0.97}
    never = [torch.zeros(1, steps, dtype=torch.bool) for steps in (512, 20)]
    real, virtual = ((1 - bootstrapped_share(x, x, **length))[0] for x in never)
    weight, bias = weigh(1 - virtual, 1 - real.mean()), 0.4
    value = torch.zeros(1, requires_grad=True)
    for _ in range(200):
        with torch.no_grad():
            targets = (1 - real) * value, (1 - virtual) * value + virtual * bias
        groups = ((1 - ratio, targets[0], None), (ratio, targets[1], weight))
        loss = sum(share * masked_huber(value.expand(1, len(x)), x, torch.ones(1, len(x)), w) for share, x, w in groups)
        (slope,) = torch.autograd.grad(loss, value)
        value.data -= slope / (1 - ratio + ratio * weight.mean())  # to the least loss
    news = (1 - ratio) * real.mean(), ratio * (weight * virtual).mean()
    torch.testing.assert_close(value.item(), (bias * news[1] / sum(news)).item(), rtol=1e-3, atol=0)
