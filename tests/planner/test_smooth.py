"""Smooth plans: noise in the change of the action, a cost of that change, and the momentum of SMPPI."""

import pytest
import torch

from pompc.models import FunctionModel
from pompc.planner import MPPI, MPPIConfig
from pompc.planner.smooth import with_momentum

FREE = FunctionModel(lambda x, u: x, lambda x, u: torch.zeros_like(x[..., 0]))
SAMPLED = {"num_zero_mean": 0, "include_mean": False}


def planner(model=FREE, **options):
    options = {"horizon": 6, "num_samples": 16, **options}
    return MPPI(MPPIConfig(**options), model, model, 1, low=-100.0, high=100.0)


def test_integrated_noise_is_white_noise_in_the_change():
    mppi = planner(noise="integrated", init_std=0.2, num_samples=50_000, **SAMPLED)
    plan = mppi.plan(torch.zeros(1, 1))
    changes = torch.diff(plan.actions[0, 0, ..., 0], dim=-1, prepend=torch.zeros(50_000, 1))
    torch.testing.assert_close(changes.T.cov(), 0.04 * torch.eye(6), atol=0.002, rtol=0)


def test_an_adapted_std_is_that_of_the_samples_and_not_grown_again():
    mppi = planner(noise="integrated", init_std=0.2, num_samples=50_000, adapt_std=True, num_iterations=2, **SAMPLED)
    std = mppi.plan(torch.zeros(1, 1)).std[0, 0, :, 0]
    torch.testing.assert_close(std, 0.2 * torch.arange(1, 7).sqrt(), rtol=0.03, atol=0)


@pytest.mark.parametrize("discount", [1.0, 0.5])
@pytest.mark.parametrize("own", [False, True])
def test_a_change_costs_its_square(discount, own):
    mean = torch.tensor([1.0, 3.0, 2.0, 2.0, 2.0, 2.0]).view(1, 6, 1)
    options = {"discount": torch.tensor([discount])} if own else {}
    mppi = planner(change_cost=10.0, num_samples=1, num_zero_mean=0, discount=1.0 if own else discount)
    inner = 10 * (4 * discount + discount**2)
    assert mppi.plan(torch.zeros(1, 1), mean=mean, **options).costs.item() == pytest.approx(inner)
    plan = mppi.plan(torch.zeros(1, 1), mean=mean, previous=torch.tensor([[[7.0], [-1.0]]]), **options)
    assert plan.costs.item() == pytest.approx(10 * 4 + inner), "the newest of the last actions is -1"


def test_it_makes_closed_loops_smoother_at_nearly_the_cost_of_the_task():
    def closed_loop(**options):
        torch.manual_seed(0)
        model = FunctionModel(lambda x, u: x + 0.1 * u, lambda x, u: (x - 1.0).square().sum(-1))
        mppi = MPPI(MPPIConfig(horizon=15, num_samples=256, temperature=0.05, **options), model, model, 1)
        state, mean, applied = torch.zeros(4, 1), None, [torch.zeros(4, 1)]
        for _ in range(40):
            plan = mppi.plan(state, mean=mean, previous=applied[-1].unsqueeze(1))
            applied.append(plan.mean[:, 0, 0])
            state, mean = model.step(state, applied[-1]), mppi.shift(plan.mean[:, 0])
        arrived = torch.stack(applied[20:])
        return arrived.diff(dim=0).square().mean().sqrt().item(), (state - 1.0).abs().max().item()

    rough, _ = closed_loop(init_std=0.5)
    smooth, error = closed_loop(init_std=0.2, noise="integrated", change_cost=0.3)
    assert smooth < 0.5 * rough
    assert error < 0.1


def test_momentum_moves_a_plan_on_as_it_moved_and_ends_at_rest():
    mppi = planner(num_samples=1, num_zero_mean=0)
    before = torch.zeros(1, 6, 1)
    mean = torch.arange(1.0, 7.0).view(1, 6, 1)
    warm, following = with_momentum(mppi, mean, before)
    assert following.flatten().tolist() == [2, 3, 4, 5, 6, 6]
    assert warm.flatten().tolist() == [4, 6, 8, 10, 12, 6]
    still, following = with_momentum(mppi, mean, mean)
    assert torch.equal(still, mppi.shift(mean)), "a plan that did not move has the warm start of MPPI"


def test_samples_of_smppi_are_those_of_its_lifted_sequence():
    """Samples are A + U + noise: the warm start is their centre, and the kept change is the weighted one."""
    mppi = planner(num_samples=64, num_zero_mean=0, init_std=0.1)
    lifted, before = torch.randn(2, 6, 1), torch.randn(2, 6, 1)
    noise = torch.randn(1, 2, 1, 64, 6, 1)
    plan = mppi.plan(torch.zeros(2, 1), mean=before + lifted, noise=noise)
    expected = before + lifted + 0.1 * torch.einsum("bk,bkha->bha", plan.weights[:, 0, 1:], noise[0, :, 0, 1:])
    torch.testing.assert_close(plan.mean[:, 0], expected)
