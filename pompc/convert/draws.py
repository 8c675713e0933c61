"""Take an agent's random draws from tensors, so that a decision becomes a function without chance."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pompc.errors import UserError


class Draws(TorchFunctionMode):
    """Inside the block, torch's random functions read standard normal and uniform numbers from here, in order.

    Args:
        normal: standard normal numbers ``[n]``; ``None`` draws them, and :attr:`normal` has them afterwards.
        uniform: uniform numbers in [0, 1) ``[m]``; ``None`` draws them.
    """

    def __init__(self, normal: Tensor | None = None, uniform: Tensor | None = None) -> None:
        super().__init__()
        self._given = {"normal": normal, "uniform": uniform}
        self._read = {"normal": 0, "uniform": 0}
        self._drawn: dict[str, list[Tensor]] = {"normal": [], "uniform": []}

    @property
    def normal(self) -> Tensor:
        """The standard normal numbers that were drawn ``[n]``."""
        return torch.cat([torch.empty(0), *self._drawn["normal"]])

    @property
    def uniform(self) -> Tensor:
        """The uniform numbers that were drawn ``[m]``."""
        return torch.cat([torch.empty(0), *self._drawn["uniform"]])

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Replace a random function; pass every other one on."""
        kwargs = kwargs or {}
        if func not in _REPLACED:
            return func(*args, **kwargs)
        if kwargs.get("generator") is not None:
            raise UserError(f"torch.{func.__name__} draws from a generator apart")
        return _REPLACED[func](self, *args, **{name: value for name, value in kwargs.items() if name in _MEANT})

    def take(self, kind: str, shape: tuple[int, ...]) -> Tensor:
        """Read the next numbers.

        Args:
            kind: ``normal`` or ``uniform``.
            shape: of the result.
        """
        count, given = math.prod(shape), self._given[kind]
        if given is None:
            made = torch.randn(count) if kind == "normal" else torch.rand(count)
            self._drawn[kind].append(made)
            return made.view(shape)
        first = self._read[kind]
        self._read[kind] = first + count
        return given[first : first + count].view(shape)


_MEANT = ("size", "low", "high", "n", "num_samples")


def _sizes(size: tuple) -> tuple[int, ...]:
    """Read a size that is given as one sequence or as several numbers."""
    return tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else tuple(size)


def _normal(draws: Draws, *size: Any) -> Tensor:
    return draws.take("normal", _sizes(size))


def _normal_like(draws: Draws, other: Tensor) -> Tensor:
    return draws.take("normal", tuple(other.shape))


def _uniform(draws: Draws, *size: Any) -> Tensor:
    return draws.take("uniform", _sizes(size))


def _uniform_like(draws: Draws, other: Tensor) -> Tensor:
    return draws.take("uniform", tuple(other.shape))


def _integers(draws: Draws, low: int, high: Any, size: Any = None) -> Tensor:
    if size is None:
        low, high, size = 0, low, high
    return (low + (draws.take("uniform", tuple(size)) * (high - low)).floor()).long()


def _permutation(draws: Draws, n: int) -> Tensor:
    return draws.take("uniform", (n,)).argsort()


def _choice(draws: Draws, weights: Tensor, num_samples: int) -> Tensor:
    """Draw one index by its weight: the first at which the sum of the weights exceeds a uniform share of their sum."""
    if num_samples != 1:
        raise UserError(f"torch.multinomial draws {num_samples} at once")
    sums = weights.cumsum(-1)
    share = draws.take("uniform", (*weights.shape[:-1], 1)) * sums[..., -1:]
    return (sums <= share).sum(-1, keepdim=True).clamp_max(weights.shape[-1] - 1)


_REPLACED: dict[Callable, Callable[..., Tensor]] = {
    torch.randn: _normal,
    torch.randn_like: _normal_like,
    torch.rand: _uniform,
    torch.rand_like: _uniform_like,
    torch.randint: _integers,
    torch.randperm: _permutation,
    torch.multinomial: _choice,
}
"""Random functions of torch that acting calls, and what stands for them."""
