"""Centred products: networks with bfloat16 products of the differences between samples."""

from __future__ import annotations

import pytest
import torch

from pompc.networks.layers import EnsembleMLP, SimNorm, initialise, mlp, uniform_fan_in
from pompc.system.precision import matmul_precision

STD = 1e-2


def network(kind: str) -> torch.nn.Module:
    """Make a network of 32 inputs with weights of usual size and normalisations other than the identity."""
    torch.manual_seed(0)
    if kind == "ensemble":
        net: torch.nn.Module = EnsembleMLP(5, [32, 64, 64, 9])
    else:
        net = mlp([32, 64, 64, 16], last=SimNorm(8) if kind == "normalised" else None)
    initialise(net, uniform_fan_in)
    for name, parameter in net.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(parameter, 1.0, 0.3)
    return net.eval()


def similar_samples(*lead: int) -> torch.Tensor:
    """Draw ``[*lead, 32 samples, 32]``: samples of a group differ little, groups differ much."""
    return torch.randn(*lead, 1, 32) + STD * torch.randn(*lead, 32, 32)


def differences(y: torch.Tensor) -> torch.Tensor:
    """Compute the difference of every sample from the mean of its group."""
    return y - y.mean(-2, keepdim=True)


@pytest.mark.parametrize("kind", ["plain", "normalised", "ensemble"])
@pytest.mark.parametrize("lead", [(), (1, 1), (3, 2), (4, 3, 1)])
@torch.no_grad()
def test_rounding_is_small_against_the_differences_between_samples(kind, lead):
    net, x = network(kind), similar_samples(*lead)
    exact = net(x)
    with matmul_precision("centred"):
        found = net(x)
    assert found.shape == exact.shape
    assert found.dtype == torch.float32
    error, signal = (found - exact).square().mean().sqrt(), differences(exact).square().mean().sqrt()
    assert 0 < error < 0.01 * signal
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = net(x).float()
    assert (rounded - exact).square().mean().sqrt() > 10 * error  # plain bfloat16 on the same samples


@pytest.mark.parametrize("kind", ["plain", "normalised", "ensemble"])
@torch.no_grad()
def test_equal_samples_are_not_rounded(kind):
    net = network(kind)
    x = torch.randn(2, 1, 32).expand(2, 16, 32)
    exact = net(x)
    with matmul_precision("centred"):
        torch.testing.assert_close(net(x), exact, rtol=0, atol=1e-5)


@torch.no_grad()
def test_chosen_members_are_centred_like_all():
    net, x, chosen = network("ensemble"), similar_samples(2), torch.tensor([3, 1])
    assert isinstance(net, EnsembleMLP)
    with matmul_precision("centred"):
        torch.testing.assert_close(net(x, chosen), net(x)[chosen], rtol=0, atol=1e-4)
