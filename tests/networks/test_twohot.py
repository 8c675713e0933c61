"""Two-hot regression: a round trip, the same numbers as TorchRL's on the same bins, and the gradient of a cross-entropy."""

import math

import pytest
import torch
from torchrl.objectives import two_hot_cross_entropy, two_hot_decode, two_hot_encode

from pompc.networks.twohot import TwoHot, symexp, symlog


@pytest.fixture
def two_hot():
    return TwoHot(101, -10.0, 10.0)


def values():
    """Return both signs of seven orders of magnitude, zero, and values that lie on bins."""
    sizes = torch.logspace(-3, 4, 200)
    return torch.cat([sizes, -sizes, torch.zeros(1), symexp(torch.linspace(-9.8, 9.8, 99))])


def dense(two_hot, x):
    """Return the encoding as a distribution ``[..., bin]``."""
    below, weight = two_hot.encode(x)
    table = torch.zeros(*x.shape, len(two_hot.bins))
    table.scatter_(-1, below[..., None], 1 - weight[..., None])
    return table.scatter_(-1, below[..., None] + 1, weight[..., None])


def test_symlog_is_odd_has_slope_one_at_zero_and_is_undone():
    x = torch.cat([values().double(), torch.tensor([1e12, -1e12], dtype=torch.float64)])
    torch.testing.assert_close(symexp(symlog(x)), x, rtol=1e-12, atol=1e-12)
    assert torch.equal(symlog(-x), -symlog(x))
    small = torch.tensor([1e-8, -1e-8], dtype=torch.float64)
    torch.testing.assert_close(symlog(small), small, rtol=1e-7, atol=0)
    assert symlog(torch.tensor(math.e - 1)).item() == pytest.approx(1)


def test_encoding_and_decoding_return_the_value(two_hot):
    x = values()
    decoded = two_hot.decode(dense(two_hot, x).log())
    torch.testing.assert_close(decoded, x, rtol=1e-4, atol=1e-5)


def test_the_encoding_is_two_neighbours_whose_mean_is_the_value(two_hot):
    below, weight = two_hot.encode(values())
    assert below.min() >= 0
    assert below.max() <= len(two_hot.bins) - 2
    assert weight.min() >= 0
    assert weight.max() <= 1
    mean = two_hot.bins[below] * (1 - weight) + two_hot.bins[below + 1] * weight
    torch.testing.assert_close(mean, symlog(values()), rtol=0, atol=2e-6)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_values_beyond_the_last_bin_are_the_last_bin(two_hot, sign):
    edge = two_hot.decode(dense(two_hot, sign * torch.tensor([math.expm1(10.0), 1e9, 1e30])).log())
    torch.testing.assert_close(edge, torch.full((3,), sign * math.expm1(10.0)), rtol=1e-5, atol=0)


def test_equals_torchrl_on_symlog_values(two_hot):
    x, logits = values(), 3 * torch.randn(len(values()), 101)
    bins = two_hot.bins
    torch.testing.assert_close(dense(two_hot, x), two_hot_encode(symlog(x), bins), rtol=0, atol=1e-4)
    torch.testing.assert_close(two_hot.decode(logits), symexp(two_hot_decode(logits, bins)), rtol=1e-4, atol=1e-5)
    expected = two_hot_cross_entropy(logits, symlog(x), bins)
    torch.testing.assert_close(two_hot.cross_entropy(logits, x), expected, rtol=1e-3, atol=1e-3)


def test_the_gradient_of_the_loss_is_softmax_minus_target(two_hot):
    x, logits = torch.randn(5) * 20, torch.randn(5, 101, requires_grad=True)
    two_hot.cross_entropy(logits, x).sum().backward()
    torch.testing.assert_close(logits.grad, torch.softmax(logits.detach(), -1) - dense(two_hot, x), rtol=0, atol=1e-6)


def test_one_target_serves_every_member_of_an_ensemble(two_hot):
    logits, x = torch.randn(3, 4, 6, 101), torch.randn(4, 6) * 5
    together = two_hot.cross_entropy(logits, x)
    assert together.shape == (3, 4, 6)
    for member in range(3):
        torch.testing.assert_close(together[member], two_hot.cross_entropy(logits[member], x))


def test_the_expectation_is_taken_before_symexp(two_hot):
    """Half the mass on 0 and half on the last bin is a mean of 5 in symlog, not the mean of the two values."""
    logits = torch.full((101,), -torch.inf)
    logits[[50, 100]] = 0.0
    assert two_hot.decode(logits).item() == pytest.approx(math.expm1(5.0), rel=1e-5)
    assert two_hot.decode(torch.zeros(101)).item() == pytest.approx(0, abs=1e-6)


def test_bins_need_not_be_symmetric():
    lopsided = TwoHot(7, -1.0, 5.0)
    x = torch.tensor([-1.5, 0.0, 3.0, 100.0])
    torch.testing.assert_close(lopsided.decode(dense(lopsided, x).log()), x, rtol=1e-5, atol=1e-6)
    assert lopsided.state_dict() == {}  # constants, which weights of other libraries lack
