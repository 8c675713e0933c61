"""Virtual value targets off policy: the planner's own action sequences, rolled out by today's model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tensordict import TensorDict
from torch import Tensor

from pompc.planner import Plan
from pompc.planner.weights import systematic_resample

if TYPE_CHECKING:
    from pompc.offpolicy.agent import OffPolicyAgent

NEGLIGIBLE = 1e-3
"""A smaller share of virtual data counts as zero, which a decaying ratio never reaches."""


def drawn_sequences(plan: Plan, count: int) -> Tensor:
    """Draw ``count`` sequences of the first candidate of a plan by their weights ``[batch, count, horizon, action]``."""
    drawn = systematic_resample(plan.weights[:, 0], count)
    return plan.actions[:, 0][torch.arange(len(drawn), device=drawn.device)[:, None], drawn]


@torch.no_grad()
def virtual_sequences(agent: OffPolicyAgent, state: Tensor, planned: Tensor) -> TensorDict:
    """Make states, actions and value targets along planned action sequences.

    The replay keeps the sequences as actions, because latents change with the encoder. Here they are rolled out again from
    the encoded observation. The target of step ``t`` is the model's return to the end of the horizon, plus the slow value
    there. Nothing is counted after a predicted termination.

    Args:
        agent: the agent with the model, the discount and the slow values.
        state: encoded observations at which the plans were made ``[batch, state]``.
        planned: action sequences ``[batch, count, horizon, action]``.

    Returns:
        ``state [horizon, sequence, state]``, ``action [horizon, sequence, action]`` and ``target [horizon, sequence]``, of
        batch size ``[horizon, sequence]``.
    """
    model = agent.model
    actions = planned.flatten(0, 1).transpose(0, 1)
    states = [state.repeat_interleave(planned.shape[1], dim=0)]
    for action in actions:
        states.append(model.next(states[-1], action))
    then = torch.stack(states[1:])
    now = torch.stack(states[:-1])
    reward, ended = model.outcome(now, actions, then)
    factor = agent.discount_of(then) * (~ended).float()
    target, targets = agent.values.slow(then[-1]), []
    for step in reversed(range(len(actions))):
        target = reward[step] + factor[step] * target
        targets.append(target)
    entries = {"state": now, "action": actions, "target": torch.stack(targets[::-1])}
    return TensorDict(entries, batch_size=reward.shape)
