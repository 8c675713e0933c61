"""The learned parts of an agent's explicit model, together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from tensordict import TensorDictBase
from torch import Tensor, nn

from pompc.model_learning.part import LearnedPart
from pompc.models.known import KnownModel

M = TypeVar("M")


class LearnedParts(nn.Module):
    """Hold the networks of a model's learned parts for an agent, and let the parts learn; empty until :meth:`adopt`.

    Attributes:
        parts: the learned parts, the outermost first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[LearnedPart] = []
        self.networks = nn.ModuleDict()

    def adopt(self, model: M) -> M:
        """Take over the learned parts of a model, if it has any; return the model."""
        inner = model.task if isinstance(model, KnownModel) else model
        while isinstance(inner, LearnedPart):
            self.parts.append(inner)
            self.networks[inner.name] = inner.network
            inner = inner.task
        return model

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
