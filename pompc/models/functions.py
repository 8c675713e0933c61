"""Plain functions as dynamics and cost, for users with their own equations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class FunctionCost:
    """Make a cost of plain functions that are batched over any leading shape.

    Args:
        running: ``(state [..., state], action [..., action]) -> cost [...]`` of one step.
        terminal: ``(state) -> cost [...]`` of the last state; ``None`` means zero.
        terminal_after: ``(state, action) -> cost [...]`` of the last state and of the action that led to it, in the place
            of ``terminal``.
    """

    def __init__(
        self,
        running: Callable[[Tensor, Tensor], Tensor],
        terminal: Callable[[Tensor], Tensor] | None = None,
        terminal_after: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self._running = running
        self._terminal = terminal
        self._terminal_after = terminal_after

    def running(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None) -> Tensor:
        """See :class:`~pompc.models.protocols.Cost`."""
        return self._running(state, action)

    def terminal(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        """See :class:`~pompc.models.protocols.Cost`."""
        return torch.zeros_like(state[..., 0]) if self._terminal is None else self._terminal(state)

    def terminal_after(self, state: Tensor, action: Tensor, parameters: Tensor | None) -> Tensor:
        """See :class:`~pompc.models.protocols.LastAction`."""
        if self._terminal_after is None:
            return self.terminal(state, parameters)
        return self._terminal_after(state, action)


class FunctionModel(FunctionCost):
    """Make dynamics and cost of plain functions that are batched over any leading shape.

    Args:
        step: ``(state [..., state], action [..., action]) -> next state [..., state]``.
        running: ``(state, action) -> cost [...]`` of one step.
        terminal: ``(state) -> cost [...]`` of the last state; ``None`` means zero.
        terminal_after: ``(state, action) -> cost [...]`` of the last state and of the action that led to it, in the place
            of ``terminal``.
    """

    def __init__(
        self,
        step: Callable[[Tensor, Tensor], Tensor],
        running: Callable[[Tensor, Tensor], Tensor],
        terminal: Callable[[Tensor], Tensor] | None = None,
        terminal_after: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(running, terminal, terminal_after)
        self._step = step

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """See :class:`~pompc.models.protocols.Dynamics`."""
        return self._step(state, action)
