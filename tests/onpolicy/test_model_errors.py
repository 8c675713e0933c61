"""Online model errors against their true values."""

import math

import pytest
import torch
from line import LineModel
from tensordict import TensorDict

from pompc.models import KnownModel
from pompc.onpolicy.model_errors import model_errors, total_variation


class Line(LineModel):
    """Moves by the action; the reward is the new position."""

    def step(self, state, action):
        return state + action

    def reward(self, state, action, next_state):
        return next_state[..., 0]


MODEL = KnownModel(Line())


def test_model_errors_are_those_of_one_step():
    observation, action = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.5], [-0.5]])
    after = {"observation": torch.tensor([[0.6], [0.1]]), "reward": torch.tensor([[0.5], [1.5]])}
    data = TensorDict({"observation": observation, "action": action, "next": after}, batch_size=[2])
    # The model predicts 0.5 for both states and both rewards.
    metrics = model_errors(data, MODEL)
    expected = {"model_error": 0.25, "model_error_max": 0.4, "reward_error": 0.5, "reward_error_max": 1.0}
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
    assert metrics["alpha_w"] == pytest.approx(0.25)  # one entry: its absolute value is the distance


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0, 6.0])
def test_the_total_variation_of_a_shifted_gaussian_is_found_in_any_coordinates(shift):
    """The true value by integration over the direction of the shift."""
    torch.manual_seed(0)
    grid = torch.linspace(-20, 20, 40001, dtype=torch.float64)
    density = torch.distributions.Normal(0.0, 1.0).log_prob(grid).exp()
    shifted = torch.distributions.Normal(shift, 1.0).log_prob(grid).exp()
    true = 0.5 * torch.trapezoid((density - shifted).abs(), grid).item()
    mixing = torch.tensor([[3.0, 1.0], [0.0, 0.01]])
    residual = (torch.randn(200_000, 2) + torch.tensor([0.6, 0.8]) * shift) @ mixing
    assert total_variation(residual) == pytest.approx(true, abs=5e-3)


def test_without_noise_the_total_variation_is_zero_or_one():
    rounding = 1e-8 * torch.randn(100, 3)
    assert total_variation(rounding) == 0
    assert total_variation(rounding + torch.tensor([0.0, 1e-3, 0.0])) == 1
    noisy = rounding + torch.randn(100, 1) * torch.tensor([1.0, 0.0, 0.0])
    assert total_variation(noisy) < 0.2
    assert total_variation(noisy + torch.tensor([0.0, 1e-3, 0.0])) == 1


def test_non_finite_residuals_do_not_count():
    residual = torch.randn(1000, 2)
    spoilt = torch.cat([residual, torch.tensor([[math.nan, 0.0], [math.inf, 0.0]])])
    assert total_variation(spoilt) == total_variation(residual)
    assert math.isnan(total_variation(spoilt[-3:]))
