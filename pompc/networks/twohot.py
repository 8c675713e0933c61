"""Two-hot categorical regression in symlog space (Hafner et al. 2023, DreamerV3; used by TD-MPC2, appendix A)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def symlog(x: Tensor) -> Tensor:
    """Compute ``sign(x) log(1 + |x|)``, any shape."""
    return torch.sign(x) * torch.log1p(x.abs())


def symexp(x: Tensor) -> Tensor:
    """Invert :func:`symlog`, any shape."""
    return torch.sign(x) * torch.expm1(x.abs())


class TwoHot(nn.Module):
    """Scalars as distributions over evenly spaced bins of their symlog.

    Args:
        num_bins: number of bins.
        low: symlog value of the first bin.
        high: symlog value of the last bin.
    """

    bins: Tensor

    def __init__(self, num_bins: int, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.width = (high - low) / (num_bins - 1)
        self.register_buffer("bins", torch.linspace(low, high, num_bins), persistent=False)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode ``x [...]``: the bin below it ``[...]`` and the weight of the bin above it ``[...]`` in [0, 1]."""
        return self.place(symlog(x))

    def place(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a symlog ``level [...]``; see :meth:`encode`."""
        position = (level.clamp(self.low, self.high) - self.low) / self.width
        below = position.floor().clamp_max(len(self.bins) - 2)
        # nan stays in the weight and reaches a loss that names it. As an index it would be out of bounds.
        return below.nan_to_num(0.0).long(), position - below

    def decode(self, logits: Tensor) -> Tensor:
        """Convert logits ``[..., bin]`` to scalars ``[...]``: the symexp of the expected bin."""
        return symexp(self.expect(logits))

    def expect(self, logits: Tensor) -> Tensor:
        """Compute the expected bin of logits ``[..., bin]``, a symlog ``[...]``."""
        return torch.softmax(logits, dim=-1) @ self.bins

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compare logits ``[..., bin]`` with the encoding of scalars ``target [...]``: cross-entropy ``[...]``."""
        return self.level_cross_entropy(logits, symlog(target))

    def level_cross_entropy(self, logits: Tensor, level: Tensor) -> Tensor:
        """Compare logits ``[..., bin]`` with a symlog ``level [...]``; see :meth:`cross_entropy`."""
        below, weight = self.place(level.expand(logits.shape[:-1]))
        pair = torch.stack([below, below + 1], dim=-1)
        chosen = torch.log_softmax(logits, dim=-1).gather(-1, pair)
        return -(chosen[..., 0] * (1 - weight) + chosen[..., 1] * weight)
