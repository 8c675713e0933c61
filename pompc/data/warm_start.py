"""The part of the TensorDict that a planner carries from step to step: its warm start, and the actions applied last.

Only a planner that charges or limits changes of the action has to know them: :func:`reads_applied`.
"""

from __future__ import annotations

from typing import cast

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torchrl.data import TensorSpec, Unbounded

from pompc.planner.mppi import MPPI

APPLIED = "applied"
PAST = 2
"""Actions that are carried: a change, and the change of that."""


def reads_applied(planner: MPPI) -> bool:
    """Say whether plans depend on the actions applied before them."""
    return planner.config.change_cost > 0 or not planner.limits.elementwise


def primers(planner: MPPI) -> dict[str, TensorSpec]:
    """Return the specs of what is carried, without the batch dimension."""
    shapes = {"planner_mean": (planner.config.horizon, planner.action_dim)}
    if reads_applied(planner):
        shapes[APPLIED] = (PAST, planner.action_dim)
    return {name: Unbounded(shape, device=planner.device) for name, shape in shapes.items()}


def beginning(planner: MPPI, tensordict: TensorDictBase) -> dict[str, Tensor]:
    """Return the arguments of :meth:`MPPI.plan` that say where a plan begins.

    Args:
        planner: plans.
        tensordict: the start of a step ``[batch]``, with ``is_init`` and the :func:`primers`.
    """
    given = {"mean": cast(Tensor, tensordict["planner_mean"]), "is_init": cast(Tensor, tensordict["is_init"])}
    return given | applied_before(planner, tensordict)


def applied_before(planner: MPPI, tensordict: TensorDictBase) -> dict[str, Tensor]:
    """Return ``previous [batch, past, action]``, the planner's rest at the start of an episode; nothing if it reads none.

    Args:
        planner: plans.
        tensordict: the start of a step ``[batch]``, with ``is_init`` and ``applied``.
    """
    if not reads_applied(planner):
        return {}
    is_init, applied = cast(Tensor, tensordict["is_init"]), cast(Tensor, tensordict[APPLIED])
    return {"previous": torch.where(is_init.unsqueeze(-1), planner.rest, applied)}


def remember(planner: MPPI | None, tensordict: TensorDictBase) -> TensorDictBase:
    """Carry ``action [batch, action]``, the one that the environment gets, to the plan of the next step."""
    if planner is not None and reads_applied(planner):
        before = tensordict[APPLIED] = applied_before(planner, tensordict)["previous"]  # what the plan has read
        action = cast(Tensor, tensordict["action"])
        tensordict["next", APPLIED] = torch.cat([before[:, 1:], action.unsqueeze(1).to(before.dtype)], 1)
    return tensordict
