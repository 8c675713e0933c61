"""The imitation loss of an off-policy agent, which lambda multiplies."""

from __future__ import annotations

from torch import Tensor, nn

from pompc.networks.scale import RunningScale


class ScaledDivergence(nn.Module):
    """The divergence from the prior in units of its running scale (TD-MPC2's scale for returns; BMPC, PO-MPC).

    Args:
        rate: rate of the running scale.
        minimum: floor of the running scale.
    """

    def __init__(self, rate: float, minimum: float) -> None:
        super().__init__()
        self.scale = RunningScale(rate, minimum)

    def forward(self, divergence: Tensor) -> Tensor:
        """Convert divergences ``[time, batch]`` to units of the scale, which the first step updates."""
        self.scale.update(divergence[0])
        return self.scale(divergence)
