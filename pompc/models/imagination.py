"""Present a model, learned or explicit, to a planner."""

from __future__ import annotations

import torch
from torch import Tensor

from pompc.models.protocols import Constrained, Model


class Imagination:
    """Plan in a :class:`Model`: its dynamics, minus its reward as the cost, and its terminations.

    The cost has the units of values, which an agent adds at the end of the horizon.

    Args:
        model: learned or explicit. Entries of an action that the task of a state ignores have no effect.

    Attributes:
        margins: the model's, if it is :class:`~pompc.models.protocols.Constrained`; then this object is. Otherwise None.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.margins = model.margins if isinstance(model, Constrained) else None

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """See :class:`~pompc.models.protocols.Dynamics`."""
        return self.model.next(state, self._masked(state, action))

    def judge(
        self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """See :class:`~pompc.models.protocols.Judge`; the terminations are ``None`` if the model predicts none."""
        reward, ended = self.model.outcome(state, self._masked(state, action), next_state)
        return -reward, ended if self.model.terminates else None

    def running(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None) -> Tensor:
        """See :class:`~pompc.models.protocols.Cost`."""
        return self.judge(state, action, next_state, parameters)[0]

    def terminal(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        """See :class:`~pompc.models.protocols.Cost`; zero, since the agent adds the value of the last state."""
        return torch.zeros_like(state[..., 0])

    def _masked(self, state: Tensor, action: Tensor) -> Tensor:
        """Set to zero the entries of an action that the task of its state ignores."""
        tasks = self.model.tasks
        return action if tasks is None else action * tasks.action_masks[tasks.index(state)]
