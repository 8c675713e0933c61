"""Losses, fit and disagreement of a value ensemble."""

import math

import pytest
import torch

from pompc.dials import relative_variance
from pompc.networks.ensembles import bootstrap_mask, fit_metrics, log_mean_exp, masked_huber


def test_masked_huber_ignores_masked_samples_and_averages_members():
    values = torch.tensor([[0.0, 100.0], [1.0, 0.0]])
    mask = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    loss = masked_huber(values, torch.zeros(2), mask)
    assert loss.item() == pytest.approx((0.0 + 0.25) / 2)
    assert bootstrap_mask(2000, 5, 0.8, torch.device("cpu")).mean().item() == pytest.approx(0.8, abs=0.02)
    assert bootstrap_mask(7, 1, 1.0, torch.device("cpu")).min() == 1


@pytest.mark.parametrize("p", [0.5, 0.8, 0.9])
def test_means_of_bootstrapped_samples_disagree_by_a_known_share_of_their_variance(p):
    """The share is ``(1 - p) / p``: a quarter at 0.8. The disagreement of members is no standard error."""
    samples = torch.randn(300, 400)
    masks = torch.stack([bootstrap_mask(400, 20, p, samples.device) for _ in samples])
    means = torch.einsum("rmn,rn->rm", masks, samples) / masks.sum(-1)
    assert means.var(1).mean().item() == pytest.approx((1 - p) / p / 400, rel=0.1)


def test_relative_variance_is_scale_free_and_zero_for_a_collapsed_ensemble():
    values, reward = torch.randn(5, 1000), torch.randn(1000)
    u = relative_variance(values, reward)
    assert u > 0
    assert relative_variance(values * 100 + 7, reward * 100) == pytest.approx(u, rel=1e-3)
    assert relative_variance(values[:1].expand(5, -1), reward) == pytest.approx(0, abs=1e-9)
    assert relative_variance(values[:1], reward) == 0


def test_explained_variance_is_one_for_a_perfect_fit_and_zero_for_the_mean():
    target = torch.randn(1000) * 3 + 5
    perfect = fit_metrics(target.expand(2, -1), target)
    assert perfect["explained_variance"] == pytest.approx(1)
    assert perfect["value"] == pytest.approx(target.mean().item(), rel=1e-5)
    flat = fit_metrics(torch.stack([torch.zeros(1000), torch.ones(1000)]), target)
    assert flat["explained_variance"] == pytest.approx(0, abs=1e-5)
    assert flat["value"] == pytest.approx(0.5)


KAPPAS = [-math.inf, -1e6, -3.0, -1e-3, 0.0, 1e-6, 0.5, 3.0, 1e6, math.inf]


def test_log_mean_exp_is_the_mean_at_zero_and_the_extremes_at_infinity():
    values = torch.randn(5, 7)
    assert torch.equal(log_mean_exp(values, 0.0), values.mean(0))
    assert torch.equal(log_mean_exp(values, math.inf), values.amax(0))
    assert torch.equal(log_mean_exp(values, -math.inf), values.amin(0))


@pytest.mark.parametrize("kappa", [-2.0, -0.1, 0.1, 2.0, 20.0])
def test_log_mean_exp_is_its_formula(kappa):
    values = torch.randn(5, 7)
    exact = (torch.logsumexp(kappa * values.double(), 0) - math.log(5)) / kappa
    torch.testing.assert_close(log_mean_exp(values, kappa).double(), exact, rtol=1e-5, atol=1e-6)


def test_log_mean_exp_near_zero_adds_half_the_variance():
    """There the formula itself is the difference of two equal numbers: in float32 nothing is left of it."""
    values = torch.randn(5, 7)
    for kappa in (1e-6, -1e-6, 1e-3):
        expected = values.mean(0) + kappa / 2 * values.var(0, correction=0)
        torch.testing.assert_close(log_mean_exp(values, kappa), expected, rtol=0, atol=3e-6)


def test_log_mean_exp_of_large_numbers_stays_finite():
    values = torch.tensor([[1e4, -1e30], [-1e4, 1e30]])
    for kappa in (1e6, -1e6):
        found = log_mean_exp(values, kappa)
        torch.testing.assert_close(found, torch.full((2,), math.copysign(1, kappa)) * torch.tensor([1e4, 1e30]))


def test_log_mean_exp_rises_with_kappa_and_moves_with_the_values():
    values = 10 * torch.randn(6, 50)
    found = torch.stack([log_mean_exp(values, kappa) for kappa in KAPPAS])
    assert (found.diff(dim=0) >= -1e-5).all()
    assert (found[-1] - found[0] > 1).all()
    for kappa, of_values in zip(KAPPAS, found, strict=True):
        torch.testing.assert_close(log_mean_exp(values + 7, kappa), of_values + 7)
        torch.testing.assert_close(log_mean_exp(-values, -kappa), -of_values)
        assert torch.equal(log_mean_exp(values[:1], kappa), values[0]), "one member is its own value"


def test_log_mean_exp_weighs_the_members_by_a_softmax():
    values = torch.randn(4, requires_grad=True)
    log_mean_exp(values, 3.0).backward()
    torch.testing.assert_close(values.grad, (3.0 * values.detach()).softmax(0))
