"""Roll a latent world model out for a plan; what all samples of the plan share is computed once."""

from __future__ import annotations

from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor
from torch.nn import functional

from pompc.models.protocols import Model
from pompc.models.world_model import WorldModel
from pompc.networks.layers import product


class Beginning(NamedTuple):
    """What all samples of a plan share: their first state, and the first layers of dynamics and reward.

    Attributes:
        state: ``[batch, state]``.
        product: of the first state and both first layers, biases included ``[batch, hidden]``.
        weight: of both first layers ``[hidden, input + action]``; ``hidden`` is the sum of their widths.
        bias: ``[hidden]``.
    """

    state: Tensor
    product: Tensor
    weight: Tensor
    bias: Tensor


class Unrolled(NamedTuple):
    """Trajectories and their judgement.

    Attributes:
        states: the first one included ``[batch, candidate, sample, horizon + 1, state]``.
        reward: of every step ``[batch, candidate, sample, horizon]``.
        ended: whether a step ended the episode, bool, same shape; ``None`` if the model predicts no ends.
    """

    states: Tensor
    reward: Tensor
    ended: Tensor | None


def unrolls(model: Model) -> TypeGuard[WorldModel]:
    """Say whether :func:`unroll` computes what the model's own steps do.

    A subclass with other steps takes them singly, and so does a model with several heads of dynamics.
    """
    if not isinstance(model, WorldModel) or model.dynamics_heads > 1:
        return False
    return (type(model).next, type(model).outcome) == (WorldModel.next, WorldModel.outcome)


def begin(model: WorldModel, state: Tensor) -> Beginning:
    """Prepare a plan from ``state [batch, state]``: all samples begin there, and differ in their actions alone."""
    first = [trunk.first for trunk in (model.dynamics, model.reward_head)]
    weight, bias = torch.cat([layer.weight for layer in first]), torch.cat([layer.bias for layer in first])
    return Beginning(state, functional.linear(model.inputs(state), weight[:, : model.input_dim], bias), weight, bias)


def unroll(model: WorldModel, beginning: Beginning, actions: Tensor) -> Unrolled:
    """Roll out and judge ``actions [batch, candidate, sample, horizon, action]``.

    Dynamics and reward read the same input, so their first layers are one product. In the first step only its action part
    is computed here.
    """
    shape = actions.shape[:3]
    now = beginning.state[:, None, None].expand(*shape, -1)
    states, logits = [now], []
    widths = [trunk.first.out_features for trunk in (model.dynamics, model.reward_head)]
    for step, action in enumerate(actions.unbind(-2)):
        if step == 0:
            both = functional.linear(action, beginning.weight[:, model.input_dim :]) + beginning.product[:, None, None]
        else:
            both = product(torch.cat([model.inputs(now), action], dim=-1), beginning.weight, beginning.bias)
        ahead, judged = both.split(widths, dim=-1)
        latent = model.dynamics.after_first(ahead)
        logits.append(model.reward_head.after_first(judged))
        now = latent if model.tasks is None else torch.cat([latent, now[..., -1:]], dim=-1)
        states.append(now)
    rolled = torch.stack(states, dim=-2)
    ended = model.termination_logits(rolled[..., 1:, :]) > 0 if model.terminates else None
    return Unrolled(rolled, model.two_hot.decode(torch.stack(logits, dim=-2)), ended)
