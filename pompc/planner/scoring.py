"""What action sequences cost: the model rolled out, and every step charged."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import repeat

import torch
from torch import Tensor

from pompc.models.protocols import Cost, Dynamics, Judge, TerminalValue, Terminating
from pompc.planner.config import MPPIConfig
from pompc.planner.inputs import require_shape
from pompc.planner.weights import until_termination
from pompc.system.process import require_compiler

SCORED_ON_CPU = 2**18
"""Numbers in the states of all samples that are scored at once on a CPU: what its caches hold of a layer's outputs."""


def stack_time(states: list[Tensor]) -> Tensor:
    """Stack states ``[..., state]`` along a new dimension before the last, in the memory order of the last of them.

    Equations of motion work entry by entry and return entries in separate blocks, networks work on whole states; keeping
    either order makes everything that is computed on the trajectories read contiguous memory.
    """
    if states[-1].movedim(-1, 0).is_contiguous():
        return torch.stack([state.movedim(-1, 0) for state in states], dim=1).movedim((0, 1), (-1, -2))
    return torch.stack(states).movedim(0, -2)


class Scoring:
    """Rolls action sequences out and charges their steps, in one graph where asked.

    Args:
        config: options of the planner.
        dynamics: what is rolled out; may also say where an episode ends (``Terminating``).
        cost: what is minimised; may be the same object as the dynamics.
        device: where plans are made.

    Raises:
        UserError: ``compile`` finds no C++ compiler.
    """

    def __init__(self, config: MPPIConfig, dynamics: Dynamics, cost: Cost, device: torch.device) -> None:
        self.config = config
        self.dynamics = dynamics
        self.cost = cost
        self.device = device
        self.discounts = config.discount ** torch.arange(config.horizon + 1, device=device)
        self._judge = self._choose_judge()
        self._score = self._rolled_out_and_evaluated
        if config.compile:
            if device.type == "cpu":
                require_compiler("planner.compile")
            # One graph per shape: with symbolic shapes the products of small networks are slower.
            self._score = torch.compile(self._score, dynamic=False)

    def rollout(self, state: Tensor, actions: Tensor) -> Tensor:
        """Model trajectories ``[batch, candidate, sample, horizon + 1, state]`` of ``state [batch, state]``.

        Raises:
            UserError: the dynamics return another shape than that of the states.
        """
        state = state.view(state.shape[0], 1, 1, -1).expand(*actions.shape[:3], state.shape[-1])
        states = [state]
        for action in actions.unbind(-2):
            states.append(self.dynamics.step(states[-1], action))
            require_shape("dynamics.step", states[-1], state.shape)
        return stack_time(states)

    def evaluate(
        self,
        states: Tensor,
        actions: Tensor,
        parameters: Tensor | None = None,
        terminal_value: TerminalValue | None = None,
        discounts: Tensor | None = None,
    ) -> Tensor:
        """What every step and the last state are charged ``[batch, candidate, sample, horizon + 1]``, discounted.

        Nothing is charged after a termination.

        Args:
            states: trajectories ``[batch, candidate, sample, horizon + 1, state]``.
            actions: ``[batch, candidate, sample, horizon, action]``.
            parameters: cost parameters ``[batch, candidate, parameter]``.
            terminal_value: value of the last state, a return.
            discounts: factor of every step and of the last state, ``[..., horizon + 1]``; none means the config's.

        Raises:
            UserError: a cost or a value is not one number per state.
        """
        discounts = self.discounts if discounts is None else discounts
        states, parameters = states.movedim(-2, 0), None if parameters is None else parameters.unsqueeze(2)
        now, then, last = states[:-1], states[1:], states[-1]
        running, terminated = self._judge(now, actions.movedim(-2, 0), then, parameters)
        final = self.cost.terminal(last, parameters)
        if terminal_value is not None:
            final = final - terminal_value(last)
        require_shape("cost.running", running, now.shape[:-1])
        require_shape("cost.terminal less the terminal value", final, last.shape[:-1])
        charges = torch.cat([running, final.unsqueeze(0)]).movedim(0, -1) * discounts
        return until_termination(charges, None if terminated is None else terminated.movedim(0, -1))

    def _powers(self, discount: Tensor) -> Tensor:
        """Discounts ``[batch]`` -> factors of every step ``[batch, 1, 1, horizon + 1]``."""
        return discount.view(-1, 1, 1, 1) ** torch.arange(self.config.horizon + 1, device=self.device)

    def _choose_judge(self) -> Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor | None]]:
        if isinstance(self.cost, Judge) and self.cost is self.dynamics:
            return self.cost.judge
        ends = self.dynamics.terminated if isinstance(self.dynamics, Terminating) else None
        return lambda now, actions, then, parameters: (
            self.cost.running(now, actions, then, parameters),
            None if ends is None else ends(now, actions, then),
        )

    def _scored(
        self,
        state: Tensor,
        actions: Tensor,
        parameters: Tensor | None,
        terminal_value: TerminalValue | None,
        discounts: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """``_score``; of so many environments at a time as a CPU's caches hold, where it is one."""
        numbers = actions[..., 0, 0].numel() * state.shape[-1]
        parts = min(math.ceil(numbers / SCORED_ON_CPU), len(state)) if self.device.type == "cpu" else 1
        if parts == 1:
            return self._score(state, actions, parameters, terminal_value, discounts)
        size = math.ceil(len(state) / parts)
        # Discounts and parameters that all environments share have no dimension for them.
        cut = [repeat(x) if x is None or x.ndim == 1 else x.split(size) for x in (parameters, discounts)]
        found = [
            self._score(z, u, of_part, terminal_value, factors)
            for z, u, of_part, factors in zip(state.split(size), actions.split(size), *cut, strict=False)
        ]
        states, charges = zip(*found, strict=True)
        return torch.cat(states), torch.cat(charges)

    def _rolled_out_and_evaluated(
        self,
        state: Tensor,
        actions: Tensor,
        parameters: Tensor | None,
        terminal_value: TerminalValue | None,
        discounts: Tensor,
    ) -> tuple[Tensor, Tensor]:
        states = self.rollout(state, actions)
        return states, self.evaluate(states, actions, parameters, terminal_value, discounts)
