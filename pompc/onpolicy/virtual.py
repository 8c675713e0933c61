"""Virtual data: the planner's own rollouts, chosen, re-scored with the reward model and turned into value targets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.objectives.value.functional import vec_generalized_advantage_estimate

from pompc.models.protocols import TaskModel
from pompc.planner import MPPI, Plan
from pompc.planner.weights import systematic_resample, until_termination

VirtualSource = Callable[[Plan, Tensor, MPPI, int], tuple[Tensor, Tensor]]
"""``(plan, chosen [batch], planner, count)`` to states ``[batch, rollout, horizon + 1, state]`` and their actions."""


def others(plan: Plan, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The candidates that were not executed, in order: rows ``[batch, 1]`` and candidates ``[batch, candidate - 1]``."""
    batch, candidates = plan.batch_size
    index = torch.arange(candidates - 1, device=chosen.device).expand(batch, -1)
    return torch.arange(batch, device=chosen.device).unsqueeze(1), index + (index >= chosen.unsqueeze(1))


def all_others(plan: Plan, chosen: Tensor, planner: MPPI, count: int) -> tuple[Tensor, Tensor]:
    """Every sample of every candidate that was not executed: ``(M - 1) K`` rollouts."""
    rest = others(plan, chosen)
    return plan.states[rest].flatten(1, 2), plan.actions[rest].flatten(1, 2)


def others_plus_rest(plan: Plan, chosen: Tensor, planner: MPPI, count: int) -> tuple[Tensor, Tensor]:
    """Every sample but the heaviest one of the executed candidate: ``M K - 1`` rollouts."""
    rows = torch.arange(len(chosen), device=chosen.device)
    samples = plan.weights.shape[-1]
    dropped = chosen * samples + plan.weights[rows, chosen].argmax(-1)
    index = torch.arange(plan.weights[0].numel() - 1, device=chosen.device).expand(len(chosen), -1)
    index = index + (index >= dropped.unsqueeze(1))
    rows = rows.unsqueeze(1)
    return plan.states.flatten(1, 2)[rows, index], plan.actions.flatten(1, 2)[rows, index]


def weighted(plan: Plan, chosen: Tensor, planner: MPPI, count: int) -> tuple[Tensor, Tensor]:
    """``count`` samples of every candidate not executed, resampled by their planner weights: ``(M - 1) count`` rollouts.

    They follow what the plan would do; resampling is systematic.
    """
    rows, candidates = others(plan, chosen)
    drawn = (rows.unsqueeze(2), candidates.unsqueeze(2), systematic_resample(plan.weights[rows, candidates], count))
    return plan.states[drawn].flatten(1, 2), plan.actions[drawn].flatten(1, 2)


def nominal(plan: Plan, chosen: Tensor, planner: MPPI, count: int) -> tuple[Tensor, Tensor]:
    """The rollout of the mean plan of every candidate not executed: ``M - 1`` rollouts."""
    mean = plan.mean[others(plan, chosen)]
    states = planner.rollout(plan.states[:, 0, 0, 0], mean.unsqueeze(1)).squeeze(1)
    planner.model_steps += mean[..., 0].numel()
    return states, mean


VIRTUAL_SOURCES: dict[str, VirtualSource] = {
    "all": all_others,
    "others_plus_rest": others_plus_rest,
    "weighted": weighted,
    "nominal": nominal,
}
"""Which rollouts become virtual data, by the name that ``algo.virtual_source`` takes."""


def virtual_targets(
    states: Tensor,
    actions: Tensor,
    model: TaskModel,
    value: Callable[[Tensor], Tensor],
    *,
    reward_scale: float,
    discount: float,
    gae_lambda: float,
) -> TensorDict:
    """Re-score rollouts with the reward model and compute truncated TD(lambda) value targets along them.

    The target of the first state is the ``horizon``-step lambda-return of the model, bootstrapped with the value of the
    last state unless the model says that the episode ended.

    Args:
        states: ``[rollout, horizon + 1, state]``.
        actions: ``[rollout, horizon, action]``.
        model: gives reward, termination and the observation of a state.
        value: ``observation [..., observation] -> value [...]``, frozen during the update.
        reward_scale: factor from rewards to the units of the values.
        discount: per step.
        gae_lambda: of the lambda-return.

    Returns:
        Rows up to the end of each rollout: ``observation [row, observation]``, ``value_target [row]``, ``reward [row]``
        (scaled), ``bootstrapped [row]`` (see :func:`bootstrapped_share`) and ``first [row]``, whether a row is the first of
        its rollout and so a real state. Rollouts with a non-finite state are left out.
    """
    finite = torch.isfinite(states).flatten(1).all(-1)
    states, actions = states[finite], actions[finite]
    now, then = states[:, :-1], states[:, 1:]
    observation = model.observe(states)
    values = value(observation)
    reward = model.reward(now, actions, then) * reward_scale
    terminated = model.terminated(now, actions, then)
    _, target = vec_generalized_advantage_estimate(
        discount,
        gae_lambda,
        *(x.unsqueeze(-1) for x in (values[:, :-1], values[:, 1:], reward, terminated, terminated)),
    )
    alive = (terminated.cumsum(1) - terminated.long()) == 0
    rows = {
        "observation": observation[:, :-1],
        "value_target": target.squeeze(-1),
        "reward": reward,
        "bootstrapped": bootstrapped_share(terminated, terminated, discount=discount, gae_lambda=gae_lambda),
        "first": torch.zeros_like(terminated).index_fill(
            1, torch.zeros(1, dtype=torch.long, device=states.device), True
        ),
    }
    return TensorDict({key: x[alive] for key, x in rows.items()}, batch_size=[int(alive.sum())])


def bootstrapped_share(done: Tensor, terminated: Tensor, *, discount: float, gae_lambda: float) -> Tensor:
    """How much of a lambda-return is the value function itself: what it would be with rewards 0 and all values 1.

    Args:
        done: ends of episodes ``[..., time]``.
        terminated: those after which there is no value ``[..., time]``.
        discount: per step.
        gae_lambda: of the lambda-return.

    Returns:
        ``[..., time]`` in [0, 1]: 0 where the rewards are the whole return.
    """
    ones = torch.ones(*terminated.shape, 1, device=terminated.device)
    ends = (done.unsqueeze(-1), terminated.unsqueeze(-1))
    _, share = vec_generalized_advantage_estimate(discount, gae_lambda, ones, ones, torch.zeros_like(ones), *ends)
    return share.squeeze(-1)


def equal_weight(bootstrapped: Tensor, real: Tensor) -> Tensor:
    """Every virtual row weighs 1."""
    return torch.ones_like(bootstrapped)


def news_weight(bootstrapped: Tensor, real: Tensor) -> Tensor:
    """A virtual row weighs as much as its target says beyond the value function, in units of a real target; at most 1.

    Towards a target that is all bootstrap a value does not move; such rows only hold it where it is.
    """
    return ((1 - bootstrapped) / (1 - real).clamp_min(1e-8)).clamp_max(1.0)


VIRTUAL_WEIGHTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"equal": equal_weight, "news": news_weight}
"""What a virtual row weighs in the value loss, ``(its bootstrapped share [row], the real rows' mean share [])`` ->
``[row]``, by the name that ``algo.virtual_weight`` takes."""


def model_return(
    plan: Plan,
    model: TaskModel,
    value: Callable[[Tensor], Tensor],
    *,
    discount: float,
) -> tuple[Tensor, Tensor]:
    """Weighted model return of every candidate's plan, in its two parts, which have units of their own.

    Returns:
        The discounted sum of the rewards, in units of reward, and the discounted value of the last state, in units of the
        values: both ``[batch, candidate]``. The scale between the two moves while learning, so it is applied when they
        are added.
    """
    now, then = plan.states[..., :-1, :], plan.states[..., 1:, :]
    reward = model.reward(now, plan.actions, then)
    terminated = model.terminated(now, plan.actions, then)
    final = value(model.observe(plan.states[..., -1, :]))
    total = until_termination(torch.cat([reward, final.unsqueeze(-1)], dim=-1), terminated)
    powers = discount ** torch.arange(total.shape[-1], device=total.device)
    discounted = torch.where((plan.weights > 0).unsqueeze(-1), total * powers, 0.0)
    mean = (discounted * plan.weights.unsqueeze(-1)).sum(-2)
    return mean[..., :-1].sum(-1), mean[..., -1]


def virtual_metrics(virtual: TensorDictBase | None, real_target: Tensor) -> dict[str, float]:
    """What virtual targets say against real ones; nan without virtual rows.

    Args:
        virtual: rows of :func:`virtual_targets` with their ``weight [row]``.
        real_target: value targets of the real rows ``[row]``.

    Returns:
        ``virtual_bias``, the mean virtual target of real states minus the mean real target, and ``virtual_weight``, the
        mean weight of the virtual rows.
    """
    if virtual is None or len(virtual) == 0:
        return {"virtual_bias": math.nan, "virtual_weight": math.nan}
    first = virtual["value_target"][virtual["first"]].mean()
    return {"virtual_bias": (first - real_target.mean()).item(), "virtual_weight": virtual["weight"].mean().item()}


@torch.no_grad()
def model_errors(data: TensorDictBase, model: TaskModel) -> dict[str, float]:
    """One-step errors of the model on executed transitions, mean and maximum.

    Estimates, while learning, of the dynamics error ``alpha_P`` (here: mean absolute error of the next observation, in its
    units) and of the reward error ``alpha_r``.
    """
    state, action = model.state(data["observation"]), data["action"]
    then = model.step(state, action)
    observed = (model.observe(then) - data["next", "observation"]).abs().mean(-1)
    reward = (model.reward(state, action, then) - data["next", "reward"].squeeze(-1)).abs()
    errors = {"model_error": observed, "reward_error": reward}
    largest = {f"{name}_max": error.max().item() for name, error in errors.items()}
    return {**{name: error.mean().item() for name, error in errors.items()}, **largest}


class Mix(NamedTuple):
    """What a gradient step on the values sees.

    Attributes:
        real: real rows.
        virtual: virtual rows.
        real_weight: of the mean loss over the real rows.
        virtual_weight: of the mean loss over the virtual rows; the two add up to 1.
    """

    real: int
    virtual: int
    real_weight: float
    virtual_weight: float


def mix_by_sampling(ratio: float, batch: int) -> Mix:
    """A value minibatch of ``batch`` rows in all, of which ``round(ratio * batch)`` are virtual."""
    virtual = round(ratio * batch)
    return Mix(batch - virtual, virtual, 1 - virtual / batch, virtual / batch)


def mix_by_loss(ratio: float, batch: int) -> Mix:
    """Full minibatches of both kinds, their losses weighted ``1 - ratio`` and ``ratio``: same mean, lower variance."""
    return Mix(batch if ratio < 1 else 0, batch if ratio > 0 else 0, 1 - ratio, ratio)


MIXES: dict[str, Callable[[float, int], Mix]] = {"sampling": mix_by_sampling, "loss": mix_by_loss}
"""How real and virtual rows share a gradient step on the values, by the name that ``algo.mix`` takes.

Neither changes how many gradient steps there are, nor what the policy sees.
"""
