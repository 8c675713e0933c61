"""The learned parts of an agent's explicit model, together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensordict import TensorDictBase
from torch import Tensor, nn

from pompc.model_learning.part import LearnedPart
from pompc.models.known import KnownModel


class LearnedParts(nn.Module):
    """Hold the networks of a model's learned parts for an agent, and let the parts learn.

    Args:
        model: any model; by default, and for one without learned parts, there is nothing to hold.

    Attributes:
        parts: the learned parts, the outermost first.
    """

    def __init__(self, model: object = None) -> None:
        super().__init__()
        inner, self.parts = model.task if isinstance(model, KnownModel) else model, []
        while isinstance(inner, LearnedPart):
            self.parts.append(inner)
            inner = inner.task
        self.networks = nn.ModuleDict({part.name: part.network for part in self.parts})

    def learn(self, data: TensorDictBase) -> dict[str, Tensor]:
        """Learn from new transitions ``[num_envs, time]``; return the metrics of all parts."""
        return {name: value for part in self.parts for name, value in part.learn(data).items()}

    def training_state(self, *, replay: bool = True) -> dict[str, Any]:
        """Return the state of every part by name; see :meth:`LearnedPart.training_state`."""
        return {part.name: part.training_state(replay=replay) for part in self.parts}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`training_state` returned; an empty state is enough to act and evaluate."""
        for part in self.parts:
            if part.name in state:
                part.load_training_state(state[part.name])
