"""Running scale of a loss term, so that one coefficient fits every task."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LOW, HIGH = 0.05, 0.95


class RunningScale(nn.Module):
    """Moving average of the 5th to 95th percentile range, at least 1 (Hafner et al. 2023; TD-MPC2, section 3.2).

    It starts at 1, or at the floor where that is larger.

    Args:
        rate: of the moving average.
        minimum: floor of the range, positive; the published 1 leaves a term of a smaller range as it is.
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
        """Take in a batch ``x``, any shape."""
        low, high = torch.quantile(x.detach().flatten(), self.levels).unbind()
        self.value.lerp_((high - low).clamp_min(self.minimum), self.rate)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` in units of the scale."""
        return x / self.value
