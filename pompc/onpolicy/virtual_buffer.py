"""The planner's rollouts of the last updates."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer


class VirtualBuffer:
    """Keep rollouts as states and actions, so that every update can score them with today's values.

    Args:
        rollouts: the most rollouts that one update adds; the others are dropped at random.
        window: updates for which a rollout is kept; 1 keeps those of the current update.
    """

    def __init__(self, rollouts: int, window: int) -> None:
        self.rollouts, self.window = rollouts, window
        self._buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(rollouts * window, device="cpu"))

    def exchange(self, states: Tensor, actions: Tensor, update: int) -> TensorDict:
        """Add the rollouts of an update and return all that are not too old.

        Args:
            states: ``[rollout, horizon + 1, state]``.
            actions: ``[rollout, horizon, action]``.
            update: number of the update.

        Returns:
            ``states`` and ``actions`` ``[rollout, ...]`` on the device of the new ones.
        """
        count, device = states.shape[:1], states.device
        entries = {"states": states, "actions": actions, "update": torch.full(count, update, device=device)}
        drawn = torch.randperm(len(states), device=device)[: self.rollouts]
        self._buffer.extend(TensorDict(entries, batch_size=count)[drawn].cpu())
        kept = self._buffer[:].to(device)
        return kept[kept["update"] > update - self.window]

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the buffer holds."""
        return self._buffer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._buffer.load_state_dict(state)
