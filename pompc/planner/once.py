"""What the iterations of a plan share, computed once: what a model prepares, and the rollouts of the proposals."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pompc.models.protocols import Unrolling
from pompc.models.unrolling import Unrolled
from pompc.system.waiting import waits


class Begun(NamedTuple):
    """A model that is prepared for a plan; all of it tensors, which a compiled graph takes as inputs.

    Attributes:
        beginning: what :meth:`~pompc.models.protocols.Unrolling.begin` returned.
        proposals: the rollouts of the first samples; ``None`` rolls all out.
    """

    beginning: Any
    proposals: Unrolled | None

    def judged(self, model: Any, actions: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Roll out and judge ``actions [batch, candidate, sample, horizon, action]``.

        Returns:
            Trajectories ``[batch, candidate, sample, horizon + 1, state]``, and of every step the cost and whether it ended
            the episode, both ``[horizon, batch, candidate, sample]``.
        """
        states, reward, ended = self._unrolled(model, actions)
        return states, -reward.movedim(-1, 0), None if ended is None else ended.movedim(-1, 0)

    def _unrolled(self, model: Unrolling, actions: Tensor) -> Unrolled:
        """Roll out the samples whose rollouts are not known yet, and join them with the others."""
        if self.proposals is None:
            return model.unroll(self.beginning, actions)
        known = self.proposals
        rest = model.unroll(self.beginning, actions[:, :, known.reward.shape[2] :])
        ended = None if known.ended is None or rest.ended is None else torch.cat([known.ended, rest.ended], dim=2)
        return Unrolled(
            torch.cat([known.states, rest.states], dim=2), torch.cat([known.reward, rest.reward], dim=2), ended
        )


class Once:
    """Prepare a model for the iterations of one plan.

    Policies propose the same sequences in every iteration, so their rollouts are made once. Only the value at their end is
    not, because its heads and its action are drawn in every iteration.
    """

    def __init__(self) -> None:
        self._beginnings: dict[tuple[int, int], Any] = {}
        self._proposed: dict[tuple[int, int], tuple[Tensor, Unrolled]] = {}

    def begun(
        self, block: int, model: Unrolling | None, state: Tensor, actions: Tensor, proposals: int
    ) -> Begun | None:
        """Return what is known of a block of environments; ``None`` for a model that cannot be prepared.

        Args:
            block: its index.
            model: the model to roll out; ``None`` if it takes single steps only.
            state: first states ``[batch, state]``.
            actions: samples ``[batch, candidate, sample, horizon, action]``.
            proposals: number of leading samples that are proposals. They are compared with those of the last iteration on
                the CPU; on other devices, which would have to be waited for, all samples are rolled out.
        """
        if model is None:
            return None
        key = id(model), block  # the members of an ensemble plan with the same inputs
        if key not in self._beginnings:
            self._beginnings[key] = model.begin(state)
        beginning = self._beginnings[key]
        if proposals == 0 or waits(actions.device):
            return Begun(beginning, None)
        proposed = actions[:, :, :proposals]
        if key not in self._proposed or not torch.equal(self._proposed[key][0], proposed):
            self._proposed[key] = proposed.clone(), model.unroll(beginning, proposed)
        return Begun(beginning, self._proposed[key][1])
