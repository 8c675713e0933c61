"""An exact planner in torch: iterative LQR with control limits (Tassa et al. 2014), batched, warm-started by MPPI.

It needs dynamics and cost that torch can differentiate twice, and finds a local minimum near its start. The equations are
those of the publication; docs/layer.md has them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pompc.errors import UserError
from pompc.models.protocols import LastAction, Simulator, Terminating
from pompc.planner.box_qp import box_qp, is_free, solve_free
from pompc.planner.derivatives import gradient_and_hessian, jacobian, raised
from pompc.planner.limits import RateLimits
from pompc.planner.mppi import MPPI
from pompc.planner.weights import until_termination

LEAST_CURVATURE = 1e-6
"""Of a control's cost, after which the damping comes."""
LEAST_DAMPING, MOST_DAMPING, DAMPING_FACTOR = 1e-6, 1e6, 10.0
STEPS = tuple(0.5**power for power in range(8))
TOLERANCE, SMALL_STEP = 1e-7, 3e-4
"""Relative gain and step of every control below which a plan counts as converged: float32 sees no further."""


class _Search(NamedTuple):
    """The state of a search: plans ``[batch, candidate, 1, ...]`` and what they cost."""

    states: Tensor
    actions: Tensor
    cost: Tensor
    damping: Tensor


class ILQR:
    """Find the plan of least cost within the bounds; a :class:`~pompc.models.protocols.PlannerLayer`.

    The sensitivities are those of the optimality conditions: the value has the gradient of the cost at the fixed plan, the
    plan moves by ``-H^-1 d(gradient)`` in the controls that no bound holds, with the Hessian H of the whole plan's cost.
    Parameters, states, ``first`` and the model all get one.

    Args:
        planner: makes the first plan; gives model, cost, bounds, horizon and discount, and counts model steps.
        iterations: most steps of Newton's kind.
        ridge: least eigenvalue of H in the free controls, relative to the largest.

    Raises:
        UserError: an option of the planner changes the cost in a way that is not differentiated, or the model is a
            simulator.
    """

    def __init__(self, planner: MPPI, *, iterations: int = 20, ridge: float = 1e-6) -> None:
        _require_smooth(planner)
        self.planner, self.iterations, self.ridge = planner, iterations, ridge

    def __call__(
        self,
        state: Tensor,
        parameters: Tensor | None,
        first: Tensor | None = None,
        *,
        mean: Tensor | None = None,
        is_init: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See :class:`~pompc.models.protocols.PlannerLayer`; the value is the least cost."""
        dtype = self.planner.dtype
        state, parameters, first = state.to(dtype), _converted(parameters, dtype), _converted(first, dtype)
        with torch.no_grad():
            start = self.planner.plan(state, parameters=parameters, mean=mean, is_init=is_init, first=first).mean
            low, high = self._bounds(start, first)
            found = self._solve(state, parameters, start.clamp(low, high), low, high)
        if not torch.is_grad_enabled():
            return found.actions.squeeze(2), found.cost.squeeze(2)
        fixed = found.actions.squeeze(2).requires_grad_()
        pinned = None if first is None else first.clamp(self.planner.low, self.planner.high)[:, None, None]
        used = fixed if pinned is None else torch.cat([pinned.expand_as(fixed[:, :, :1]), fixed[:, :, 1:]], 2)
        value = self._cost(state, used, parameters)
        (slope,) = torch.autograd.grad(value.sum(), fixed, create_graph=True)
        free = is_free(fixed.detach(), slope.detach(), low, high).flatten(2)
        curvature = self._curvature(state, parameters, found.actions.squeeze(2), free)
        change = (slope - slope.detach()).flatten(2).unsqueeze(-1)
        moved = -solve_free(curvature, change, free).view_as(fixed)
        kept = used if pinned is None else torch.cat([used[:, :, :1], fixed[:, :, 1:].detach()], 2)
        return (kept.detach() if pinned is None else kept) + moved, value

    def _bounds(self, actions: Tensor, first: Tensor | None) -> tuple[Tensor, Tensor]:
        """Bounds of every control ``[batch, candidate, horizon, action]``; both are ``first`` at the first step."""
        low, high = (x.expand_as(actions).clone() for x in (self.planner.low, self.planner.high))
        if first is not None:
            low[:, :, 0] = high[:, :, 0] = first.clamp(self.planner.low, self.planner.high).unsqueeze(1)
        return low, high

    def _solve(self, state: Tensor, parameters: Tensor | None, actions: Tensor, low: Tensor, high: Tensor) -> _Search:
        """Search from ``actions [batch, candidate, horizon, action]`` within bounds of this shape."""
        actions = actions.unsqueeze(2)
        states = self._rolled_out(state, actions)
        cost = self._evaluated(states, actions, parameters)
        at = _Search(states, actions, cost, torch.full_like(cost[..., 0], LEAST_DAMPING))
        for _ in range(self.iterations):
            gains = self._backward(at, parameters, low, high)
            at, gained = self._forward(at, parameters, low, high, *gains)
            still = torch.stack(gains[0]).abs().amax((0, -1)) < SMALL_STEP
            useless = (gained <= TOLERANCE * (1 + at.cost.abs())).squeeze(-1)
            if bool((useless & (still | (at.damping >= MOST_DAMPING))).all()):
                break
        return at

    def _backward(
        self, at: _Search, parameters: Tensor | None, low: Tensor, high: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Compute steps ``[batch, candidate, action]`` and gains ``[batch, candidate, action, state]``, step by step."""
        moves, slopes, bends, slope, bend = self._expanded(at, parameters)
        n, actions = slope.shape[-1], at.actions.squeeze(2)
        steps, gains = [], []
        for h in reversed(range(actions.shape[2])):
            q = slopes[h] + (moves[h].mT @ slope.unsqueeze(-1)).squeeze(-1)
            qq = bends[h] + moves[h].mT @ bend @ moves[h]
            value, vector = raised(qq[..., n:, n:], LEAST_CURVATURE)
            solid = (vector * (value + at.damping.unsqueeze(-1)).unsqueeze(-2)) @ vector.mT
            here = actions[:, :, h]
            step, free = box_qp(solid, q[..., n:], low[:, :, h] - here, high[:, :, h] - here)
            gain = -solve_free(solid, qq[..., n:, :n], free)
            slope = (
                q[..., :n]
                + (gain.mT @ q[..., n:, None] + (qq[..., :n, n:] + gain.mT @ qq[..., n:, n:]) @ step[..., None])[..., 0]
            )
            cross = gain.mT @ qq[..., n:, :n]
            bend = qq[..., :n, :n] + cross + cross.mT + gain.mT @ qq[..., n:, n:] @ gain
            steps.append(step)
            gains.append(gain)
        return steps[::-1], gains[::-1]

    def _expanded(self, at: _Search, parameters: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Expand model and cost along plans.

        Returns:
            Jacobians ``[horizon, batch, candidate, state, state + action]``, gradients and Hessians of each step's cost in
            (state, action), gradient and Hessian of the last state's cost, all discounted until the end of the episode.
        """
        model, cost = self.planner.dynamics, self.planner.scorer.cost
        states, actions = at.states.movedim(-2, 0), at.actions.movedim(-2, 0)
        given = None if parameters is None else parameters.unsqueeze(2)
        n, joint = states.shape[-1], torch.cat([states[:-1], actions], -1)
        moves = jacobian(lambda z: model.step(z[..., :n], z[..., n:]), joint)

        def running(z: Tensor) -> Tensor:
            return cost.running(z[..., :n], z[..., n:], model.step(z[..., :n], z[..., n:]), given)

        def ending(z: Tensor) -> Tensor:
            assert isinstance(cost, LastAction)
            return cost.terminal_after(model.step(z[..., :n], z[..., n:]), z[..., n:], given)

        slopes, bends = gradient_and_hessian(running, joint)
        ended = model.terminated(states[:-1], actions, states[1:]) if isinstance(model, Terminating) else None
        discounts = self.planner.scorer.discounts.expand(*at.cost.shape, -1)
        weights = until_termination(discounts, None if ended is None else ended.movedim(0, -1)).movedim(-1, 0)
        weights, last = weights[:-1].squeeze(-1), weights[-1].squeeze(-1)
        slopes, bends = slopes.squeeze(3) * weights[..., None], bends.squeeze(3) * weights[..., None, None]
        sees_action = isinstance(cost, LastAction)  # then the end is charged as a part of the last step
        found = (
            gradient_and_hessian(ending, joint[-1])
            if sees_action
            else gradient_and_hessian(lambda x: cost.terminal(x, given), states[-1])
        )
        slope, bend = found[0].squeeze(2) * last[..., None], found[1].squeeze(2) * last[..., None, None]
        if not sees_action:
            return moves.squeeze(3), slopes, bends, slope, bend
        slopes[-1] += slope
        bends[-1] += bend
        return moves.squeeze(3), slopes, bends, torch.zeros_like(slope[..., :n]), torch.zeros_like(bend[..., :n, :n])

    def _forward(
        self,
        at: _Search,
        parameters: Tensor | None,
        low: Tensor,
        high: Tensor,
        steps: list[Tensor],
        gains: list[Tensor],
    ) -> tuple[_Search, Tensor]:
        """Try all lengths of the step at once and keep the best; return what it gains, too ``[batch, candidate, 1]``."""
        lengths = torch.tensor(STEPS, device=self.planner.device).view(-1, 1)
        states = [at.states[..., 0, :].expand(-1, -1, len(STEPS), -1)]
        actions = []
        for h, (step, gain) in enumerate(zip(steps, gains, strict=True)):
            moved = (states[-1] - at.states[..., h, :]) @ gain.mT + lengths * step.unsqueeze(2)
            bounds = low[:, :, h].unsqueeze(2), high[:, :, h].unsqueeze(2)
            actions.append((at.actions[..., h, :] + moved).clamp(*bounds))
            states.append(self.planner.dynamics.step(states[-1], actions[-1]))
        tried, acted = torch.stack(states, -2), torch.stack(actions, -2)
        self.planner.model_steps += acted[..., 0].numel()
        cost = self._evaluated(tried, acted, parameters)
        cost = cost.masked_fill(cost.isnan(), torch.inf)  # a step that leaves the model's range is none to keep
        best = cost.argmin(-1, keepdim=True)
        least = cost.gather(-1, best)
        gained = (at.cost - least).clamp_min(0.0)
        better = gained > 0
        grid = torch.meshgrid(*(torch.arange(size, device=best.device) for size in best.shape[:2]), indexing="ij")
        chosen = (grid[0].unsqueeze(-1), grid[1].unsqueeze(-1), best)
        damping = torch.where(better[..., 0], at.damping / DAMPING_FACTOR, at.damping * DAMPING_FACTOR)
        wide = better[..., None, None]
        found = _Search(
            states=torch.where(wide, tried[chosen], at.states),
            actions=torch.where(wide, acted[chosen], at.actions),
            cost=torch.where(better, least, at.cost),
            damping=damping.clamp(LEAST_DAMPING, MOST_DAMPING),
        )
        return found, gained

    def _curvature(self, state: Tensor, parameters: Tensor | None, actions: Tensor, free: Tensor) -> Tensor:
        """Compute the Hessian of the whole plan's cost in the free controls ``[batch, candidate, n, n]``, others zero.

        It is raised to be positive definite. In controls that a bound holds it need not be so at a minimum.
        """
        shape = actions.shape

        def slope(flat: Tensor) -> Tensor:
            return torch.func.grad(lambda u: self._cost(state, u.view(shape), parameters).sum())(flat)

        with torch.no_grad():
            kept = free.to(actions.dtype)
            hessian = jacobian(slope, actions.detach().flatten(2)) * kept.unsqueeze(-1) * kept.unsqueeze(-2)
            largest = torch.linalg.matrix_norm(hessian, 2).unsqueeze(-1)
            value, vector = raised(hessian, self.ridge * largest)
            return (vector * value.unsqueeze(-2)) @ vector.mT

    def _cost(self, state: Tensor, actions: Tensor, parameters: Tensor | None) -> Tensor:
        """Charge plans ``[batch, candidate, horizon, action]``: ``[batch, candidate]``."""
        acted = actions.unsqueeze(2)
        return self._evaluated(self._rolled_out(state, acted), acted, parameters).squeeze(2)

    def _rolled_out(self, state: Tensor, actions: Tensor) -> Tensor:
        self.planner.model_steps += actions[..., 0].numel()
        return self.planner.rollout(state, actions)

    def _evaluated(self, states: Tensor, actions: Tensor, parameters: Tensor | None) -> Tensor:
        return self.planner.scorer.evaluate(states, actions, parameters).sum(-1)


def _converted(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if tensor is None else tensor.to(dtype)


def _require_smooth(planner: MPPI) -> None:
    """Refuse a planner whose cost is more than that of the model's states and actions, or whose model has no derivative."""
    config, dynamics = planner.config, planner.dynamics
    if config.constrained:
        raise UserError("iLQR knows no constraints on states: leave planner.hard and planner.violation_cost out")
    if config.depth_decay:
        raise UserError("iLQR charges the whole horizon: leave planner.depth_decay out")
    if config.change_cost or config.control_cost or config.num_rollouts > 1 or isinstance(planner.limits, RateLimits):
        raise UserError(
            "iLQR knows bounds of the action and the model's cost alone: leave planner.change_cost, planner.control_cost, "
            "planner.num_rollouts, max_rate and max_acceleration out"
        )
    if isinstance(dynamics, Simulator):
        raise UserError(f"iLQR differentiates the model, and {type(dynamics).__name__} simulates outside of torch")
