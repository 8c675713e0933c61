"""The running scale of a loss term: a moving range of percentiles, equal to TorchRL's."""

import numpy as np
import pytest
import torch
from torchrl.modules import PercentileValueNorm

from pompc.networks.scale import RunningScale


def ranges(*batches):
    return [np.percentile(batch, 95) - np.percentile(batch, 5) for batch in batches]


@pytest.mark.parametrize("shape", [(101,), (4, 64), (3, 5, 7)])
@pytest.mark.parametrize("std", [3.0, 1e4])
def test_at_rate_one_it_is_the_range_of_the_last_batch(shape, std):
    scale, other = RunningScale(1.0), PercentileValueNorm(rate=1.0)
    for _ in range(3):
        x = torch.randn(*shape) * std + 100
        scale.update(x)
        other.update(x.reshape(-1, 1))
        assert scale.value.item() == pytest.approx(ranges(x.numpy())[0], rel=1e-4)
        torch.testing.assert_close(scale.value, other.scale()[0], rtol=1e-4, atol=0)
        torch.testing.assert_close(scale(x), other.normalize(x.reshape(-1, 1)).reshape(shape), rtol=1e-4, atol=1e-5)


def test_it_moves_by_the_rate_from_one():
    """TorchRL's percentiles start at zero, so its scale lags by ``(1 - rate)^updates``."""
    rate, scale, other = 0.05, RunningScale(0.05), PercentileValueNorm(rate=0.05)
    expected = 1.0
    for update in range(1, 80):
        x = torch.randn(64, 1) * 20 + 5
        scale.update(x)
        other.update(x)
        expected += rate * (ranges(x.numpy())[0] - expected)
        assert scale.value.item() == pytest.approx(expected, rel=1e-4)
        if other.scale().item() > 1:
            assert scale.value.item() - other.scale().item() == pytest.approx((1 - rate) ** update, abs=1e-3)


def test_it_arrives_at_the_range_of_what_it_sees():
    scale, x = RunningScale(0.1), torch.randn(1000) * 7
    for _ in range(150):
        scale.update(x)
    assert scale.value.item() == pytest.approx(ranges(x.numpy())[0], rel=1e-3)


@pytest.mark.parametrize("x", [torch.full((32,), 5.0), torch.randn(32) * 0.01, torch.zeros(1)])
def test_small_terms_are_never_blown_up(x):
    scale = RunningScale(0.5)
    for _ in range(20):
        scale.update(x)
    assert scale.value == 1
    assert torch.equal(scale(x), x)


def test_it_divides_and_does_not_centre():
    scale = RunningScale(1.0)
    scale.update(torch.linspace(0, 100, 101))
    assert scale.value.item() == pytest.approx(90)
    torch.testing.assert_close(scale(torch.tensor([45.0, -9.0])), torch.tensor([0.5, -0.1]))


def test_outliers_beyond_five_per_cent_do_not_move_it():
    calm = torch.cat([torch.linspace(-5, 5, 980), torch.zeros(20)])
    wild = torch.cat([torch.linspace(-5, 5, 980), torch.full((10,), 1e9), torch.full((10,), -1e9)])
    scales = []
    for x in (calm, wild):
        scales.append(RunningScale(1.0))
        scales[-1].update(x)
    torch.testing.assert_close(scales[1].value, scales[0].value, rtol=0.03, atol=0)


def test_no_gradient_goes_through_the_scale():
    scale, x = RunningScale(1.0), torch.randn(50, requires_grad=True)
    scale.update(x * 100)
    scale(x).sum().backward()
    torch.testing.assert_close(x.grad, (1 / scale.value).expand(50))


def test_it_is_part_of_a_checkpoint():
    scale, other = RunningScale(0.3), RunningScale(0.3)
    scale.update(torch.randn(100) * 50)
    other.load_state_dict(scale.state_dict())
    assert other.value == scale.value
    assert other.value > 1


@pytest.mark.parametrize(("minimum", "start"), [(0.01, 1.0), (1.0, 1.0), (5.0, 5.0)])
def test_the_floor_is_an_option_and_the_start_never_below_it(minimum, start):
    scale = RunningScale(0.2, minimum)
    assert scale.value.item() == start
    for _ in range(100):
        scale.update(torch.zeros(32))
    assert scale.value.item() == pytest.approx(minimum, rel=1e-3)


def test_a_low_floor_brings_small_terms_to_the_size_of_large_ones():
    x, scaled = torch.randn(500), []
    for factor in (0.05, 100.0):
        scale = RunningScale(0.1, 0.01)
        for _ in range(200):
            scale.update(factor * x)
        scaled.append(scale(factor * x))
    torch.testing.assert_close(scaled[0], scaled[1], rtol=1e-3, atol=1e-3)
