"""Value targets and returns of a planner's rollouts, re-scored with the reward model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict, Unpack

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.objectives.value.functional import vec_generalized_advantage_estimate

from pompc.models.protocols import Model
from pompc.planner import Plan
from pompc.planner.weights import until_termination


class Scoring(TypedDict):
    """How value targets are made of rewards and values.

    Attributes:
        reward_scale: factor from rewards to the units of the values.
        discount: per step.
        gae_lambda: of the lambda-return.
    """

    reward_scale: float
    discount: float
    gae_lambda: float


def virtual_targets(
    states: Tensor,
    actions: Tensor,
    model: Model,
    value: Callable[[Tensor], Tensor],
    **scoring: Unpack[Scoring],
) -> TensorDict:
    """Re-score rollouts with the reward model and compute truncated TD(lambda) value targets along them.

    The target of the first state is the ``horizon``-step lambda-return of the model. It bootstraps from the value of the
    last state unless the model says that the episode ended.

    Args:
        states: ``[rollout, horizon + 1, state]``.
        actions: ``[rollout, horizon, action]``.
        model: gives reward, termination and the observation of a state.
        value: ``observation [..., observation] -> value [...]``, frozen during the update.
        **scoring: how targets are made of rewards and values.

    Returns:
        Transitions up to the end of each rollout: ``observation [transition, observation]``,
        ``value_target [transition]``, ``reward [transition]`` (scaled), ``bootstrapped [transition]`` (the
        :func:`bootstrapped_share` of a target at this step of a rollout that does not end), ``news [transition]`` (1 minus
        the share in this target) and ``first [transition]``, whether a transition begins its rollout and so starts from a
        real state. Rollouts with a non-finite state are left out.
    """
    finite = torch.isfinite(states).flatten(1).all(-1)
    scored = score_rollouts(states[finite], actions[finite], model, value, **scoring)
    terminated = scored["terminated"]
    never = torch.zeros_like(terminated)
    alive = (terminated.cumsum(1) - terminated.long()) == 0
    entries = {
        **scored.select("observation", "value_target", "reward", "news"),
        "bootstrapped": bootstrapped_share(
            never, never, discount=scoring["discount"], gae_lambda=scoring["gae_lambda"]
        ),
        "first": torch.arange(terminated.shape[1], device=states.device).expand_as(terminated) == 0,
    }
    return TensorDict({key: x[alive] for key, x in entries.items()}, batch_size=[int(alive.sum())])


def score_rollouts(
    states: Tensor,
    actions: Tensor,
    model: Model,
    value: Callable[[Tensor], Tensor],
    **scoring: Unpack[Scoring],
) -> TensorDict:
    """Re-score rollouts ``[..., horizon + 1, state]``; the arguments are those of :func:`virtual_targets`.

    Returns:
        ``observation [..., horizon, observation]``, ``reward`` (scaled), ``terminated``, ``value_target`` and its ``news``
        (1 minus its :func:`bootstrapped_share`), all four ``[..., horizon]``. What follows a termination has no meaning.
    """
    observation = model.inputs(states)
    values = value(observation)
    reward, terminated = model.outcome(states[..., :-1, :], actions, states[..., 1:, :])
    reward = reward * scoring["reward_scale"]
    weights = {"discount": scoring["discount"], "gae_lambda": scoring["gae_lambda"]}
    target = lambda_return(values[..., :-1], values[..., 1:], reward, terminated, terminated, **weights)
    news = 1 - bootstrapped_share(terminated, terminated, **weights)
    entries = {"reward": reward, "terminated": terminated, "value_target": target, "news": news}
    return TensorDict({"observation": observation[..., :-1, :], **entries}, batch_size=actions.shape[:-1])


def lambda_return(
    value: Tensor,
    next_value: Tensor,
    reward: Tensor,
    done: Tensor,
    terminated: Tensor,
    *,
    discount: float,
    gae_lambda: float,
) -> Tensor:
    """Compute lambda-returns along the last dimension, bootstrapped where it ends or an episode is truncated.

    All tensors are ``[..., time]``, rewards in the units of the values.
    """
    columns = (x.unsqueeze(-1) for x in (value, next_value, reward, done, terminated))
    _, target = vec_generalized_advantage_estimate(discount, gae_lambda, *columns)
    return target.squeeze(-1)


def bootstrapped_share(done: Tensor, terminated: Tensor, *, discount: float, gae_lambda: float) -> Tensor:
    """Compute the share of the value function in a lambda-return.

    The share is the lambda-return with all rewards 0 and all values 1.

    Args:
        done: ends of episodes ``[..., time]``.
        terminated: ends of episodes that terminated, after which there is no value ``[..., time]``.
        discount: per step.
        gae_lambda: of the lambda-return.

    Returns:
        ``[..., time]`` in [0, 1]; 0 means that the rewards are the whole return.
    """
    ones = torch.ones(terminated.shape, device=terminated.device)
    weights = {"discount": discount, "gae_lambda": gae_lambda}
    return lambda_return(ones, ones, torch.zeros_like(ones), done, terminated, **weights)


def model_return(
    plan: Plan, model: Model, value: Callable[[Tensor], Tensor], *, discount: float
) -> tuple[Tensor, Tensor]:
    """Compute the weighted model return of every candidate's plan, in two parts with different units.

    The scale between the two parts moves while learning, so apply it when you add them.

    Returns:
        The discounted sum of the rewards, in units of reward, and the discounted value of the last state, in units of the
        values: both ``[batch, candidate]``.
    """
    states = plan.trajectories()
    reward, terminated = model.outcome(states[..., :-1, :], plan.actions, states[..., 1:, :])
    final = value(model.inputs(states[..., -1, :]))
    total = until_termination(torch.cat([reward, final.unsqueeze(-1)], dim=-1), terminated)
    powers = discount ** torch.arange(total.shape[-1], device=total.device)
    discounted = torch.where((plan.weights > 0).unsqueeze(-1), total * powers, 0.0)
    mean = (discounted * plan.weights.unsqueeze(-1)).sum(-2)
    return mean[..., :-1].sum(-1), mean[..., -1]


def virtual_metrics(virtual: TensorDictBase | None, real_target: Tensor) -> dict[str, float]:
    """Compare virtual targets with real ones; empty without virtual transitions.

    Args:
        virtual: :func:`virtual_targets` with their ``weight [transition]``.
        real_target: value targets of the real transitions ``[transition]``.

    Returns:
        ``virtual_bias``, the mean virtual target of real states minus the mean real target, and ``virtual_weight``, the
        mean weight of a virtual transition.
    """
    if virtual is None or len(virtual) == 0:
        return {}
    first = virtual["value_target"][virtual["first"]].mean()
    return {"virtual_bias": (first - real_target.mean()).item(), "virtual_weight": virtual["weight"].mean().item()}
