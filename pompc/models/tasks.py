"""The tasks of a multi-task model."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TaskEmbedding(nn.Module):
    """A learned vector, an action mask and a discount for each task of a multi-task model.

    Args:
        action_masks: 1 for the actions a task has ``[task, action]``.
        discounts: discount of each task ``[task]``.
        dim: size of the vector.
    """

    action_masks: Tensor
    discounts: Tensor

    def __init__(self, action_masks: Tensor, discounts: Tensor, dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(len(discounts), dim)
        self.register_buffer("action_masks", action_masks, persistent=False)
        self.register_buffer("discounts", discounts, persistent=False)

    def forward(self, state: Tensor) -> Tensor:
        """Replace the last entry, the task's index, by its vector: ``[..., latent + 1]`` -> ``[..., latent + dim]``."""
        return torch.cat([state[..., :-1], self.table(self.index(state))], dim=-1)

    @torch.no_grad()
    def bound(self) -> None:
        """Shorten vectors to length one at most, after a step of their optimizer (TD-MPC2's ``max_norm``)."""
        self.table.weight.copy_(torch.renorm(self.table.weight, 2, 0, 1.0))

    def index(self, state: Tensor) -> Tensor:
        """Read the task of a state ``[..., latent + 1]``: integers ``[...]``."""
        return state[..., -1].long()
