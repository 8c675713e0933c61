"""What an update knows of its virtual value targets, from real trajectories: the signal of ``schedule=auto``.

At a real state the same truncated lambda-return is taken twice: along the planner's rollouts in the model, and along the
executed trajectory. Both are bootstrapped from the same values at the same depth, so that their difference is the error of
the model and of the plan, ``T_model^H V - T^H V``, plus noise. Noise is independent between environments and bias is not:
the mean product of two differences from different environments holds the squared bias alone. Derived in this project.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Unpack, cast

import torch
from tensordict import TensorDictBase
from torch import Tensor
from torch.nn.functional import one_hot

from pompc.data.broken import intact
from pompc.dial import Evidence
from pompc.models.protocols import Model
from pompc.onpolicy.virtual_targets import Scoring, lambda_return, score_rollouts

GROUPS = 8
"""Groups of states of similar value, within which a bias may have one sign."""


@torch.no_grad()
def measure_evidence(
    data: TensorDictBase,
    model: Model,
    value: Callable[[Tensor], Tensor],
    *,
    virtual_news: float,
    real_news: float,
    rollouts: int,
    **scoring: Unpack[Scoring],
) -> Evidence:
    """Measure the squared bias of values that learn from the rollouts of a batch alone.

    The mean squared bias ``d^2`` of targets at real states becomes one of values by the targets' news ``n``: values
    that are learned from such targets alone are off by ``d / n``, as ``d`` comes on top in every backup.

    Args:
        data: transitions ``[num_envs, time]`` with the planner's rollouts, ``("virtual", "states")``
            ``[num_envs, time, rollout, horizon + 1, state]`` and ``("virtual", "actions")``, after
            :func:`~pompc.data.broken.cut`.
        model: gives reward, termination and the observation of a state.
        value: ``observation [..., observation] -> value [...]``, frozen during the update.
        virtual_news: mean news of a virtual target times its weight in the loss.
        real_news: mean news of a real target.
        rollouts: the most rollouts that are scored, at evenly spaced steps.
        **scoring: how targets are made of rewards and values.

    Returns:
        The evidence, its bias in squared units of the values; nan if no two environments have a state to compare.
    """
    states, actions = data["virtual", "states"], data["virtual", "actions"]
    envs, time, count, horizon = actions.shape[:4]
    horizon = min(horizon, time)
    first = time - horizon + 1
    starts = torch.arange(0, first, max(1, -(-envs * count * first // rollouts)), device=actions.device)
    chosen = states[:, starts, :, : horizon + 1], actions[:, starts, :, :horizon]
    virtual = score_rollouts(*chosen, model, value, **scoring)[..., 0]
    steps = starts.unsqueeze(1) + torch.arange(horizon, device=starts.device)
    window = data.select("observation", "next")[:, steps]
    real = real_targets(window, value, **scoring)
    difference = virtual["value_target"].mean(-1) - real
    usable = difference.isfinite() & _same_depth(window["next"])
    good = intact(data)
    if good is not None:
        usable = usable & good[:, starts]
    news = virtual["news"].mean(-1)[usable].mean().item()
    bias = mean_squared_bias(difference, value(window["observation"][:, :, 0]), usable)
    return Evidence(squared_bias=bias / max(news, 1e-8) ** 2, virtual_news=virtual_news, real_news=real_news)


def real_targets(window: TensorDictBase, value: Callable[[Tensor], Tensor], **scoring: Unpack[Scoring]) -> Tensor:
    """Compute the lambda-returns of the first states of windows of executed steps ``[..., time]``: ``[...]``."""
    after = window["next"]
    reward, done, terminated = (after[name].squeeze(-1) for name in ("reward", "done", "terminated"))
    values = value(window["observation"]), value(after["observation"])
    weights = {"discount": scoring["discount"], "gae_lambda": scoring["gae_lambda"]}
    return lambda_return(*values, reward * scoring["reward_scale"], done, terminated, **weights)[..., 0]


def _same_depth(after: TensorDictBase) -> Tensor:
    """Find the windows ``[..., time]`` that no truncation cuts short, unlike a rollout: bool ``[...]``."""
    truncated = cast(Tensor, after["done"]) & ~cast(Tensor, after["terminated"])
    return (~truncated[..., :-1, 0]).all(-1)


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
