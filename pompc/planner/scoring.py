"""Score action sequences: roll the model out, charge every step, sum up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pompc.models.protocols import (
    Constrained,
    Cost,
    Dynamics,
    Judge,
    LastAction,
    Simulator,
    TerminalValue,
    Terminating,
    Unrolling,
)
from pompc.models.simulators import refuse_to_compile, simulated
from pompc.planner.blocks import blocks
from pompc.planner.config import MPPIConfig
from pompc.planner.constraints import Scored, measure, until_end, without_margins
from pompc.planner.finiteness import finite_costs
from pompc.planner.inputs import Inputs, Probe
from pompc.planner.once import Begun
from pompc.planner.trajectories import first_states, require_returned, stack_time
from pompc.planner.units import Units
from pompc.planner.weights import until_termination
from pompc.system.precision import matmul_precision
from pompc.system.process import require_compiler


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
        margins: the dynamics' margins; ``None`` if they have none.
        adds_up: whether a trajectory costs the sum of its steps and its end; a variant that says no is given all states.

    Raises:
        UserError: ``config.compile`` is set and there is no C++ compiler, or ``config`` asks for constraints that the
            dynamics do not have.
    """

    adds_up: ClassVar[bool] = True

    def __init__(
        self,
        config: MPPIConfig,
        dynamics: Dynamics,
        cost: Cost,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config, self.dynamics, self.cost, self.device = config, dynamics, cost, device
        self.discounts = config.discount ** torch.arange(config.horizon + 1, device=device, dtype=dtype)
        self._terminated = dynamics.terminated if isinstance(dynamics, Terminating) else None
        self.margins = dynamics.margins if isinstance(dynamics, Constrained) else None
        if config.constrained:
            self._require_margins("planner.hard" if config.hard else "planner.violation_cost")
        self._unrolling = dynamics if cost is dynamics and isinstance(dynamics, Unrolling) else None
        self._judge = cost.judge if cost is dynamics and isinstance(cost, Judge) else self._judge_separately
        self._units, self._score = None, self.score_block
        if config.compile:
            refuse_to_compile(dynamics)
            if device.type == "cpu":
                require_compiler("planner.compile")
            self._units = Units(self)
            self._score = self._units.score

    def __call__(
        self,
        given: Inputs,
        actions: Tensor,
        terminal_value: TerminalValue | None,
        probe: Probe | None,
        margins: bool = False,
        states: bool = True,
    ) -> Scored:
        """Score the samples of a plan.

        Args:
            given: checked inputs of the plan.
            actions: ``[batch, candidate, sample, horizon, action]``.
            terminal_value: value of the last state, a return.
            probe: tells non-finite inputs from non-finite costs; ``None`` lets costs be what they are.
            margins: measure the margins even if no option needs them.
            states: keep the trajectories; without them the compiled planner adds costs up as it rolls out.

        Returns:
            The costs of all samples, their trajectories if they are kept, and their margins if they are measured.

        Raises:
            UserError: the dynamics, the cost, the margins or the value returned another shape than needed, or there are no
                margins.
            NonFiniteError: an input is not finite, or a cost is not finite and may not be dropped.
        """
        if margins:
            self._require_margins("plan(margins=True)")
        margins = margins or self.config.constrained
        rolled = charges = None
        with matmul_precision(self.config.matmul_precision):
            if self._units is None or states or not self._units.add_up(given, actions):
                rolled, charges, *measured = self._score_in_blocks(given, actions, terminal_value, margins)
                costs = charges.sum(-1)
            else:
                costs, *measured = self._units.sums(given, actions, terminal_value, margins)

        def charged() -> Tensor:
            if charges is not None:
                return charges
            again = self.rollout(given.state, actions)
            return self.evaluate(again, actions, given.parameters, terminal_value, given.discount)

        if probe is not None:
            violation = measured[-1] if measured else None
            costs = finite_costs(costs, charged, violation, probe, self.config.drop_nonfinite)
        return Scored(rolled if states else None, costs, costs, *measured)

    def _require_margins(self, asked: str) -> None:
        if self.margins is None:
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
        states = [first_states(state, actions)]
        for action in actions.unbind(-2):
            states.append(self.next(states[-1], action))
        return stack_time(states)

    def next(self, state: Tensor, action: Tensor) -> Tensor:
        """Take a step of the dynamics: ``[..., state]``, ``[..., action]`` -> ``[..., state]``.

        Raises:
            UserError: the dynamics returned another shape than ``state`` has.
        """
        then = self.dynamics.step(state, action)
        require_returned("dynamics.step", then, state.shape)
        return then

    def final(
        self, last: Tensor, action: Tensor, parameters: Tensor | None, terminal_value: TerminalValue | None
    ) -> Tensor:
        """Charge the last states ``[..., state]`` and the actions before them ``[..., action]``, not discounted: ``[...]``.

        Raises:
            UserError: the cost or the value did not return one number per state.
        """
        if isinstance(self.cost, LastAction):
            final = self.cost.terminal_after(last, action, parameters)
        else:
            final = self.cost.terminal(last, parameters)
        if terminal_value is not None:
            final = final - terminal_value(last)
        require_returned("cost.terminal less the terminal value", final, last.shape[:-1])
        return final

    def discounts_of(self, discount: Tensor | None) -> Tensor:
        """Return the factors of every step and of the last state ``[horizon + 1]``.

        Args:
            discount: of every environment ``[batch]``, for ``[batch, 1, 1, horizon + 1]``; ``None`` takes the config's.
        """
        if discount is None:
            return self.discounts
        return discount.view(-1, 1, 1, 1) ** torch.arange(self.config.horizon + 1, device=self.device)

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
        return self.charge(states, actions, parameters, terminal_value, discount, self.config.constrained)[0]

    def charge(
        self,
        states: Tensor,
        actions: Tensor,
        parameters: Tensor | None,
        terminal_value: TerminalValue | None,
        discount: Tensor | None,
        margins: bool,
        judged: Sequence[Any] = (),
    ) -> tuple[Tensor, ...]:
        """Charge trajectories as :meth:`evaluate`, then measure margins if asked; ``judged`` is of :meth:`judge`."""
        discounts = self.discounts_of(discount)
        states, parameters = states.movedim(-2, 0), None if parameters is None else parameters.unsqueeze(2)
        actions, now, then = actions.movedim(-2, 0), states[:-1], states[1:]
        running, terminated = judged or self.judge(now, actions, then, parameters)
        final = self.ends(then, actions, parameters, terminal_value)
        measured = ()
        if self.margins is not None and margins:
            margin, violation = measure(self.margins, self.config.tighten, now, actions, then)
            running = running + self.config.violation_cost * violation  # a margin that is no number spoils the cost
            measured = until_end(margin, terminated, torch.inf).amin(0), until_end(violation, terminated, 0.0).sum(0)
        charges = self.charged(running, final, now, actions).movedim(0, -1) * discounts
        return until_termination(charges, None if terminated is None else terminated.movedim(0, -1)), *measured

    def ends(self, then: Tensor, actions: Tensor, parameters: Tensor | None, value: TerminalValue | None) -> Tensor:
        """Charge the last of ``then [horizon, ..., state]`` as :meth:`final`; a variant may charge the others, too."""
        return self.final(then[-1], actions[-1], parameters, value)

    def charged(self, running: Tensor, final: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """Join what the steps and the last state are charged ``[horizon + 1, ...]``, before the discount.

        Args:
            running: cost of every step, violations included ``[horizon, ...]``.
            final: what :meth:`ends` returned, here the cost of the last state ``[...]``.
            state: the states that the steps leave ``[horizon, ..., state]``; a variant may value them.
            action: ``[horizon, ..., action]``.
        """
        return torch.cat([running, final.unsqueeze(0)])

    def judge(
        self, now: Tensor, actions: Tensor, then: Tensor, parameters: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Charge steps ``[time, ...]`` and tell their terminations, in the form of :class:`Judge`.

        Raises:
            UserError: the cost did not return one number per step.
        """
        running, terminated = self._judge(now, actions, then, parameters)
        require_returned("cost.running", running, now.shape[:-1])
        return running, terminated

    def _judge_separately(
        self, now: Tensor, actions: Tensor, then: Tensor, parameters: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Ask the cost for its charges and the dynamics for terminations, in the form of :class:`Judge`."""
        running = self.cost.running(now, actions, then, parameters)
        return running, None if self._terminated is None else self._terminated(now, actions, then)

    def _score_in_blocks(
        self, given: Inputs, actions: Tensor, terminal_value: TerminalValue | None, margins: bool
    ) -> tuple[Tensor, ...]:
        """Score all environments at once, or on a CPU as many at a time as its caches hold."""
        scored = []
        for index, (state, acted, parameters, discount) in enumerate(blocks(given, actions)):
            begun = given.once.begun(index, self._unrolling, state, acted, given.num_proposals)
            scored.append(self._score(state, acted, parameters, terminal_value, discount, margins, begun))
        return scored[0] if len(scored) == 1 else tuple(torch.cat(parts) for parts in zip(*scored, strict=True))

    def score_block(
        self,
        state: Tensor,
        actions: Tensor,
        parameters: Tensor | None,
        terminal_value: TerminalValue | None,
        discount: Tensor | None,
        margins: bool,
        begun: Begun | None,
    ) -> tuple[Tensor, ...]:
        """Roll one block out and charge it; a model that unrolls has ``begun``."""
        states, *judged = (self.rollout(state, actions),) if begun is None else begun.judged(self._unrolling, actions)
        return states, *self.charge(states, actions, parameters, terminal_value, discount, margins, judged)
