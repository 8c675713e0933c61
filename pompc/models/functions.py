"""Plain functions as dynamics and cost, for users with their own equations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class FunctionModel:
    """Make dynamics and cost of plain functions that are batched over any leading shape.

    Args:
        step: ``(state [..., state], action [..., action]) -> next state [..., state]``.
        running: ``(state, action) -> cost [...]`` of one step.
        terminal: ``(state) -> cost [...]`` of the last state; ``None`` means zero.
    """

    def __init__(
        self,
        step: Callable[[Tensor, Tensor], Tensor],
        running: Callable[[Tensor, Tensor], Tensor],
        terminal: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._step = step
        self._running = running
        self._terminal = terminal

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """See :class:`~pompc.models.protocols.Dynamics`."""
        return self._step(state, action)

    def running(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None) -> Tensor:
        """See :class:`~pompc.models.protocols.Cost`."""
        return self._running(state, action)

    def terminal(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        """See :class:`~pompc.models.protocols.Cost`."""
        return torch.zeros_like(state[..., 0]) if self._terminal is None else self._terminal(state)
