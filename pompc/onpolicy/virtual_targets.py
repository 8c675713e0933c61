"""Value targets and returns of a planner's rollouts, re-scored with the reward model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.objectives.value.functional import vec_generalized_advantage_estimate

from pompc.models.protocols import Model
from pompc.planner import Plan
from pompc.planner.weights import until_termination


def virtual_targets(
    states: Tensor,
    actions: Tensor,
    model: Model,
    value: Callable[[Tensor], Tensor],
    *,
    reward_scale: float,
    discount: float,
    gae_lambda: float,
) -> TensorDict:
    """Re-score rollouts with the reward model and compute truncated TD(lambda) value targets along them.

    The target of the first state is the ``horizon``-step lambda-return of the model. It bootstraps from the value of the
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
        Transitions up to the end of each rollout: ``observation [transition, observation]``,
        ``value_target [transition]``, ``reward [transition]`` (scaled), ``bootstrapped [transition]`` (the
        :func:`bootstrapped_share` of a target at this step of a rollout that does not end) and ``first [transition]``,
        whether a transition begins its rollout and so starts from a real state. Rollouts with a non-finite state are left
        out.
    """
    finite = torch.isfinite(states).flatten(1).all(-1)
    states, actions = states[finite], actions[finite]
    observation = model.inputs(states)
    values = value(observation)
    reward, terminated = model.outcome(states[:, :-1], actions, states[:, 1:])
    reward = reward * reward_scale
    _, target = vec_generalized_advantage_estimate(
        discount,
        gae_lambda,
        *(x.unsqueeze(-1) for x in (values[:, :-1], values[:, 1:], reward, terminated, terminated)),
    )
    never = torch.zeros_like(terminated)
    alive = (terminated.cumsum(1) - terminated.long()) == 0
    entries = {
        "observation": observation[:, :-1],
        "value_target": target.squeeze(-1),
        "reward": reward,
        "bootstrapped": bootstrapped_share(never, never, discount=discount, gae_lambda=gae_lambda),
        "first": torch.arange(terminated.shape[1], device=states.device).expand_as(terminated) == 0,
    }
    return TensorDict({key: x[alive] for key, x in entries.items()}, batch_size=[int(alive.sum())])


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
    ones = torch.ones(*terminated.shape, 1, device=terminated.device)
    ends = (done.unsqueeze(-1), terminated.unsqueeze(-1))
    _, share = vec_generalized_advantage_estimate(discount, gae_lambda, ones, ones, torch.zeros_like(ones), *ends)
    return share.squeeze(-1)


def model_return(
    plan: Plan, model: Model, value: Callable[[Tensor], Tensor], *, discount: float
) -> tuple[Tensor, Tensor]:
    """Compute the weighted model return of every candidate's plan, in two parts with different units.

    The scale between the two parts moves while learning, so apply it when you add them.

    Returns:
        The discounted sum of the rewards, in units of reward, and the discounted value of the last state, in units of the
        values: both ``[batch, candidate]``.
    """
    reward, terminated = model.outcome(plan.states[..., :-1, :], plan.actions, plan.states[..., 1:, :])
    final = value(model.inputs(plan.states[..., -1, :]))
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


@torch.no_grad()
def model_errors(data: TensorDictBase, model: Model) -> dict[str, float]:
    """Measure one-step errors of the model on executed transitions ``[...]``, mean and maximum.

    They estimate the dynamics error ``alpha_P``, as the mean absolute error of the next observation in its units, and the
    reward error ``alpha_r``.
    """
    next_state, reward, _ = model.transition(model.encode(data["observation"]), data["action"])
    observed = (model.inputs(next_state) - data["next", "observation"]).abs().mean(-1)
    errors = {"model_error": observed, "reward_error": (reward - data["next", "reward"].squeeze(-1)).abs()}
    largest = {f"{name}_max": error.max().item() for name, error in errors.items()}
    return {**{name: error.mean().item() for name, error in errors.items()}, **largest}
