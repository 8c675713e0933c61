"""A network that is convex in its input for all values of its weights (Amos, Xu and Kolter 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional


class ConvexNetwork:
    """Evaluate ``c' z_L + q' x`` with ``z_1 = s(W_1 x + b_1)`` and ``z_l = s(softplus(U_l) z_{l-1} + W_l x + b_l)``.

    ``s`` is softplus, convex and rising, and the weights of hidden units on the next layer are positive. So every ``z_l``
    is convex in x, and with ``c >= 0`` so is the output.

    Args:
        input_dim: size of x.
        hidden_sizes: widths of the layers z, at least one.

    Attributes:
        size: number of weights.
    """

    def __init__(self, input_dim: int, hidden_sizes: Sequence[int]) -> None:
        self.input_dim, self.hidden_sizes = input_dim, tuple(hidden_sizes)
        first = self.hidden_sizes[0]
        self._shapes = [(first, input_dim), (first,)]
        for before, width in pairwise(self.hidden_sizes):
            self._shapes += [(width, before), (width, input_dim), (width,)]
        self._shapes += [(input_dim,), (self.hidden_sizes[-1],)]  # q and c
        self._counts = [torch.Size(shape).numel() for shape in self._shapes]
        self.size = sum(self._counts)

    def initial(self, seed: int) -> Tensor:
        """Draw the hidden layers; q and c are zero, and so is the output: ``[size]``."""
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(self.size, generator=generator) / self.input_dim**0.5
        values[self.size - self.input_dim - self.hidden_sizes[-1] :] = 0.0
        return values

    def project(self, values: Tensor) -> Tensor:
        """Clip c to zero or more: ``[size]``."""
        last = self.hidden_sizes[-1]
        return torch.cat([values[:-last], values[-last:].clamp(min=0.0)])

    def __call__(self, inputs: Tensor, values: Tensor) -> Tensor:
        """Evaluate ``inputs [..., sample, input]`` with the weights ``values [..., 1, size]``: ``[..., sample]``."""
        parts = iter(self._parts(values.squeeze(-2)))
        hidden = functional.softplus(_linear(inputs, next(parts)) + next(parts).unsqueeze(-2))
        for _ in self.hidden_sizes[1:]:
            carried = _linear(hidden, functional.softplus(next(parts)))
            hidden = functional.softplus(carried + _linear(inputs, next(parts)) + next(parts).unsqueeze(-2))
        passed = (inputs * next(parts).unsqueeze(-2)).sum(-1)
        return passed + (hidden * next(parts).clamp(min=0.0).unsqueeze(-2)).sum(-1)

    def _parts(self, values: Tensor) -> list[Tensor]:
        """Split the weights ``[..., size]`` into the matrices and vectors of the layers."""
        split = values.split(self._counts, -1)
        return [part.unflatten(-1, shape) for part, shape in zip(split, self._shapes, strict=True)]


def _linear(inputs: Tensor, matrix: Tensor) -> Tensor:
    """Multiply ``inputs [..., sample, in]`` by ``matrix [..., out, in]``: ``[..., sample, out]``."""
    return inputs @ matrix.mT
