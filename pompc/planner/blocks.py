"""Blocks of environments that a processor's caches hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import repeat
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from pompc.planner.inputs import Inputs

BLOCK_ON_CPU = 2**18
"""Number of state entries that a CPU scores at once. Its caches hold the outputs of a layer for so many."""


def blocks(given: Inputs, actions: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor | None, Tensor | None]]:
    """Split the environments of a plan: one block, or on a CPU as many environments at a time as its caches hold.

    Args:
        given: inputs of the plan.
        actions: ``[batch, candidate, sample, horizon, action]``.

    Yields:
        First states, actions, cost parameters and discounts of a block; ``None`` as in the inputs.
    """
    batch = len(given.state)
    entries = actions[..., 0, 0].numel() * given.state.shape[-1]
    count = min(math.ceil(entries / BLOCK_ON_CPU), batch) if actions.device.type == "cpu" else 1
    size = math.ceil(batch / max(count, 1))
    optional = [repeat(None) if x is None else x.split(size) for x in (given.parameters, given.discount)]
    yield from zip(given.state.split(size), actions.split(size), *optional, strict=False)
