"""Running statistics agree with their closed forms."""

import pytest
import torch

from pompc.data.statistics import ReturnScale, RunningMoments


def test_moments_of_chunks_equal_the_moments_of_the_whole():
    data = torch.randn(500, 3) * torch.tensor([1.0, 5.0, 0.1]) + torch.tensor([0.0, 30.0, -2.0])
    moments = RunningMoments(3)
    for chunk in data.split([1, 99, 150, 250]):
        moments.update(chunk)
    torch.testing.assert_close(moments.mean, data.mean(0), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(moments.var, data.var(0, correction=0), atol=1e-3, rtol=1e-3)
    standard = moments(data)
    torch.testing.assert_close(standard.std(0), torch.ones(3), atol=1e-2, rtol=0)


def test_moments_are_the_identity_before_the_first_update():
    x = torch.randn(4, 2)
    torch.testing.assert_close(RunningMoments(2)(x), x)


def test_return_scale_of_a_constant_reward_sums_geometrically_and_restarts_at_an_end():
    scale = ReturnScale(1, 0.5)
    reward = torch.ones(1, 4)
    done = torch.tensor([[False, True, False, False]])
    scale.update(reward, done)
    expected = torch.tensor([1.0, 1.5, 1.0, 1.5])
    assert scale.factor == pytest.approx(1 / expected.std(correction=0).item(), rel=1e-4)
    assert scale.running.item() == 1.5
