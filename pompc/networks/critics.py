"""Ensembles of distributional values with slow targets; a frozen random network may be added to each value."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from pompc.networks.layers import EnsembleMLP, initialise, truncated_normal, uniform_fan_in
from pompc.networks.twohot import TwoHot, symexp, symlog

# TD-MPC2 reads two members of its ensemble and draws them again in every call (section 3.1).
DRAWN = 2
NARROWER = 4  # factor between the hidden widths of a head and of its random network


class Critic(nn.Module):
    """Value heads over a state, or over a state and an action, with Polyak-averaged targets.

    Args:
        input_dim: size of the input.
        hidden: width of the two hidden layers.
        members: number of heads.
        two_hot: encoding of the values.
        dropout: probability on the first hidden layer in training mode. The targets never drop units.
        initialiser: sets the hidden layers. The last layer starts at zero weight.
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
        """Set the mode of the heads; the targets stay in evaluation mode."""
        super().train(mode)
        self.target.eval()
        return self

    def draw(self) -> Tensor | None:
        """Draw the indices of two heads ``[2]``; ``None`` means all, if there are no more than two."""
        if self.members <= DRAWN:
            return None
        return torch.randperm(self.members, device=self.two_hot.bins.device)[:DRAWN]

    def logits(self, inputs: Tensor) -> Tensor:
        """Predict the distributions of all heads: ``[..., input]`` -> logits ``[member, ..., bin]``."""
        return self.heads(inputs)

    def values(self, inputs: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Value ``inputs [..., input]`` by all heads or the ``chosen`` ones: ``[member, ...]``."""
        return self._decode(self.heads(inputs, chosen), inputs, chosen)

    def target_values(self, inputs: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Value ``inputs [..., input]`` by the slow copies of the heads, without gradient: ``[member, ...]``."""
        with torch.no_grad():
            return self._decode(self.target(inputs, chosen), inputs, chosen)

    def loss(self, inputs: Tensor, target: Tensor) -> Tensor:
        """Compare all heads at ``inputs [..., input]`` with targets ``[...]``: cross-entropy ``[member, ...]``."""
        return self.two_hot.cross_entropy(self.logits(inputs), target)

    def _decode(self, logits: Tensor, inputs: Tensor, chosen: Tensor | None) -> Tensor:
        """Convert the chosen heads' logits at the inputs to values ``[member, ...]``."""
        return self.two_hot.decode(logits)

    @torch.no_grad()
    def soft_update(self, rate: float) -> None:
        """Move the targets towards the heads: ``target += rate (heads - target)``."""
        torch._foreach_lerp_(list(self.target.parameters()), list(self.heads.parameters()), rate)  # pyright: ignore[reportPrivateImportUsage]


class RandomisedCritic(Critic):
    """A critic whose heads disagree about inputs without data (randomised priors; Osband, Aslanides, Cassirer 2018).

    The value of head i is ``symexp(E[bin of head i] + scale * p_i(input))``. Every head has another frozen random network
    ``p_i`` and shares it with its slow copy. A head learns the rest of the target: near data it takes ``p_i`` back, and
    the heads agree. Far from data their values keep the standard deviation of the random networks. It is a standard
    deviation of symlogs: a share of a large value, a number near zero.

    Args:
        input_dim: size of the input.
        hidden: width of the heads' hidden layers.
        members: number of heads.
        two_hot: encoding of the values.
        scale: factor on the random networks. Their outputs at one input have a std of about 0.4 over the heads.
        options: further arguments of :class:`Critic`.
    """

    def __init__(
        self, input_dim: int, hidden: int, members: int, two_hot: TwoHot, *, scale: float, **options: Any
    ) -> None:
        super().__init__(input_dim, hidden, members, two_hot, **options)
        width = -(-hidden // NARROWER)
        self.scale = scale
        self.random_values = EnsembleMLP(self.members, [input_dim, width, width, 1])
        initialise(self.random_values, uniform_fan_in)
        self.random_values.requires_grad_(False)

    def loss(self, inputs: Tensor, target: Tensor) -> Tensor:
        """Compare every head with the rest of the target; no gradient reaches the random networks. See :class:`Critic`."""
        with torch.no_grad():
            level = symlog(target) - self._lift(inputs, None)
        return self.two_hot.level_cross_entropy(self.logits(inputs), level)

    def _decode(self, logits: Tensor, inputs: Tensor, chosen: Tensor | None) -> Tensor:
        return symexp(self.two_hot.expect(logits) + self._lift(inputs, chosen))

    def _lift(self, inputs: Tensor, chosen: Tensor | None) -> Tensor:
        """Compute what the random networks add to the symlog of a value ``[member, ...]``."""
        return self.scale * self.random_values(inputs, chosen).squeeze(-1)


def make_critic(
    input_dim: int, hidden: int, members: int, two_hot: TwoHot, *, random_value_scale: float = 0.0, **options: Any
) -> Critic:
    """Make a :class:`RandomisedCritic` of that scale, or a plain :class:`Critic` if the scale is zero."""
    sizes = (input_dim, hidden, members, two_hot)
    if random_value_scale > 0:
        return RandomisedCritic(*sizes, scale=random_value_scale, **options)
    return Critic(*sizes, **options)
