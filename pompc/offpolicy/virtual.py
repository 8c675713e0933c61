"""Virtual value targets of the latent family: the planner's own action sequences, rolled out by today's model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tensordict import TensorDict
from torch import Tensor

if TYPE_CHECKING:
    from pompc.offpolicy.latent_actor import LatentActor


@torch.no_grad()
def virtual_sequences(agent: LatentActor, state: Tensor, planned: Tensor) -> TensorDict:
    """States, actions and value targets along planned action sequences.

    The sequences are kept as actions, not as latents: the encoder moves on, so they are rolled out anew from the encoded
    observation. The target of step ``t`` is the model's return to the end of the horizon, bootstrapped there as real
    targets are; nothing is counted after a predicted termination.

    Args:
        agent: whose model, discount and target values are used.
        state: encoded observations the plans were made from ``[batch, state]``.
        planned: action sequences ``[batch, count, horizon, action]``.

    Returns:
        ``state [horizon, row, state]``, ``action [horizon, row, action]`` and ``target [horizon, row]``, one row per
        sequence, of batch size ``[horizon, row]``.
    """
    model = agent.model
    actions = planned.flatten(0, 1).transpose(0, 1)
    states = [state.repeat_interleave(planned.shape[1], dim=0)]
    for action in actions:
        states.append(model.next(states[-1], action))
    then = torch.stack(states[1:])
    now = torch.stack(states[:-1])
    reward = model.reward(now, actions)
    going_on = torch.ones_like(reward)
    if model.termination_head is not None:
        going_on = (model.termination_logits(then) <= 0).float()
    factor = agent.discount_of(then) * going_on
    target, targets = agent.target_value(then[-1]), []
    for step in reversed(range(len(actions))):
        target = reward[step] + factor[step] * target
        targets.append(target)
    entries = {"state": now, "action": actions, "target": torch.stack(targets[::-1])}
    return TensorDict(entries, batch_size=reward.shape)
