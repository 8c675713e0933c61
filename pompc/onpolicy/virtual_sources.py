"""Which rollouts of a plan become virtual data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pompc.planner import MPPI, Plan
from pompc.planner.weights import systematic_resample

VirtualSource = Callable[[Plan, Tensor, MPPI, int], tuple[Tensor, Tensor]]
"""A function ``(plan, chosen [batch], planner, count) -> (states, actions)`` of rollouts.

The states are ``[batch, rollout, horizon + 1, state]``, the actions ``[batch, rollout, horizon, action]``.
"""


def others(plan: Plan, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Index the candidates that were not executed, in order.

    Returns:
        Environments ``[batch, 1]`` and candidates ``[batch, candidate - 1]``.
    """
    batch, candidates = plan.batch_size
    index = torch.arange(candidates - 1, device=chosen.device).expand(batch, -1)
    return torch.arange(batch, device=chosen.device).unsqueeze(1), index + (index >= chosen.unsqueeze(1))


def all_others(plan: Plan, chosen: Tensor, planner: MPPI, count: int) -> tuple[Tensor, Tensor]:
    """Take every sample of every candidate that was not executed: ``(M - 1) K`` rollouts."""
    rest = others(plan, chosen)
    return plan.trajectories()[rest].flatten(1, 2), plan.actions[rest].flatten(1, 2)


def others_plus_rest(plan: Plan, chosen: Tensor, planner: MPPI, count: int) -> tuple[Tensor, Tensor]:
    """Take every sample but the heaviest one of the executed candidate: ``M K - 1`` rollouts."""
    envs = torch.arange(len(chosen), device=chosen.device)
    samples = plan.weights.shape[-1]
    dropped = chosen * samples + plan.weights[envs, chosen].argmax(-1)
    index = torch.arange(plan.weights[0].numel() - 1, device=chosen.device).expand(len(chosen), -1)
    index = index + (index >= dropped.unsqueeze(1))
    envs = envs.unsqueeze(1)
    return plan.trajectories().flatten(1, 2)[envs, index], plan.actions.flatten(1, 2)[envs, index]


def weighted(plan: Plan, chosen: Tensor, planner: MPPI, count: int) -> tuple[Tensor, Tensor]:
    """Resample ``count`` samples of every candidate that was not executed: ``(M - 1) count`` rollouts.

    Resampling is systematic, by the planner's weights, so the rollouts have the distribution of the plan.
    """
    envs, candidates = others(plan, chosen)
    drawn = (envs.unsqueeze(2), candidates.unsqueeze(2), systematic_resample(plan.weights[envs, candidates], count))
    return plan.trajectories()[drawn].flatten(1, 2), plan.actions[drawn].flatten(1, 2)


def executed(plan: Plan, chosen: Tensor, planner: MPPI, count: int) -> tuple[Tensor, Tensor]:
    """Resample ``count`` samples of the executed candidate, as :func:`weighted` does of the others.

    The rollouts begin with the decision that the real transition has, so their targets are those of the policy's own
    decision: a model-based value expansion over the horizon.
    """
    envs = torch.arange(len(chosen), device=chosen.device)
    drawn = (envs.unsqueeze(1), chosen.unsqueeze(1), systematic_resample(plan.weights[envs, chosen], count))
    return plan.trajectories()[drawn], plan.actions[drawn]


def nominal(plan: Plan, chosen: Tensor, planner: MPPI, count: int) -> tuple[Tensor, Tensor]:
    """Roll out the mean plan of every candidate that was not executed: ``M - 1`` rollouts."""
    mean = plan.mean[others(plan, chosen)]
    states = planner.rollout(plan.trajectories()[:, 0, 0, 0], mean.unsqueeze(1)).squeeze(1)
    planner.model_steps += mean[..., 0].numel()
    return states, mean


VIRTUAL_SOURCES: dict[str, VirtualSource] = {
    "all": all_others,
    "others_plus_rest": others_plus_rest,
    "weighted": weighted,
    "nominal": nominal,
    "executed": executed,
}
"""Sources by the name that ``algo.virtual_source`` takes."""
