"""A callback sees every iteration and can end a plan; a warm start fits another horizon."""

import dataclasses
from itertools import pairwise

import pytest
import torch

from pompc.models import FunctionModel
from pompc.planner import MPPI, Iteration, MPPIConfig

MODEL = FunctionModel(lambda x, u: x + u, lambda x, u: (x - 1.0).square().sum(-1))
CONFIG = MPPIConfig(horizon=4, num_samples=16, num_iterations=5, temperature=0.1)


def test_a_callback_sees_the_samples_and_costs_of_every_iteration():
    seen: list[Iteration] = []
    mppi = MPPI(CONFIG, MODEL, MODEL, 1)
    plan = mppi.plan(torch.zeros(2, 1), callback=seen.append)
    assert [iteration.index for iteration in seen] == [0, 1, 2, 3, 4]
    for name in ("mean", "std", "actions", "states", "costs", "weights"):
        assert torch.equal(getattr(seen[-1], name), getattr(plan, name))
    for before, after in pairwise(seen):
        kept = after.actions[:, :, 0]  # the mean, the first of the samples
        assert torch.equal(kept, before.mean)
        assert not torch.equal(before.costs, after.costs)


@pytest.mark.parametrize("last", [0, 2])
def test_a_plan_that_a_callback_ends_is_the_one_of_so_many_iterations(last):
    mppi = MPPI(CONFIG, MODEL, MODEL, 1)
    shorter = MPPI(dataclasses.replace(CONFIG, num_iterations=last + 1), MODEL, MODEL, 1)
    noise = torch.randn(5, 2, 1, 16, 4, 1)
    ended = mppi.plan(torch.zeros(2, 1), noise=noise, callback=lambda iteration: iteration.index == last)
    assert torch.equal(ended.mean, shorter.plan(torch.zeros(2, 1), noise=noise[: last + 1]).mean)
    assert mppi.model_steps == (last + 1) * 2 * 16 * 4


@pytest.mark.parametrize("repeat", [True, False])
@pytest.mark.parametrize("horizon", [2, 3, 4, 7])
def test_a_warm_start_is_cut_or_filled_for_another_horizon(horizon, repeat):
    config = dataclasses.replace(CONFIG, horizon=horizon, repeat_last=repeat, num_samples=1, num_zero_mean=0)
    mppi = MPPI(config, MODEL, MODEL, 1)
    warm = mppi.shift(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1) / 10)
    end = 0.4 if repeat else 0.0
    torch.testing.assert_close(warm[0, :, 0], torch.tensor([0.2, 0.3, 0.4, end, end, end, end])[:horizon])
    assert torch.equal(mppi.plan(torch.zeros(1, 1), mean=warm).mean[:, 0], warm)
