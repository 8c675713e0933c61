"""Losses, fit and disagreement of a value ensemble."""

import pytest
import torch

from pompc.dials import relative_variance
from pompc.networks.ensembles import bootstrap_mask, fit_metrics, masked_huber


def test_masked_huber_ignores_masked_samples_and_averages_members():
    values = torch.tensor([[0.0, 100.0], [1.0, 0.0]])
    mask = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    loss = masked_huber(values, torch.zeros(2), mask)
    assert loss.item() == pytest.approx((0.0 + 0.25) / 2)
    assert bootstrap_mask(2000, 5, 0.8, torch.device("cpu")).mean().item() == pytest.approx(0.8, abs=0.02)
    assert bootstrap_mask(7, 1, 1.0, torch.device("cpu")).min() == 1


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
