"""Running scale of a loss term, so that one coefficient fits every task."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LOW, HIGH = 0.05, 0.95


class RunningScale(nn.Module):
    """Moving average of the 5th to 95th percentile range, at least 1 (Hafner et al. 2023; TD-MPC2, section 3.2).

    It starts at the larger of 1 and the floor.

    Args:
        rate: rate of the moving average, in [0, 1].
        minimum: floor of the range, positive. The published 1 does not change a term of a smaller range.
    """

    value: Tensor
    levels: Tensor

    def __init__(self, rate: float, minimum: float = 1.0) -> None:
        super().__init__()
        self.rate, self.minimum = rate, minimum
        self.register_buffer("value", torch.ones(()).clamp_min(minimum))
        self.register_buffer("levels", torch.tensor([LOW, HIGH]), persistent=False)

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Take in a batch ``x`` of any shape."""
        low, high = torch.quantile(x.detach().flatten(), self.levels).unbind()
        self.value.lerp_((high - low).clamp_min(self.minimum), self.rate)

    def forward(self, x: Tensor) -> Tensor:
        """Convert ``x`` to units of the scale."""
        return x / self.value
