"""Ensembles of distributional values with slow targets."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from pompc.dynamics.layers import EnsembleMLP, initialise, truncated_normal
from pompc.dynamics.twohot import TwoHot

# TD-MPC2 reads two members of its ensemble, drawn anew at every call (section 3.1).
DRAWN = 2


class Critic(nn.Module):
    """Value heads over any input (state, or state and action), and their Polyak-averaged targets.

    Args:
        input_dim: size of the input.
        hidden: width of the two hidden layers.
        members: number of heads.
        two_hot: encoding of the values.
        dropout: on the first hidden layer, in training mode; the targets have none.
        initialiser: of the hidden layers; the last layer starts at zero weight.
    """

    def __init__(
        self,
        input_dim: int,
        hidden: int,
        members: int,
        two_hot: TwoHot,
        *,
        dropout: float = 0.0,
        initialiser: Callable[[Tensor, Tensor], None] = truncated_normal,
    ) -> None:
        super().__init__()
        self.two_hot = two_hot
        self.members = members
        self.heads = EnsembleMLP(members, [input_dim, hidden, hidden, len(two_hot.bins)], dropout)
        initialise(self.heads, initialiser)
        initialise(self.heads.linears[-1])
        nn.init.zeros_(self.heads.linears[-1].weight)  # pyright: ignore[reportArgumentType]
        self.target = deepcopy(self.heads).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Critic:
        """The targets never drop units."""
        super().train(mode)
        self.target.eval()
        return self

    def draw(self) -> Tensor | None:
        """Two heads at random (indices ``[2]``), or none where there are no more than two: all are read."""
        if self.members <= DRAWN:
            return None
        return torch.randperm(self.members, device=self.two_hot.bins.device)[:DRAWN]

    def logits(self, inputs: Tensor) -> Tensor:
        """Distributions by all heads: ``[..., input]`` -> ``[member, ..., bin]``."""
        return self.heads(inputs)

    def values(self, inputs: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Values ``[member, ...]`` by all heads or the ``chosen`` ones."""
        return self.two_hot.decode(self.heads(inputs, chosen))

    def target_values(self, inputs: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Values ``[member, ...]`` by the slow copies of the heads, without gradient."""
        with torch.no_grad():
            return self.two_hot.decode(self.target(inputs, chosen))

    @torch.no_grad()
    def follow(self, rate: float) -> None:
        """Move the targets towards the heads: ``target += rate (heads - target)``."""
        torch._foreach_lerp_(list(self.target.parameters()), list(self.heads.parameters()), rate)  # pyright: ignore[reportPrivateImportUsage]
