"""The squared bias of virtual value targets, measured on real trajectories: the second signal of ``schedule=auto``.

At a real state the same truncated lambda-return is taken twice: along the planner's rollouts in the model, and along the
executed trajectory. Both are bootstrapped from the same values at the same depth, so that their difference is the error of
the model and of the plan, ``T_model^H V - T^H V``, plus noise. Noise is independent between environments and bias is not:
the mean product of two differences from different environments holds the squared bias alone. Derived in this project.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Unpack

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torch.nn.functional import one_hot

from pompc.data.broken import intact
from pompc.models.protocols import Model
from pompc.onpolicy.virtual_targets import Scoring, lambda_return, score_rollouts

GROUPS = 8
"""Groups of states of similar value, within which a bias may have one sign."""


@torch.no_grad()
def squared_target_bias(
    data: TensorDictBase,
    model: Model,
    value: Callable[[Tensor], Tensor],
    *,
    rollouts: int,
    **scoring: Unpack[Scoring],
) -> float:
    """Measure the mean squared bias of virtual targets at real states.

    Args:
        data: transitions ``[num_envs, time]`` with the planner's rollouts, ``("virtual", "states")``
            ``[num_envs, time, rollout, horizon + 1, state]`` and ``("virtual", "actions")``, after
            :func:`~pompc.data.broken.cut`.
        model: gives reward, termination and the observation of a state.
        value: ``observation [..., observation] -> value [...]``, frozen during the update.
        rollouts: the most rollouts that are scored, at evenly spaced steps.
        **scoring: how targets are made of rewards and values.

    Returns:
        An estimate without bias, in squared units of the values. It may be negative; nan if no two environments have a
        state to compare.
    """
    states, actions = data["virtual", "states"], data["virtual", "actions"]
    envs, time, count, horizon = actions.shape[:4]
    horizon = min(horizon, time)
    first = time - horizon + 1
    stride = max(1, -(-envs * count * first // rollouts))
    starts = torch.arange(0, first, stride, device=actions.device)
    chosen = states[:, starts, :, : horizon + 1], actions[:, starts, :, :horizon]
    virtual = score_rollouts(*chosen, model, value, **scoring)["value_target"][..., 0].mean(-1)
    window = data.select("observation", "next")[:, starts.unsqueeze(1) + torch.arange(horizon, device=starts.device)]
    after, values = window["next"], value(window["observation"])
    reward, done, terminated = (after[name].squeeze(-1) for name in ("reward", "done", "terminated"))
    steps = (values, value(after["observation"]), reward * scoring["reward_scale"], done, terminated)
    real = lambda_return(*steps, discount=scoring["discount"], gae_lambda=scoring["gae_lambda"])[..., 0]
    difference = virtual - real
    usable, good = difference.isfinite(), intact(data)
    if good is not None:
        usable = usable & good[:, starts]
    return mean_squared_bias(difference, values[..., 0], usable)


def mean_squared_bias(difference: Tensor, value: Tensor, usable: Tensor) -> float:
    """Average the product of two differences over pairs of states of similar value in different environments.

    Args:
        difference: ``[env, state]``.
        value: by which states are put into :data:`GROUPS` groups of equal size ``[env, state]``.
        usable: which states count, bool ``[env, state]``.

    Returns:
        The mean over pairs, an unbiased estimate of the groups' squared mean difference; nan without a pair.
    """
    rank = torch.where(usable, value, math.inf).flatten().argsort().argsort().view_as(value)
    group = (rank * GROUPS // usable.sum().clamp_min(1)).clamp_max(GROUPS - 1)
    member = one_hot(group, GROUPS).double() * usable.unsqueeze(-1)
    sums = (member * torch.where(usable, difference, 0.0).unsqueeze(-1)).sum(1)
    counts = member.sum(1)
    products, pairs = (x.sum(0).square().sum() - x.square().sum() for x in (sums, counts))
    return (products / pairs).item() if pairs > 0 else math.nan
