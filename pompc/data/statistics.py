"""Running statistics of observations and rewards: part of the checkpoint, frozen during evaluation."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RunningMoments(nn.Module):
    """Mean and variance of all vectors seen so far (Chan et al. 1983, parallel update).

    Call it to standardise observations, and call :meth:`update` in ``learn``. An on-policy algorithm updates at the end of
    ``learn``, because learning must standardise as acting did.

    Args:
        dim: size of a vector.

    Attributes:
        mean: ``[dim]``.
        var: ``[dim]``, the biased variance.
        count: vectors seen so far, a scalar.
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("var", torch.ones(dim))
        self.register_buffer("count", torch.zeros(()))

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Take in ``x [..., dim]``."""
        x = x.reshape(-1, x.shape[-1])
        if len(x) == 0:
            return
        total = self.count + len(x)
        delta = x.mean(0) - self.mean
        share = len(x) / total
        self.var.copy_(self.var * (1 - share) + x.var(0, correction=0) * share + delta.square() * share * (1 - share))
        self.mean.add_(delta * share)
        self.count.copy_(total)

    def forward(self, x: Tensor) -> Tensor:
        """Standardise ``x [..., dim]`` and clip to [-10, 10]; the identity before the first update."""
        return torch.where(self.count > 0, ((x - self.mean) / (self.var + 1e-8).sqrt()).clamp(-10, 10), x)


class ReturnScale(nn.Module):
    """Scale rewards by the standard deviation of discounted returns, so that values are of order 1 (Engstrom et al. 2020).

    Args:
        num_envs: environments in a batch.
        discount: discount per step.
    """

    running: Tensor

    def __init__(self, num_envs: int, discount: float) -> None:
        super().__init__()
        self.discount = discount
        self.register_buffer("running", torch.zeros(num_envs))
        self.moments = RunningMoments(1)

    @torch.no_grad()
    def update(self, reward: Tensor, done: Tensor, intact: Tensor | None = None) -> None:
        """Take in rewards and episode ends ``[num_envs, time]``, in order; only the ``intact`` ones (bool) count."""
        returns = torch.empty_like(reward)
        for step in range(reward.shape[1]):
            self.running.mul_(self.discount).add_(reward[:, step])
            returns[:, step] = self.running
            self.running.masked_fill_(done[:, step], 0.0)
        self.moments.update(returns.unsqueeze(-1) if intact is None else returns[intact].unsqueeze(-1))

    @property
    def factor(self) -> float:
        """The factor from rewards to the units of the values; 1 before the first update."""
        return (self.moments.var + 1e-8).rsqrt().item()
