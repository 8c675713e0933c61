"""Dynamics and cost that change over time: the time is the last entry of the state."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class TimedModel:
    """Make dynamics and cost of functions that see the time, counted in steps.

    The planner's state is the task's with the time behind it. So every environment has its own clock, and a plan at time
    ``t`` sees ``t``, ``t + 1``, ... over the horizon. All functions are batched over any leading shape. Time has the dtype
    of the state: float32 counts to ``2**24``.

    Args:
        step: ``(state [..., state], action [..., action], time [...]) -> next state [..., state]``.
        running: ``(state, action, time) -> cost [...]`` of one step.
        terminal: ``(state, time) -> cost [...]`` of the last state; ``None`` means zero.
    """

    def __init__(
        self,
        step: Callable[[Tensor, Tensor, Tensor], Tensor],
        running: Callable[[Tensor, Tensor, Tensor], Tensor],
        terminal: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self._step, self._running, self._terminal = step, running, terminal

    def at(self, state: Tensor, time: Tensor | float) -> Tensor:
        """Put the time behind a state: ``[..., state]`` and ``[...]``, or one number, -> ``[..., state + 1]``."""
        times = torch.as_tensor(time, dtype=state.dtype, device=state.device).expand(state.shape[:-1])
        return torch.cat([state, times.unsqueeze(-1)], dim=-1)

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """See :class:`~pompc.models.protocols.Dynamics`; the time moves by one."""
        return self.at(self._step(state[..., :-1], action, state[..., -1]), state[..., -1] + 1)

    def running(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None) -> Tensor:
        """See :class:`~pompc.models.protocols.Cost`."""
        return self._running(state[..., :-1], action, state[..., -1])

    def terminal(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        """See :class:`~pompc.models.protocols.Cost`."""
        if self._terminal is None:
            return torch.zeros_like(state[..., 0])
        return self._terminal(state[..., :-1], state[..., -1])
