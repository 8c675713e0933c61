"""Choices that are kept for several steps, counted down in the TensorDict."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import Tensor


def is_held(tensordict: TensorDictBase, counter: str) -> Tensor:
    """Tell whether the choice that ``counter [batch, 1]`` counts down is kept: bool ``[batch, 1]``; not in a first step."""
    return (tensordict[counter] > 0) & ~tensordict["is_init"]


def count_down(tensordict: TensorDictBase, counter: str, steps: int, allowed: Tensor | bool = True) -> Tensor:
    """Return :func:`is_held` and write the next count: one less while held, ``steps - 1`` after a new choice.

    Args:
        tensordict: of a step, with ``is_init`` and the counter.
        counter: its name.
        steps: number of steps that a new choice is kept for.
        allowed: whether it may be kept at all ``[batch, 1]``.
    """
    held = is_held(tensordict, counter) & allowed
    tensordict["next", counter] = torch.where(held, tensordict[counter] - 1, steps - 1.0)
    return held
