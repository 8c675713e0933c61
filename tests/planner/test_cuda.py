"""The planner on CUDA gives what it gives on the CPU."""

import pytest
import torch

from pompc.models import FunctionModel
from pompc.planner import MPPI, MPPIConfig


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("control_cost", [0.0, 0.1])
@pytest.mark.parametrize("noise", ["white", "coloured", "spline"])
def test_cuda_equals_cpu_with_the_same_noise(noise, control_cost):
    model = FunctionModel(lambda x, u: x + 0.1 * u, lambda x, u: (x**2).sum(-1) + 0.1 * (u**2).sum(-1))
    config = MPPIConfig(
        horizon=10,
        num_samples=64,
        num_iterations=3,
        num_elites=16,
        adapt_std=True,
        noise=noise,
        control_cost=control_cost,
    )
    drawn, state, mean = torch.randn(3, 5, 1, 64, 10, 2), torch.randn(5, 2), torch.randn(5, 10, 2)
    plans = [
        MPPI(config, model, model, 2, device=device).plan(
            state.to(device), mean=mean.to(device), noise=drawn.to(device)
        )
        for device in ("cpu", "cuda")
    ]
    torch.testing.assert_close(plans[1].mean.cpu(), plans[0].mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(plans[1].costs.cpu(), plans[0].costs, atol=1e-3, rtol=1e-4)
    fresh = MPPI(config, model, model, 2, device="cuda").plan(state.cuda())
    assert fresh.mean.device.type == "cuda"
