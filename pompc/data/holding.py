"""Keep a choice for several steps with a counter in the TensorDict."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import Tensor


def is_held(tensordict: TensorDictBase, counter: str) -> Tensor:
    """Tell whether the choice of ``counter [batch, 1]`` is still kept: bool ``[batch, 1]``, ``False`` in a first step."""
    return (tensordict[counter] > 0) & ~tensordict["is_init"]


def count_down(tensordict: TensorDictBase, counter: str, steps: int | Tensor, allowed: Tensor | bool = True) -> Tensor:
    """Return :func:`is_held` and write the next count: one less while held, ``steps - 1`` after a new choice.

    Args:
        tensordict: the start of a step, with ``is_init`` and the counter.
        counter: name of the counter.
        steps: steps for which a new choice is kept, one number or ``[batch, 1]``.
        allowed: whether a choice may be kept at all ``[batch, 1]``.
    """
    held = is_held(tensordict, counter) & allowed
    tensordict["next", counter] = torch.where(held, tensordict[counter] - 1, steps - 1.0)
    return held
