"""Roll a policy through a model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pompc.models.protocols import Model


def rollout_policy(
    model: Model, policy: Callable[[Tensor], Tensor], state: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Roll a policy through a model, for example as proposals of a planner.

    The model takes ``steps - 1`` steps: the state after the last action is not computed.

    Args:
        model: learned or explicit.
        policy: ``state [..., state] -> action [..., action]``; it may draw.
        state: first states ``[..., state]``.
        steps: actions to take, at least 1.

    Returns:
        Actions ``[..., step, action]`` and the states they were taken in ``[..., step, state]``.
    """
    states, actions = [state], [policy(state)]
    while len(actions) < steps:
        states.append(model.next(states[-1], actions[-1]))
        actions.append(policy(states[-1]))
    return torch.stack(actions, dim=-2), torch.stack(states, dim=-2)
