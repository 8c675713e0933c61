"""Score action sequences: roll the model out, charge every step, sum up."""

from __future__ import annotations

import math
from itertools import repeat

import torch
from torch import Tensor

from pompc.errors import NonFiniteError, UserError
from pompc.models.protocols import Constrained, Cost, Dynamics, Judge, LastAction, Simulator, TerminalValue, Terminating
from pompc.models.simulators import refuse_to_compile, simulated
from pompc.planner.config import MPPIConfig
from pompc.planner.constraints import Scored, measure, until_end, without_margins
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
        dynamics: the model to roll out; it may also end episodes (``Terminating``) and have constraints (``Constrained``).
        cost: the cost to sum; it may be the same object as the dynamics.
        device: device of the plans.
        dtype: dtype of the plans.

    Attributes:
        discounts: factor of every step and of the last state, from ``config.discount``: ``[horizon + 1]``.

    Raises:
        UserError: ``config.compile`` is set and there is no C++ compiler, or ``config`` asks for constraints that the
            dynamics do not have.
    """

    def __init__(
        self,
        config: MPPIConfig,
        dynamics: Dynamics,
        cost: Cost,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config = config
        self.dynamics = dynamics
        self.cost = cost
        self.device = device
        self.discounts = config.discount ** torch.arange(config.horizon + 1, device=device, dtype=dtype)
        self._terminated = dynamics.terminated if isinstance(dynamics, Terminating) else None
        self._margins = dynamics.margins if isinstance(dynamics, Constrained) else None
        if config.constrained:
            self._require_margins("planner.hard" if config.hard else "planner.violation_cost")
        self._judge = cost.judge if cost is dynamics and isinstance(cost, Judge) else self._judge_separately
        self._score = self._score_block
        if config.compile:
            refuse_to_compile(dynamics)
            if device.type == "cpu":
                require_compiler("planner.compile")
            # One graph per shape: with symbolic shapes the products of small networks are slower.
            self._score = torch.compile(self._score_block, dynamic=False)

    def __call__(
        self,
        given: Inputs,
        actions: Tensor,
        terminal_value: TerminalValue | None,
        probe: Probe | None,
        margins: bool = False,
    ) -> Scored:
        """Score the samples of a plan.

        Args:
            given: checked inputs of the plan.
            actions: ``[batch, candidate, sample, horizon, action]``.
            terminal_value: value of the last state, a return.
            probe: tells non-finite inputs from non-finite costs; ``None`` lets costs be what they are.
            margins: measure the margins even if no option needs them.

        Returns:
            The trajectories and costs of all samples, and their margins if they are measured.

        Raises:
            UserError: the dynamics, the cost, the margins or the value returned another shape than needed, or there are no
                margins.
            NonFiniteError: an input is not finite, or a cost is not finite and may not be dropped.
        """
        if margins:
            self._require_margins("plan(margins=True)")
        with matmul_precision(self.config.matmul_precision):
            states, charges, *measured = self._score_in_blocks(
                given, actions, terminal_value, margins or self.config.constrained
            )
        costs, violation = charges.sum(-1), measured[-1] if measured else None
        costs = costs if probe is None else self._finite_costs(costs, charges, violation, probe)
        return Scored(states, costs, costs, *measured)

    def _require_margins(self, asked: str) -> None:
        if self._margins is None:
            raise without_margins(asked)

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
        if isinstance(self.dynamics, Simulator):
            return simulated(self.dynamics, state, actions)
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
        """Charge every step, the last state and violations, discounted; nothing is charged after a termination.

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
        return self._evaluate(states, actions, parameters, terminal_value, discount, self.config.constrained)[0]

    def _evaluate(
        self,
        states: Tensor,
        actions: Tensor,
        parameters: Tensor | None,
        terminal_value: TerminalValue | None,
        discount: Tensor | None,
        margins: bool,
    ) -> tuple[Tensor, ...]:
        """Charge trajectories as :meth:`evaluate`, then return the least margin and the sum of violations if asked to."""
        discounts = self.discounts
        if discount is not None:
            discounts = discount.view(-1, 1, 1, 1) ** torch.arange(self.config.horizon + 1, device=self.device)
        states, parameters = states.movedim(-2, 0), None if parameters is None else parameters.unsqueeze(2)
        now, then, last = states[:-1], states[1:], states[-1]
        running, terminated = self._judge(now, actions.movedim(-2, 0), then, parameters)
        final = self._terminal(last, actions, parameters)
        if terminal_value is not None:
            final = final - terminal_value(last)
        _require_returned("cost.running", running, now.shape[:-1])
        _require_returned("cost.terminal less the terminal value", final, last.shape[:-1])
        measured = ()
        if self._margins is not None and margins:
            margin, violation = measure(self._margins, self.config.tighten, now, actions.movedim(-2, 0), then)
            running = running + self.config.violation_cost * violation  # a margin that is no number spoils the cost
            measured = (
                until_end(margin, terminated, torch.inf).amin(0),
                until_end(violation, terminated, 0.0).sum(0),
            )
        charges = self.charged(running, final, now, actions.movedim(-2, 0)).movedim(0, -1) * discounts
        return until_termination(charges, None if terminated is None else terminated.movedim(0, -1)), *measured

    def charged(self, running: Tensor, final: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """Join what the steps and the last state are charged ``[horizon + 1, ...]``, before the discount.

        Args:
            running: cost of every step, violations included ``[horizon, ...]``.
            final: cost of the last state ``[...]``.
            state: the states that the steps leave ``[horizon, ..., state]``; a variant may value them.
            action: ``[horizon, ..., action]``.
        """
        return torch.cat([running, final.unsqueeze(0)])

    def _judge_separately(
        self, now: Tensor, actions: Tensor, then: Tensor, parameters: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Ask the cost for its charges and the dynamics for terminations, in the form of :class:`Judge`."""
        running = self.cost.running(now, actions, then, parameters)
        return running, None if self._terminated is None else self._terminated(now, actions, then)

    def _terminal(self, last: Tensor, actions: Tensor, parameters: Tensor | None) -> Tensor:
        """Charge the last states ``[..., state]`` of ``actions [..., horizon, action]``."""
        if isinstance(self.cost, LastAction):
            return self.cost.terminal_after(last, actions[..., -1, :], parameters)
        return self.cost.terminal(last, parameters)

    def _score_in_blocks(
        self, given: Inputs, actions: Tensor, terminal_value: TerminalValue | None, margins: bool
    ) -> tuple[Tensor, ...]:
        """Score all environments at once, or on a CPU as many at a time as its caches hold."""
        batch = len(given.state)
        entries = actions[..., 0, 0].numel() * given.state.shape[-1]
        blocks = min(math.ceil(entries / BLOCK_ON_CPU), batch) if self.device.type == "cpu" else 1
        if blocks <= 1:
            return self._score(given.state, actions, given.parameters, terminal_value, given.discount, margins)
        size = math.ceil(batch / blocks)
        optional = [repeat(None) if x is None else x.split(size) for x in (given.parameters, given.discount)]
        scored = [
            self._score(state, acted, parameters, terminal_value, discount, margins)
            for state, acted, parameters, discount in zip(
                given.state.split(size), actions.split(size), *optional, strict=False
            )
        ]
        return tuple(torch.cat(blocks) for blocks in zip(*scored, strict=True))

    def _score_block(
        self,
        state: Tensor,
        actions: Tensor,
        parameters: Tensor | None,
        terminal_value: TerminalValue | None,
        discount: Tensor | None,
        margins: bool,
    ) -> tuple[Tensor, ...]:
        """Roll one block out and charge it; ``torch.compile`` makes one graph of this method."""
        states = self.rollout(state, actions)
        return states, *self._evaluate(states, actions, parameters, terminal_value, discount, margins)

    def _finite_costs(self, costs: Tensor, charges: Tensor, violation: Tensor | None, probe: Probe) -> Tensor:
        """Return the costs ``[batch, candidate, sample]`` if they are finite; the cost of a dropped sample is infinite."""
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
        is_cost = violation is None or math.isfinite(violation[batch, candidate, sample])
        raise NonFiniteError(
            "planner cost" if is_cost else "planner margin",
            f"environment {batch}, candidate {candidate}, sample {sample}, step {step}",
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
