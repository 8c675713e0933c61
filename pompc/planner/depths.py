"""Returns averaged over the depths of a rollout (an idea of EfficientTDMPC, Evers et al. 2026, known by its abstract)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pompc.models.protocols import Cost, Dynamics, TerminalValue
from pompc.planner.config import MPPIConfig
from pompc.planner.scoring import Scorer


class DepthScorer(Scorer):
    """Charge a sequence the mean of what its first h steps cost, each with the value of the state that they reach.

    With ``C_h = sum over t < h of discount^t c_t, plus discount^h final(x_h)``, the cost is ``sum over h of w_h C_h``, for
    h from 1 to the horizon. The weights are in proportion to ``depth_decay^(horizon - h)`` and sum to one. So the running
    cost of step t counts with the weights of all depths beyond it. After a termination nothing counts, at any depth.

    Args:
        arguments: those of :class:`Scorer`; the config has the decay.
        options: those of :class:`Scorer`.

    Attributes:
        weights: of the depths ``[horizon]``, the shortest first.
    """

    adds_up = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.weights = depth_weights(self.config).to(self.discounts)
        self._beyond = self.weights.flip(0).cumsum(0).flip(0)  # of step t: the weights of the depths t + 1 and more
        self._beyond[0] = 1.0  # free of rounding

    def ends(self, then: Tensor, actions: Tensor, parameters: Tensor | None, value: TerminalValue | None) -> Tensor:
        """Charge the state at every depth: ``then [horizon, ..., state]`` -> ``[horizon, ...]``. See :meth:`final`."""
        return self.final(then, actions, parameters, value)

    def charged(self, running: Tensor, final: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """Weigh the steps ``[horizon, ...]`` and the ends ``final [horizon, ...]``; see :meth:`Scorer.charged`."""
        shape = (-1, *[1] * (running.dim() - 1))
        steps, ends = running * self._beyond.view(shape), final * self.weights.view(shape)
        return torch.cat([steps[:1], steps[1:] + ends[:-1], ends[-1:]])


def depth_weights(config: MPPIConfig) -> Tensor:
    """Compute the weights of the depths 1 to ``horizon``, which sum to one ``[horizon]``, in float64."""
    weights = config.depth_decay ** torch.arange(config.horizon - 1, -1, -1, dtype=torch.float64)
    return weights / weights.sum()


def make_scorer(config: MPPIConfig, dynamics: Dynamics, cost: Cost, device: torch.device, dtype: torch.dtype) -> Scorer:
    """Make the scorer of the whole horizon alone, or of all depths; arguments as of :class:`Scorer`."""
    kind = DepthScorer if config.depth_decay else Scorer
    return kind(config, dynamics, cost, device, dtype)
