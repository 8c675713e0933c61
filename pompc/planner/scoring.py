"""Score action sequences: roll the model out, charge every step, sum up."""

from __future__ import annotations

import math
from itertools import repeat

import torch
from torch import Tensor

from pompc.errors import NonFiniteError, UserError
from pompc.models.protocols import Cost, Dynamics, Judge, TerminalValue, Terminating
from pompc.planner.config import MPPIConfig
from pompc.planner.inputs import Inputs, Probe
from pompc.planner.weights import until_termination
from pompc.system.precision import matmul_precision
from pompc.system.process import require_compiler

BLOCK_ON_CPU = 2**18
"""Number of state entries that a CPU scores at once. Its caches hold the outputs of a layer for so many."""


class Scorer:
    """Roll action sequences out and sum their costs, in cache-sized blocks of environments.

    Args:
        config: options of the planner.
        dynamics: the model to roll out; it may also end episodes (``Terminating``).
        cost: the cost to sum; it may be the same object as the dynamics.
        device: device of the plans.

    Attributes:
        discounts: factor of every step and of the last state, from ``config.discount``: ``[horizon + 1]``.

    Raises:
        UserError: ``config.compile`` is set and there is no C++ compiler.
    """

    def __init__(self, config: MPPIConfig, dynamics: Dynamics, cost: Cost, device: torch.device) -> None:
        self.config = config
        self.dynamics = dynamics
        self.cost = cost
        self.device = device
        self.discounts = config.discount ** torch.arange(config.horizon + 1, device=device)
        self._terminated = dynamics.terminated if isinstance(dynamics, Terminating) else None
        self._judge = cost.judge if cost is dynamics and isinstance(cost, Judge) else self._judge_separately
        self._score = self._score_block
        if config.compile:
            if device.type == "cpu":
                require_compiler("planner.compile")
            # One graph per shape: with symbolic shapes the products of small networks are slower.
            self._score = torch.compile(self._score_block, dynamic=False)

    def __call__(
        self, given: Inputs, actions: Tensor, terminal_value: TerminalValue | None, probe: Probe
    ) -> tuple[Tensor, Tensor]:
        """Score the samples of a plan.

        Args:
            given: checked inputs of the plan.
            actions: ``[batch, candidate, sample, horizon, action]``.
            terminal_value: value of the last state, a return.
            probe: tells non-finite inputs from non-finite costs.

        Returns:
            Trajectories ``[batch, candidate, sample, horizon + 1, state]`` and costs ``[batch, candidate, sample]``;
            the cost of a dropped sample is infinite.

        Raises:
            UserError: the dynamics, the cost or the value returned another shape than needed.
            NonFiniteError: an input is not finite, or a cost is not finite and may not be dropped.
        """
        with matmul_precision(self.config.matmul_precision):
            states, charges = self._score_in_blocks(given, actions, terminal_value)
        return states, self._finite_costs(charges, probe)

    def rollout(self, state: Tensor, actions: Tensor) -> Tensor:
        """Roll the dynamics out from ``state [batch, state]``.

        Args:
            state: first states.
            actions: ``[batch, candidate, sample, horizon, action]``.

        Returns:
            Trajectories ``[batch, candidate, sample, horizon + 1, state]``, the first state included.

        Raises:
            UserError: the dynamics returned another shape than ``state`` has.
        """
        state = state.view(state.shape[0], 1, 1, -1).expand(*actions.shape[:3], state.shape[-1])
        states = [state]
        for action in actions.unbind(-2):
            states.append(self.dynamics.step(states[-1], action))
            _require_returned("dynamics.step", states[-1], state.shape)
        return _stack_time(states)

    def evaluate(
        self,
        states: Tensor,
        actions: Tensor,
        parameters: Tensor | None = None,
        terminal_value: TerminalValue | None = None,
        discount: Tensor | None = None,
    ) -> Tensor:
        """Charge every step and the last state, discounted; nothing is charged after a termination.

        Args:
            states: trajectories ``[batch, candidate, sample, horizon + 1, state]``.
            actions: ``[batch, candidate, sample, horizon, action]``.
            parameters: cost parameters ``[batch, candidate, parameter]``.
            terminal_value: value of the last state, a return.
            discount: discount of every environment ``[batch]``; ``None`` takes the config's.

        Returns:
            Charges ``[batch, candidate, sample, horizon + 1]``.

        Raises:
            UserError: the cost or the value did not return one number per state.
        """
        discounts = self.discounts
        if discount is not None:
            discounts = discount.view(-1, 1, 1, 1) ** torch.arange(self.config.horizon + 1, device=self.device)
        states, parameters = states.movedim(-2, 0), None if parameters is None else parameters.unsqueeze(2)
        now, then, last = states[:-1], states[1:], states[-1]
        running, terminated = self._judge(now, actions.movedim(-2, 0), then, parameters)
        final = self.cost.terminal(last, parameters)
        if terminal_value is not None:
            final = final - terminal_value(last)
        _require_returned("cost.running", running, now.shape[:-1])
        _require_returned("cost.terminal less the terminal value", final, last.shape[:-1])
        charges = torch.cat([running, final.unsqueeze(0)]).movedim(0, -1) * discounts
        return until_termination(charges, None if terminated is None else terminated.movedim(0, -1))

    def _judge_separately(
        self, now: Tensor, actions: Tensor, then: Tensor, parameters: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Ask the cost for its charges and the dynamics for terminations, in the form of :class:`Judge`."""
        running = self.cost.running(now, actions, then, parameters)
        return running, None if self._terminated is None else self._terminated(now, actions, then)

    def _score_in_blocks(
        self, given: Inputs, actions: Tensor, terminal_value: TerminalValue | None
    ) -> tuple[Tensor, Tensor]:
        """Score all environments at once, or on a CPU as many at a time as its caches hold."""
        batch = len(given.state)
        entries = actions[..., 0, 0].numel() * given.state.shape[-1]
        blocks = min(math.ceil(entries / BLOCK_ON_CPU), batch) if self.device.type == "cpu" else 1
        if blocks <= 1:
            return self._score(given.state, actions, given.parameters, terminal_value, given.discount)
        size = math.ceil(batch / blocks)
        optional = [repeat(None) if x is None else x.split(size) for x in (given.parameters, given.discount)]
        scored = [
            self._score(state, acted, parameters, terminal_value, discount)
            for state, acted, parameters, discount in zip(
                given.state.split(size), actions.split(size), *optional, strict=False
            )
        ]
        states, charges = zip(*scored, strict=True)
        return torch.cat(states), torch.cat(charges)

    def _score_block(
        self,
        state: Tensor,
        actions: Tensor,
        parameters: Tensor | None,
        terminal_value: TerminalValue | None,
        discount: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Roll one block out and charge it; ``torch.compile`` makes one graph of this method."""
        states = self.rollout(state, actions)
        return states, self.evaluate(states, actions, parameters, terminal_value, discount)

    def _finite_costs(self, charges: Tensor, probe: Probe) -> Tensor:
        """Sum charges to costs ``[batch, candidate, sample]``; the cost of a dropped sample is infinite."""
        costs = charges.sum(-1)
        if math.isfinite(costs.sum() + probe.total):  # the only place where a plan waits for the device
            return costs
        probe.raise_if_nonfinite()
        finite = torch.isfinite(costs)
        if finite.all():  # only the sum over all samples overflowed
            return costs
        if self.config.drop_nonfinite and bool(finite.any(-1).all()):
            return costs.masked_fill(~finite, torch.inf)
        bad = (~torch.isfinite(charges)).nonzero()
        if len(bad) == 0:
            raise NonFiniteError("planner cost", "the sum over the horizon overflows")
        batch, candidate, sample, step = bad[0].tolist()
        raise NonFiniteError(
            "planner cost", f"environment {batch}, candidate {candidate}, sample {sample}, step {step}"
        )


def _stack_time(states: list[Tensor]) -> Tensor:
    """Stack states ``[..., state]`` along a new dimension before the last, in the memory order of the last state.

    Equations of motion return each entry in a separate block of memory, networks return whole states. With the same order
    all computations on the trajectories read contiguous memory.
    """
    if states[-1].movedim(-1, 0).is_contiguous():
        return torch.stack([state.movedim(-1, 0) for state in states], dim=1).movedim((0, 1), (-1, -2))
    return torch.stack(states).movedim(0, -2)


def _require_returned(name: str, tensor: Tensor, shape: torch.Size) -> None:
    """Refuse a result of a user's function in another shape; name the function."""
    if tensor.shape != shape:
        raise UserError(f"{name} returned the shape {list(tensor.shape)} where {list(shape)} is needed")
