"""The convex network: convex for any weights, also after learning; nothing at zero; its batched weights."""

import pytest
import torch
from quadratic import exploring, planned_values

from pompc.parametric.convex import ConvexNetwork
from pompc.parametric.steps import Newton, QLearning


def pairs(size, count=10_000, seed=0):
    return 3 * torch.randn(2, count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bend(charge, size):
    """The least of (f(x) + f(y)) / 2 - f((x + y) / 2) over many pairs, and the largest."""
    x, y = pairs(size)
    gap = (charge(x) + charge(y)) / 2 - charge((x + y) / 2)
    return gap.min().item(), gap.max().item()


@pytest.mark.parametrize("hidden", [(4,), (8, 8), (5, 4, 3)])
def test_it_is_convex_for_any_weights(hidden):
    network = ConvexNetwork(3, hidden)
    for seed in range(5):
        values = 2 * torch.randn(network.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for weights in (values, network.project(values)):
            least, largest = bend(lambda x, w=weights: network(x, w.unsqueeze(0)), 3)
            assert least > -1e-9
        assert largest > 1e-2, "it is not linear"


def test_it_is_zero_at_the_start_to_the_last_bit_and_learns_from_there():
    network = ConvexNetwork(2, (4, 4))
    values = network.initial(seed=0).requires_grad_()
    charge = network(torch.randn(50, 2), values.unsqueeze(0))
    assert torch.equal(charge, torch.zeros(50))
    slope = torch.autograd.grad(charge.sum(), values)[0]
    assert slope.abs().max() > 0.1


def test_projection_changes_the_last_weights_only_and_not_the_network():
    network, x = ConvexNetwork(2, (3,)), torch.randn(20, 2)
    values = torch.randn(network.size)
    values[-3:] = torch.tensor([-1.0, 0.5, -0.1])
    projected = network.project(values)
    assert projected[-3:].tolist() == [0.0, 0.5, 0.0]
    assert torch.equal(projected[:-3], values[:-3])
    assert torch.equal(network(x, values.unsqueeze(0)), network(x, projected.unsqueeze(0)))


def test_every_environment_may_have_its_own_weights():
    network, inputs = ConvexNetwork(2, (4, 3)), torch.randn(7, 3, 1, 5, 2)
    values = torch.randn(3, 1, 1, network.size)
    found = network(inputs, values)
    assert found.shape == (7, 3, 1, 5)
    torch.testing.assert_close(found[:, 1, 0], network(inputs[:, 1, 0], values[1, 0]))


def test_the_cost_stays_convex_under_training():
    """In what is seen of the state and in the action, in the running and in the terminal cost."""
    values = planned_values(("convex",), num_samples=64, num_iterations=3, mismatch=1.0)
    block, batch, start = values.phi.blocks[0], exploring(), values.phi.values.clone()
    for step in (QLearning(), Newton(1e-2)) * 4:
        direction = step(values, batch).direction
        values.phi.move(direction / direction.abs().max(), rate=0.1, max_change=0.1)
    assert (values.phi.values - start).abs().max() > 0.05
    weights = values.phi.values.double().unsqueeze(0)
    charges = {3: lambda z: block.running(z[:, :2], z[:, 2:], weights), 2: lambda z: block.terminal(z, weights)}
    for size, charge in charges.items():
        least, largest = bend(charge, size)
        assert least > -1e-9
        assert largest > 1e-4
