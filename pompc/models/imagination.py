"""A latent world model as the planner sees it."""

from __future__ import annotations

import torch
from torch import Tensor

from pompc.models.world_model import WorldModel


class Imagination:
    """Dynamics, cost and terminations of the planner, read from a :class:`WorldModel`.

    Args:
        model: the world model; the cost of a step is its expected reward, negated.
    """

    def __init__(self, model: WorldModel) -> None:
        self.model = model

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """See :class:`~pompc.models.protocols.Dynamics`."""
        return self.model.next(state, self._masked(state, action))

    def judge(
        self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """See :class:`~pompc.models.protocols.Judge`; an episode ends where the model finds that likelier than not."""
        cost = -self.model.reward(state, self._masked(state, action))
        if self.model.termination_head is None:
            return cost, None
        return cost, self.model.termination_logits(next_state) > 0

    def running(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None) -> Tensor:
        """See :class:`~pompc.models.protocols.Cost`."""
        return self.judge(state, action, next_state, parameters)[0]

    def terminal(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        """See :class:`~pompc.models.protocols.Cost`; the value of the last state is the agent's."""
        return torch.zeros_like(state[..., 0])

    def _masked(self, state: Tensor, action: Tensor) -> Tensor:
        """Without the entries that the task of a state ignores."""
        tasks = self.model.tasks
        return action if tasks is None else action * tasks.action_masks[tasks.index(state)]
