"""Move the dials of an off-policy agent by the disagreement of its value heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.dial import Signals
from pompc.dials import disagreement

if TYPE_CHECKING:
    from pompc.offpolicy.agent import OffPolicyAgent


@torch.no_grad()
def move_dials(agent: OffPolicyAgent, batch: TensorDictBase) -> dict[str, Tensor]:
    """Advance the dials by one update, if a dial moves.

    Args:
        agent: with the dials and the value heads.
        batch: the batch of the update, with ``state``.

    Returns:
        The disagreement as the metric ``uncertainty``; nothing if no dial moves.
    """
    if not agent.dials.move:
        return {}
    values = agent.critic.values(agent.values.inputs(batch["state"][0], batch["action"][0]))
    uncertainty = disagreement(values, batch["reward"][0])
    agent.dials.update(Signals(uncertainty=uncertainty, steps=agent.steps))
    return {"uncertainty": torch.tensor(uncertainty)}
