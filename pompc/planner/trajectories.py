"""Trajectories of a model: stack their states, and refuse what a user's function returned in a wrong shape."""

from __future__ import annotations

import torch
from torch import Tensor

from pompc.errors import UserError


def first_states(state: Tensor, actions: Tensor) -> Tensor:
    """Repeat the first states ``[batch, state]`` for all sequences: ``[batch, candidate, sample, state]``."""
    return state.view(len(state), 1, 1, -1).expand(*actions.shape[:3], -1)


def stack_time(states: list[Tensor]) -> Tensor:
    """Stack states ``[..., state]`` along a new dimension before the last, in the memory order of the last state.

    Equations of motion return each entry in a separate block of memory, networks return whole states. With the same order
    all computations on the trajectories read contiguous memory.
    """
    if states[-1].movedim(-1, 0).is_contiguous():
        return torch.stack([state.movedim(-1, 0) for state in states], dim=1).movedim((0, 1), (-1, -2))
    return torch.stack(states).movedim(0, -2)


def require_returned(name: str, tensor: Tensor, shape: torch.Size) -> None:
    """Refuse a result of a user's function in another shape; name the function."""
    if tensor.shape != shape:
        raise UserError(f"{name} returned the shape {list(tensor.shape)} where {list(shape)} is needed")
