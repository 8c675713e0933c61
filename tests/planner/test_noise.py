"""Every noise has unit variance at every step and the named correlation over time."""

import pytest
import torch

from pompc.planner import MPPIConfig
from pompc.planner.noise import NOISES, ColouredNoise, MirroredNoise, SplineNoise, WhiteNoise

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("horizon", [1, 2, 3, 20])
def test_unit_variance_at_every_step(name, horizon):
    torch.manual_seed(0)
    noise = NOISES[name](MPPIConfig(horizon=horizon, noise=name))((40000, horizon, 2), CPU)
    assert noise.shape == (40000, horizon, 2)
    torch.testing.assert_close(noise.var(0), torch.ones(horizon, 2), atol=0.04, rtol=0)
    torch.testing.assert_close(noise.mean(0), torch.zeros(horizon, 2), atol=0.03, rtol=0)


def autocorrelation(noise, lag=1):
    return (noise[:, lag:] * noise[:, :-lag]).mean().item()


def test_correlation_over_time_grows_with_the_exponent():
    torch.manual_seed(0)
    shape = (5000, 20, 1)
    white = autocorrelation(WhiteNoise()(shape, CPU))
    flat = autocorrelation(ColouredNoise(20, 0.0)(shape, CPU))
    pink = autocorrelation(ColouredNoise(20, 1.0)(shape, CPU))
    brown = autocorrelation(ColouredNoise(20, 2.0)(shape, CPU))
    assert abs(white) < 0.02
    assert abs(flat) < 0.03
    assert 0.3 < pink < brown < 1.0


def test_the_power_spectrum_falls_with_the_exponent():
    torch.manual_seed(0)
    series = ColouredNoise(256, 2.0)((2000, 256, 1), CPU)[..., 0]
    window = torch.hann_window(256)
    power = torch.fft.rfft(series * window, dim=1).abs().square().mean(0)
    frequency = torch.arange(8, 64, dtype=torch.float32)
    slope = torch.linalg.lstsq(torch.stack([frequency.log(), torch.ones(56)], 1), power[8:64].log()[:, None]).solution
    assert abs(slope[0, 0].item() + 2.0) < 0.25


def test_spline_passes_through_few_degrees_of_freedom():
    torch.manual_seed(0)
    noise = SplineNoise(20, 4)((1000, 20, 1), CPU)[..., 0]
    assert torch.linalg.matrix_rank(noise, rtol=1e-4).item() == 4
    assert SplineNoise(20, 1)((3, 20, 1), CPU).std(1).max() == 0


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("horizon", [1, 2, 12])
def test_covariance_over_time_is_that_of_the_samples(name, horizon):
    noise = NOISES[name](MPPIConfig(horizon=horizon, noise=name))
    covariance, drawn = noise.covariance(horizon), noise((100_000, horizon, 2), CPU)
    torch.testing.assert_close(covariance.diagonal(), torch.ones(horizon, dtype=torch.float64))
    for entry in range(2):
        empirical = drawn[..., entry].T @ drawn[..., entry] / len(drawn)
        torch.testing.assert_close(empirical, covariance.float(), rtol=0, atol=0.02)
    assert (drawn[..., 0] * drawn[..., 1]).mean().abs() < 0.01, "action entries are independent"


def test_a_spline_has_as_many_degrees_of_freedom_as_knots():
    for knots in (1, 2, 4, 9, 20):
        assert torch.linalg.matrix_rank(SplineNoise(20, knots).covariance(20)).item() == knots


@pytest.mark.parametrize("count", [6, 7])
def test_mirrored_samples_come_in_opposite_pairs(count):
    noise = MirroredNoise(WhiteNoise())((3, count, 4, 2), CPU)
    assert noise.shape == (3, count, 4, 2)
    half = (count + 1) // 2
    assert torch.equal(noise[:, half:], -noise[:, : count - half])
    assert not torch.equal(noise[0], noise[1])
    torch.testing.assert_close(MirroredNoise(SplineNoise(4, 2)).covariance(4), SplineNoise(4, 2).covariance(4))
