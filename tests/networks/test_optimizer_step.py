"""A gradient step that stops at the first number that is not finite."""

import pytest
import torch
from torch import nn

from pompc.errors import NonFiniteError
from pompc.networks.optimizer_step import optimizer_step


def test_a_step_is_clipped_and_returns_the_norm_before():
    weight = nn.Parameter(torch.zeros(2))
    loss = (weight * torch.tensor([30.0, 40.0])).sum()
    norm = optimizer_step(torch.optim.SGD([weight], lr=1.0), loss, max_grad_norm=5.0, name="policy")
    assert norm.item() == pytest.approx(50)
    torch.testing.assert_close(weight.detach(), torch.tensor([-3.0, -4.0]))


def test_only_the_parameters_of_the_optimizer_get_gradients():
    own, other = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer_step(torch.optim.SGD([own], lr=0.1), (own * other).sum(), max_grad_norm=10.0, name="policy")
    assert other.grad is None
    torch.testing.assert_close(own.detach(), torch.full((3,), 0.9))


@pytest.mark.parametrize(("factor", "root"), [(torch.nan, False), (torch.inf, False), (1.0, True)])
def test_a_non_finite_loss_or_gradient_is_named_and_changes_nothing(factor, root):
    """The last case has a finite loss with an infinite gradient."""
    weight = nn.Parameter(torch.zeros(1))
    loss = (weight.sqrt() if root else weight * factor).sum()
    with pytest.raises(NonFiniteError, match=r"values loss is not finite \(loss \S+, gradient norm (inf|nan)\)"):
        optimizer_step(torch.optim.SGD([weight], lr=0.1), loss, max_grad_norm=1.0, name="values")
    assert weight.item() == 0


@pytest.mark.parametrize("factor", [1.0, torch.nan, torch.inf])
def test_a_device_skips_a_bad_step_without_waiting(factor, monkeypatch):
    """A fused optimizer on the CPU stands in for one on a device: both read the flag of bad numbers."""
    weights = [nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizers = [torch.optim.Adam([weight], lr=0.1, fused=True) for weight in weights]
    for number, (weight, optimizer) in enumerate(zip(weights, optimizers, strict=True)):
        if number:
            monkeypatch.setattr("pompc.networks.optimizer_step.waits", lambda device: True)
        optimizer_step(optimizer, weight.square().sum(), max_grad_norm=1.0, name="policy")
    torch.testing.assert_close(weights[0], weights[1])
    before = weights[1].detach().clone(), {k: v.clone() for k, v in optimizers[1].state[weights[1]].items()}
    norm = optimizer_step(optimizers[1], (weights[1] * factor).sum(), max_grad_norm=1.0, name="policy")
    skipped = factor != 1.0
    assert norm.isnan() == skipped
    assert torch.equal(weights[1], before[0]) == skipped
    assert all(torch.equal(v, before[1][k]) for k, v in optimizers[1].state[weights[1]].items()) == skipped
