"""The temperature of the weights: a number, or the one that holds an effective sample size."""

from __future__ import annotations

import torch
from torch import Tensor

from pompc.planner.config import MPPIConfig
from pompc.planner.weights import effective_sample_size, mppi_weights

DECADES = 8
"""Powers of ten around the range of the costs that are searched for the temperature, in both directions."""
HALVINGS = 40


class Temperature:
    """Give the configured temperature.

    Args:
        config: options of the planner.
    """

    def __init__(self, config: MPPIConfig) -> None:
        self._config = config

    def __call__(self, costs: Tensor, log_ratio: Tensor | None) -> float | Tensor:
        """Choose the temperature of samples.

        Args:
            costs: ``[batch, candidate, sample]``.
            log_ratio: logarithm of their importance ratios, same shape; ``None`` means that all are one.

        Returns:
            A number, or ``[batch, candidate, 1]``.
        """
        return self._config.temperature


class HeldSampleSize(Temperature):
    """Find the temperature at which the weights have an effective sample size, for every environment and candidate.

    Without ratios the effective sample size ``1 / sum w^2`` grows with the temperature, from the number of samples of least
    cost to the number of all, so that halving an interval of its logarithm finds it. Outside of these numbers the nearest
    one counts. With ratios a higher temperature ends at the sample size of the ratios alone.
    """

    def __call__(self, costs: Tensor, log_ratio: Tensor | None) -> Tensor:
        """See :class:`Temperature`; the result is in units of cost, ``[batch, candidate, 1]``."""
        least = costs.amin(-1, keepdim=True)
        distance = torch.where(costs.isfinite(), costs - least, 0.0).amax(-1, keepdim=True)
        scale = torch.where(distance > 0, distance, torch.ones_like(distance)).log()
        decades = DECADES * torch.log(torch.tensor(10.0, dtype=costs.dtype, device=costs.device))
        low, high = scale - decades, scale + decades
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            weights = mppi_weights(costs, middle.exp(), self._config.num_elites, log_ratio)
            is_enough = effective_sample_size(weights).unsqueeze(-1) >= self._config.effective_samples
            low, high = torch.where(is_enough, low, middle), torch.where(is_enough, middle, high)
        return high.exp()


def make_temperature(config: MPPIConfig) -> Temperature:
    """Choose what sets the temperature."""
    return HeldSampleSize(config) if config.effective_samples else Temperature(config)
