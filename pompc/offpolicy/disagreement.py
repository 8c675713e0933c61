"""Move the dials of an off-policy agent by what its updates measure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.dial import Signals, Terms
from pompc.dials import disagreement

if TYPE_CHECKING:
    from pompc.offpolicy.agent import OffPolicyAgent


@torch.no_grad()
def move_dials(agent: OffPolicyAgent, batch: TensorDictBase, metrics: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Advance the dials by one update, if a dial moves.

    Args:
        agent: with the dials and the value heads.
        batch: the batch of the update, with ``state``.
        metrics: of the update.

    Returns:
        The disagreement as the metric ``uncertainty``; nothing if no dial moves.
    """
    if not agent.dials.move:
        return {}
    values = agent.critic.values(agent.values.inputs(batch["state"][0], batch["action"][0]))
    uncertainty = disagreement(values, batch["reward"][0])
    terms = measured_terms(metrics) if agent.kl_weight.uses_terms else None
    agent.dials.update(Signals(uncertainty=uncertainty, steps=agent.steps, terms=terms))
    return {"uncertainty": torch.tensor(uncertainty)}


def measured_terms(metrics: Mapping[str, Tensor]) -> Terms | None:
    """Read the divergence and the gradients of the policy's loss; ``None`` if the policy did not learn."""
    if "kl" not in metrics:
        return None
    norms = [metrics[name].item() for name in ("return_grad_norm", "kl_grad_norm") if name in metrics]
    return Terms(kl=metrics["kl"].item(), gradients=(norms[0], norms[1]) if len(norms) == 2 else None)
