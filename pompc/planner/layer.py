"""The planner as a differentiable layer: gradients of a plan and of its soft value, without gradients of the dynamics.

A sample of cost ``J_k`` has the weight ``w_k = exp(-J_k / T) / sum``, so that plan ``U = sum_k w_k v_k`` and soft value
``F = -T log mean exp(-J / T)`` have the derivatives ``dF = sum_k w_k dJ_k`` and ``dU = -Cov_w(v, dJ) / T``. Only the costs
of the last iteration's samples need a graph; the samples are constants. docs/layer.md has the derivation and its limits.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from pompc.errors import UserError
from pompc.models.protocols import Simulator, TerminalValue
from pompc.planner.config import MPPIConfig
from pompc.planner.fixed_point import RIDGE, FixedPoint
from pompc.planner.mppi import MPPI
from pompc.planner.noise import CommonNoise
from pompc.planner.plan import Plan

FEW_SAMPLES = 10
"""Effective samples below which the gradients are mostly noise."""


class Layered(NamedTuple):
    """A plan that can be differentiated.

    Attributes:
        mean: the plan ``[batch, candidate, horizon, action]``.
        soft_value: free energy of the samples, in units of cost ``[batch, candidate]``.
        effective_samples: effective sample size ``[batch, candidate]``, a constant.
    """

    mean: Tensor
    soft_value: Tensor
    effective_samples: Tensor


def layer(
    planner: MPPI,
    state: Tensor,
    parameters: Tensor | None,
    mean: Tensor | None = None,
    noise: Tensor | None = None,
    *,
    first: Tensor | None = None,
    previous: Tensor | None = None,
    implicit: bool = False,
    through_dynamics: bool = False,
    is_init: Tensor | None = None,
    terminal_value: TerminalValue | None = None,
    discount: Tensor | None = None,
    ridge: float = RIDGE,
) -> Layered:
    """Plan, and make plan and soft value differentiable with respect to what the cost depends on.

    The values are those of :meth:`MPPI.plan`, to the last bit. The gradients are those of its last iteration for the
    samples it drew, of first order only: ``parameters``, networks inside the cost and the terminal value get one. Elites
    are constant. States, ``first`` and the dynamics get one with ``through_dynamics`` only.

    Args:
        planner: makes the plan.
        state: model states ``[batch, state]``.
        parameters: cost parameters ``[batch, candidate, parameter]``; ``None`` means one candidate.
        mean: warm start ``[batch, horizon, action]``.
        noise: standard noise ``[iteration, batch, candidate, num_samples, horizon, action]``; ``None`` takes the planner's.
            The same noise in acting and learning makes the same plan.
        first: first action of every sample ``[batch, action]``: the soft value is then a Q value, in units of cost.
        previous: the actions applied last ``[batch, past, action]``, see :meth:`MPPI.plan`.
        implicit: differentiate the plan as a fixed point of its iteration at a fixed standard deviation, which an optimum
            is, instead of one iteration (:class:`~pompc.planner.fixed_point.FixedPoint`).
        through_dynamics: roll the samples out again with gradients.
        is_init: drops the warm start of an environment, bool ``[batch]`` or ``[batch, 1]``.
        terminal_value: value of the last state (a return), subtracted from the cost.
        discount: discount of every environment ``[batch]``; ``None`` takes the config's.
        ridge: of the fixed point.

    Raises:
        UserError: an option of the planner has no such derivative, or an argument is not what a plan takes.
        NonFiniteError: a cost is not finite.
    """
    require_derivative(planner.config)
    if through_dynamics:
        _require_dynamics(planner, first)
    fixed_point = FixedPoint(planner, pinned=first is not None, ridge=ridge) if implicit else None
    given = {"is_init": is_init, "terminal_value": terminal_value, "discount": discount, "first": first}
    plan = planner.plan(state, parameters=parameters, mean=mean, noise=noise, previous=previous, **given)
    states, actions = plan.trajectories(), plan.actions
    if through_dynamics:
        states, actions = _rolled_out_again(planner, state, plan, first, previous)
    parameters = None if parameters is None else parameters.to(planner.dtype)
    discount = None if discount is None else discount.flatten().to(planner.dtype)
    cost = planner.scorer.evaluate(states, actions, parameters, terminal_value, discount).sum(-1)
    change = cost - cost.detach()  # zero, with the gradient of the cost
    shares = torch.softmax(-plan.costs / planner.config.temperature, -1)  # the weights, if all samples are elites
    soft_value = plan.soft_value + (shares * change).sum(-1)
    deviation = plan.actions - plan.mean.unsqueeze(2)
    moved = -torch.einsum("bmk,bmkha->bmha", plan.weights * change / planner.config.temperature, deviation)
    if fixed_point is not None:
        moved = fixed_point(plan.weights, deviation, moved)
    return Layered(plan.mean + moved, soft_value, plan.effective_samples)


class SampledLayer:
    """MPPI as a :class:`~pompc.models.protocols.PlannerLayer`, whose plans have common random numbers.

    Args:
        planner: makes the plans; its noise becomes :class:`~pompc.planner.noise.CommonNoise`.
        implicit: see :func:`layer`.
        seed: of the noise.

    Raises:
        UserError: an option of the planner has no derivative.
    """

    def __init__(self, planner: MPPI, *, implicit: bool = False, seed: int = 0) -> None:
        require_derivative(planner.config)
        self.planner, self.implicit = planner, implicit
        planner.noise = CommonNoise(planner.noise, seed)

    def __call__(
        self,
        state: Tensor,
        parameters: Tensor | None,
        first: Tensor | None = None,
        *,
        mean: Tensor | None = None,
        is_init: Tensor | None = None,
        previous: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See :class:`~pompc.models.protocols.PlannerLayer`; the value is the soft value."""
        given = {"first": first, "is_init": is_init, "previous": previous, "implicit": self.implicit}
        solved = layer(self.planner, state, parameters, mean, **given)
        return solved.mean, solved.soft_value


def require_derivative(config: MPPIConfig) -> None:
    """Refuse options of a planner whose plan is no weighted mean of samples of finite cost.

    Raises:
        UserError: such an option is set.
    """
    refused = {
        "planner.hard=true": (config.hard, "a plan may be its best sample: take planner.violation_cost"),
        "planner.control_cost": (config.control_cost > 0, "plans are clamped means: charge the control in the cost"),
        f"planner.effective_samples={config.effective_samples}": (
            config.effective_samples > 0,
            "the temperature moves with the costs: give planner.temperature",
        ),
        f"planner.num_rollouts={config.num_rollouts}": (
            config.num_rollouts > 1,
            "the risk of several rollouts is not differentiated: give 1",
        ),
        "planner.drop_nonfinite=true": (config.drop_nonfinite, "a dropped cost has no derivative: leave it out"),
    }
    for option, (used, reason) in refused.items():
        if used:
            raise UserError(f"{option} has no gradient, as {reason}")


def warn_of_few(effective_samples: float) -> None:
    """Warn if a plan's effective samples, their mean say, are fewer than :data:`FEW_SAMPLES`."""
    if effective_samples < FEW_SAMPLES:
        warnings.warn(
            f"{effective_samples:.1f} effective samples are few for the gradients of a plan: raise planner.temperature or "
            "planner.num_samples",
            stacklevel=2,
        )


def _rolled_out_again(
    planner: MPPI, state: Tensor, plan: Plan, first: Tensor | None, previous: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Roll the samples of a plan out with gradients; return states and actions."""
    actions = plan.actions
    if first is not None:
        pinned = first.to(planner.dtype)[:, None, None, None].expand_as(actions[..., :1, :])
        before = None if previous is None else previous.to(planner.dtype)
        actions = planner.limits(torch.cat([pinned, actions[..., 1:, :]], dim=-2), before)
    planner.model_steps += actions[..., 0].numel()
    return planner.rollout(state.to(planner.dtype), actions), actions


def _require_dynamics(planner: MPPI, first: Tensor | None) -> None:
    """Refuse what has no gradient through the dynamics."""
    if isinstance(planner.dynamics, Simulator):
        raise UserError(
            f"through_dynamics needs a model in torch, and {type(planner.dynamics).__name__} simulates outside of it: "
            "leave it out"
        )
    if first is not None and planner.config.change_cost:
        raise UserError(
            "planner.change_cost has no gradient with respect to first: charge the change in the cost, or leave first out"
        )
