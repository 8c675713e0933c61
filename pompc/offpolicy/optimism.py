"""What the planner makes of heads that disagree, of values or of dynamics: their mean, or a log-mean-exp over all of them.

Optimism and caution have one number, kappa, wherever a plan meets disagreement.
"""

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
        return self.join(critic.values(inputs, critic.draw()))

    def join(self, returns: Tensor) -> Tensor:
        """Average returns through the heads of the dynamics ``[head, ...]``: ``[...]``."""
        return returns.mean(0)

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
        return self.join(critic.values(inputs))

    def join(self, returns: Tensor) -> Tensor:
        """Average values, or returns through the heads of the dynamics, ``[head, ...]``: ``[...]``."""
        return self.scale.value * log_mean_exp(self.scale(returns), self.kappa)

    @torch.no_grad()
    def learn(self, target: Tensor) -> dict[str, Tensor]:
        """Move the scale by the first of the value targets ``[time, batch]``; return it as a metric."""
        self.scale.update(target[0])
        return {"value_scale": self.scale.value.clone()}
