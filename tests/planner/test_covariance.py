"""Samples have a given covariance between the entries of an action."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from pompc.errors import UserError
from pompc.models import FunctionModel
from pompc.planner import MPPI, MPPIConfig

FREE = FunctionModel(lambda x, u: x, lambda x, u: torch.zeros_like(x[..., 0]))
SAMPLED = {"num_zero_mean": 0, "include_mean": False}
MATRIX = ((0.5, 0.3), (0.3, 0.4))
SINGULAR = ((0.25, -0.5), (-0.5, 1.0))
ONE_FIXED = ((0.0, 0.0), (0.0, 0.3))


def planner(matrix, actions=2, **options):
    return MPPI(MPPIConfig(init_covariance=matrix, **options), FREE, FREE, actions, low=-1e3, high=1e3)


@pytest.mark.parametrize("matrix", [MATRIX, SINGULAR, ONE_FIXED], ids=str)
@pytest.mark.parametrize("noise", ["white", "coloured", "spline"])
def test_samples_have_the_covariance_at_every_step_and_that_of_the_noise_over_time(matrix, noise):
    mppi = planner(matrix, horizon=5, num_samples=100_000, noise=noise, **SAMPLED)
    drawn = mppi.plan(torch.zeros(1, 1)).actions[0, 0].flatten(1)
    over_time = mppi.noise.covariance(5).float()
    torch.testing.assert_close(drawn.T.cov(), torch.kron(over_time, torch.tensor(matrix)), atol=0.02, rtol=0)


def test_a_diagonal_matrix_is_a_standard_deviation_of_each_entry():
    plans = []
    for options in ({"init_covariance": ((0.01, 0.0), (0.0, 0.49))}, {"init_std": (0.1, 0.7)}):
        torch.manual_seed(0)
        mppi = MPPI(MPPIConfig(horizon=4, **options), FREE, FREE, 2)
        plans.append(mppi.plan(torch.zeros(1, 1)).actions)
    torch.testing.assert_close(*plans)


@pytest.mark.parametrize("matrix", [MATRIX, SINGULAR], ids=str)
def test_a_control_cost_uses_the_densities_of_the_correlated_samples(matrix):
    """The ratio of a sample to the closed form, the base with half of the mean."""
    mppi = planner(matrix, horizon=3, num_samples=8, control_cost=0.5, noise="coloured", num_zero_mean=3)
    assert mppi.importance is not None
    std = mppi.init_std.expand(1, 1, 3, 2)
    mean = mppi.importance.reachable(torch.randn(1, 1, 1, 3, 2), std).squeeze(2)
    drawn = mppi.sample(mean, std, None, None)
    found = mppi.importance.log_ratio(drawn, mean, std, None)[0, 0]
    covariance = np.kron(mppi.noise.covariance(3).numpy(), np.array(matrix))
    centre = mean.flatten().double().numpy()

    def density(at, share):
        return multivariate_normal(share * centre, covariance, allow_singular=True).pdf(at)

    for sample, ratio in zip(drawn[0, 0].flatten(1).double().numpy(), found, strict=True):
        if matrix == SINGULAR:  # float32 leaves the line that the samples lie on
            line = np.kron(np.eye(3), np.array([[1.0, -2.0], [-2.0, 4.0]]) / 5)
            sample = line @ sample
        mixture = 5 / 8 * density(sample, 1.0) + 3 / 8 * density(sample, 0.0)
        assert ratio.exp().item() == pytest.approx(density(sample, 0.5) / mixture, rel=5e-3)


def test_a_control_cost_keeps_what_the_covariance_can_make():
    mppi = planner(SINGULAR, horizon=3, control_cost=0.5)
    assert mppi.importance is not None
    reached = mppi.importance.reachable(torch.randn(1, 1, 1, 3, 2), mppi.init_std.expand(1, 1, 3, 2))
    torch.testing.assert_close(reached[..., 1], -2 * reached[..., 0])


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (((1.0, 0.5),), "must be a symmetric matrix"),
        (((1.0, 0.5), (0.4, 1.0)), "must be a symmetric matrix"),
        (((9.0, 0.0), (0.0, 1.0)), r"variance of 9, above the square of planner.max_std=2.0"),
        (((1.0, 2.0), (2.0, 1.0)), "negative variance"),
        (((-1.0, 0.0), (0.0, 1.0)), "negative variance"),
        (((1.0,),), r"a matrix of size 1, and an action has 2 entries"),
    ],
)
def test_what_is_no_covariance_is_refused(matrix, message):
    with pytest.raises(UserError, match=message):
        planner(matrix)
