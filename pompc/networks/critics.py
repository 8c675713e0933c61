"""Ensembles of distributional values with slow targets, alone or each with a frozen random network added."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from pompc.networks.layers import EnsembleMLP, initialise, truncated_normal, uniform_fan_in
from pompc.networks.twohot import TwoHot, symexp, symlog

# TD-MPC2 reads two members of its ensemble, drawn anew at every call (section 3.1).
DRAWN = 2
PRIOR_SHARE = 4  # a prior's hidden layers are narrower than those of the head by this factor


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
        return self._decode(self.heads(inputs, chosen), inputs, chosen)

    def target_values(self, inputs: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Values ``[member, ...]`` by the slow copies of the heads, without gradient."""
        with torch.no_grad():
            return self._decode(self.target(inputs, chosen), inputs, chosen)

    def loss(self, inputs: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy ``[member, ...]`` of all heads at ``inputs [..., input]`` with value targets ``[...]``."""
        return self.two_hot.cross_entropy(self.logits(inputs), target)

    def _decode(self, logits: Tensor, inputs: Tensor, chosen: Tensor | None) -> Tensor:
        """Values ``[member, ...]`` of the chosen heads' logits at the inputs."""
        return self.two_hot.decode(logits)

    @torch.no_grad()
    def soft_update(self, rate: float) -> None:
        """Move the targets towards the heads: ``target += rate (heads - target)``."""
        torch._foreach_lerp_(list(self.target.parameters()), list(self.heads.parameters()), rate)  # pyright: ignore[reportPrivateImportUsage]


class RandomisedCritic(Critic):
    """A critic with randomised priors (Osband, Aslanides, Cassirer 2018): heads that disagree where they know nothing.

    The value of head i is ``symexp(E[bin of head i] + scale * p_i(input))`` with a frozen random network ``p_i`` of its
    own, which the slow copy of the head shares. A head learns what is left of the target: where there are data it takes
    ``p_i`` back and the heads agree, elsewhere their values keep the spread of the priors. That spread is one of symlogs,
    so of large values it is a share, and of values near zero a number.

    Args:
        input_dim: size of the input.
        hidden: width of the heads' hidden layers.
        members: number of heads.
        two_hot: encoding of the values.
        scale: factor on the priors, whose outputs at one input have a spread of about 0.4 over the heads.
        options: further ones of :class:`Critic`.
    """

    def __init__(
        self, input_dim: int, hidden: int, members: int, two_hot: TwoHot, *, scale: float, **options: Any
    ) -> None:
        super().__init__(input_dim, hidden, members, two_hot, **options)
        width = -(-hidden // PRIOR_SHARE)
        self.scale = scale
        self.prior = EnsembleMLP(self.members, [input_dim, width, width, 1])
        initialise(self.prior, uniform_fan_in)
        self.prior.requires_grad_(False)

    def loss(self, inputs: Tensor, target: Tensor) -> Tensor:
        """As :meth:`Critic.loss`: of every head with what the target leaves to it; no gradient through the priors."""
        with torch.no_grad():
            level = symlog(target) - self._lift(inputs, None)
        return self.two_hot.level_cross_entropy(self.logits(inputs), level)

    def _decode(self, logits: Tensor, inputs: Tensor, chosen: Tensor | None) -> Tensor:
        return symexp(self.two_hot.expect(logits) + self._lift(inputs, chosen))

    def _lift(self, inputs: Tensor, chosen: Tensor | None) -> Tensor:
        """What the priors add to the symlog of a value ``[member, ...]``."""
        return self.scale * self.prior(inputs, chosen).squeeze(-1)


def make_critic(
    input_dim: int, hidden: int, members: int, two_hot: TwoHot, *, prior: float = 0.0, **options: Any
) -> Critic:
    """Make a :class:`RandomisedCritic` of that scale, or a plain :class:`Critic` where the scale is zero."""
    sizes = (input_dim, hidden, members, two_hot)
    return RandomisedCritic(*sizes, scale=prior, **options) if prior > 0 else Critic(*sizes, **options)
