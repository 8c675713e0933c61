"""What the planner takes for the value of a state: the mean of two heads, or a log-mean-exp over all of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pompc.networks.critics import Critic
from pompc.networks.ensembles import log_mean_exp
from pompc.networks.scale import RunningScale


class HeadMean:
    """The mean of two heads, which are drawn in every call (TD-MPC2)."""

    def __call__(self, critic: Critic, inputs: Tensor) -> Tensor:
        """Value ``inputs [..., input]``: ``[...]``."""
        return critic.values(inputs, critic.draw()).mean(0)

    def learn(self, target: Tensor) -> dict[str, Tensor]:
        """Learn nothing from value targets ``[time, batch]``; return no metrics."""
        return {}


class OptimisticHeads(nn.Module):
    """The log-mean-exp over all heads, in units of a running scale of the return (POLO, Lowrey et al. 2019).

    The scale is that of the value targets. The scale of the policy's loss would not do: nothing updates it if the policy
    only imitates, or is not learned.

    Args:
        kappa: optimism per unit of the scale; negative is caution.
        rate: rate of the scale's moving average.
    """

    def __init__(self, kappa: float, rate: float) -> None:
        super().__init__()
        self.kappa, self.scale = kappa, RunningScale(rate)

    def forward(self, critic: Critic, inputs: Tensor) -> Tensor:
        """Value ``inputs [..., input]``: ``[...]``."""
        return self.scale.value * log_mean_exp(self.scale(critic.values(inputs)), self.kappa)

    @torch.no_grad()
    def learn(self, target: Tensor) -> dict[str, Tensor]:
        """Move the scale by the first of the value targets ``[time, batch]``; return it as a metric."""
        self.scale.update(target[0])
        return {"value_scale": self.scale.value.clone()}
