"""Where value targets come from: one step, as the kind of values says, or the return of several stored steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tensordict import TensorDictBase
from torch import Tensor

if TYPE_CHECKING:
    from pompc.offpolicy.agent import OffPolicyAgent


class OneStep:
    """The target of the agent's values: a stored step for values of actions, a step of the model for values of states."""

    def __call__(self, agent: OffPolicyAgent, batch: TensorDictBase) -> Tensor:
        """Make targets ``[horizon, batch]``.

        Args:
            agent: with the values.
            batch: sequences as in :meth:`OffPolicyAgent.update`, and ``encoded [horizon + 1, batch, state]``.
        """
        return agent.values.target(batch)


class StoredReturn(OneStep):
    """The return of the next n stored steps plus the slow value after them.

    A sequence is part of one episode. At its end the return stops, and the value of its last observation is added; so late
    steps of a sequence have returns of fewer steps. After a termination nothing is added. An episode that was truncated
    ends with its last observation, whose value counts.

    Args:
        steps: n, at least 1.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self, agent: OffPolicyAgent, batch: TensorDictBase) -> Tensor:
        """See :meth:`OneStep.__call__`."""
        after = agent.values.slow(batch["encoded"][1:])
        target = agent.values.bootstrapped(batch, after)
        for _ in range(min(self.steps, len(after)) - 1):
            target = agent.values.bootstrapped(batch, torch.cat([target[1:], after[-1:]]))
        return target
