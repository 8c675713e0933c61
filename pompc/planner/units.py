"""Score action sequences in compiled units: a few steps of the horizon are one graph, called in a loop.

So the time to compile does not grow with the horizon. A unit adds up what its steps cost and keeps no states.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch._dynamo
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pompc.errors import UserError
from pompc.models.protocols import TerminalValue
from pompc.planner.constraints import measure
from pompc.planner.trajectories import first_states
from pompc.system.compiling import compiled

if TYPE_CHECKING:
    from pompc.planner.inputs import Inputs
    from pompc.planner.once import Begun
    from pompc.planner.scoring import Scorer

OPERATIONS = 480
"""Operations of torch in a unit, at most. So many compile in some seconds."""
MOST_STEPS = 12
MOST_ENTRIES = 64
"""Entries of a state that equations of motion compute one by one, at most; networks compute more at once."""
GRAPHS = 64
"""Graphs of one function in a process, at most: one per planner, shape and length of a unit."""
BLOCK = 4096
"""Sequences that a CPU scores at once, about: its second cache holds what a unit reads and writes for so many."""
RTOL = 1e-3
"""Relative difference up to which charges of single steps count as those of the whole trajectory: rounding, no more."""


class _Survey(NamedTuple):
    """Properties of a model and its cost that decide how they are compiled.

    Attributes:
        steps: length of every unit; they sum up to the horizon.
        stepwise: whether the cost of a step depends on that step alone.
        terminates: whether the model ends episodes.
    """

    steps: tuple[int, ...]
    stepwise: bool
    terminates: bool


class _Sums(NamedTuple):
    """What units add up ``[batch, candidate, sample]``; ``ended`` says whether the episode has ended."""

    cost: Tensor
    ended: Tensor
    margin: Tensor
    violation: Tensor


class _Counter(TorchDispatchMode):
    """Count the operations of torch in a block."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


class Units:
    """Compile dynamics and cost of a scorer in units of a few steps.

    Args:
        scorer: asks the dynamics, the cost and the margins.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._survey: _Survey | None = None
        # All planners of a process share the code of a unit, and a graph more for each would end at eight.
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, GRAPHS)
        self._advance = compiled(self._steps)
        self._roll = compiled(self._states)
        self._whole = compiled(self._block)
        self._charge = compiled(scorer.charge)

    def add_up(self, given: Inputs, actions: Tensor) -> bool:
        """Say whether :meth:`sums` can score without states: the horizon has several units, and a step its own charge."""
        if not self._scorer.adds_up:
            return False
        survey = self._surveyed(given.state, actions, given.parameters)
        return survey.stepwise and len(survey.steps) > 1

    def score(
        self,
        state: Tensor,
        actions: Tensor,
        parameters: Tensor | None,
        terminal_value: TerminalValue | None,
        discount: Tensor | None,
        margins: bool,
        begun: Begun | None,
    ) -> tuple[Tensor, ...]:
        """Roll one block out and charge it, as :meth:`Scorer.score_block`."""
        steps = self._surveyed(state, actions, parameters).steps
        if len(steps) == 1:
            return self._whole(state, actions, parameters, terminal_value, discount, margins, begun)
        now = first_states(state, actions)
        rolled = [now.movedim(-1, 0).unsqueeze(0)]
        for part in actions.split(steps, dim=-2):  # pyright: ignore[reportArgumentType]
            rolled.append(self._roll(now, part))
            now = rolled[-1][-1].movedim(0, -1)
        states = torch.cat(rolled).movedim((0, 1), (-2, -1))
        return states, *self._charge(states, actions, parameters, terminal_value, discount, margins)

    def sums(
        self, given: Inputs, actions: Tensor, terminal_value: TerminalValue | None, margins: bool
    ) -> tuple[Tensor, ...]:
        """Add up the costs of action sequences ``[batch, candidate, sample, horizon, action]``, in blocks of them.

        Returns:
            Costs, and if asked for the least margins and the sums of violations: all ``[batch, candidate, sample]``.
        """
        size = _block(actions) if actions.device.type == "cpu" else actions.shape[2]
        scored = [self._scored(given, part, terminal_value, margins) for part in actions.split(size, dim=2)]
        return tuple(torch.cat(parts, dim=2) if len(scored) > 1 else parts[0] for parts in zip(*scored, strict=True))

    def _scored(
        self, given: Inputs, actions: Tensor, terminal_value: TerminalValue | None, margins: bool
    ) -> tuple[Tensor, ...]:
        """Score one block of sequences."""
        scorer, survey = self._scorer, self._surveyed(given.state, actions, given.parameters)
        zero = actions.new_zeros(actions.shape[:3])
        sums = _Sums(zero, zero.bool(), zero + torch.inf, zero)
        state, parameters = first_states(given.state, actions), _per_sample(given.parameters)
        discounts = scorer.discounts_of(given.discount).movedim(-1, 0)
        state = _by_entry(state).movedim(0, -1)  # as every unit writes it
        for part, factors in zip(
            actions.split(survey.steps, dim=-2),  # pyright: ignore[reportArgumentType]
            discounts[:-1].split(survey.steps),
            strict=True,
        ):
            state, sums = self._advance(state, part, parameters, factors, sums, margins, survey.terminates)
        final = scorer.final(state, actions[..., -1, :], parameters, terminal_value) * discounts[-1]
        cost = sums.cost + (final.masked_fill(sums.ended, 0.0) if survey.terminates else final)
        return (cost, sums.margin, sums.violation) if margins else (cost,)

    def _states(self, state: Tensor, actions: Tensor) -> Tensor:
        """Roll a unit out: states after every step, ``[step, state, batch, candidate, sample]``."""
        states = []
        for action in actions.unbind(-2):
            state = self._scorer.next(state, action)
            states.append(_by_entry(state))
        return torch.stack(states)

    def _block(
        self,
        state: Tensor,
        actions: Tensor,
        parameters: Tensor | None,
        terminal_value: TerminalValue | None,
        discount: Tensor | None,
        margins: bool,
        begun: Begun | None,
    ) -> tuple[Tensor, ...]:
        """Roll a short horizon out and charge it; one compiled graph."""
        if begun is not None:
            return self._scorer.score_block(state, actions, parameters, terminal_value, discount, margins, begun)
        now = first_states(state, actions)
        states = torch.cat([_by_entry(now).unsqueeze(0), self._states(now, actions)]).movedim((0, 1), (-2, -1))
        return states, *self._scorer.charge(states, actions, parameters, terminal_value, discount, margins)

    def _steps(
        self,
        state: Tensor,
        actions: Tensor,
        parameters: Tensor | None,
        discounts: Tensor,
        sums: _Sums,
        margins: bool,
        terminates: bool,
    ) -> tuple[Tensor, _Sums]:
        """Take the steps of a unit and add up what they cost; one compiled graph.

        Args:
            state: ``[batch, candidate, sample, state]``.
            actions: ``[batch, candidate, sample, step, action]``.
            parameters: ``[batch, candidate, 1, parameter]``.
            discounts: ``[step, ...]``.
            sums: over the steps before.
            margins: whether to measure margins.
            terminates: whether the model ends episodes.
        """
        cost, ended, margin, violation = sums
        for action, discount in zip(actions.unbind(-2), discounts.unbind(0), strict=True):
            then = self._scorer.next(state, action)
            charge, over, measured = self._step(state, action, then, parameters, margins)
            if measured is not None:
                least, broken = measured
                charge = charge + self._scorer.config.violation_cost * broken
                margin = torch.minimum(margin, least.masked_fill(ended, torch.inf))
                violation = violation + broken.masked_fill(ended, 0.0)
            charge = charge * discount
            cost = cost + (charge.masked_fill(ended, 0.0) if terminates else charge)
            ended = ended if over is None else ended | over
            state = then
        return _by_entry(state).movedim(0, -1), _Sums(cost, ended, margin, violation)

    def _step(
        self, state: Tensor, action: Tensor, then: Tensor, parameters: Tensor | None, margins: bool
    ) -> tuple[Tensor, Tensor | None, tuple[Tensor, Tensor] | None]:
        """Charge one step and measure it; models see it time first, with a time of one step."""
        scorer = self._scorer
        step = state.unsqueeze(0), action.unsqueeze(0), then.unsqueeze(0)
        charge, over = scorer.judge(*step, parameters)
        measured = None
        if margins:
            least, broken = measure(scorer.margins, scorer.config.tighten, *step)
            measured = least.squeeze(0), broken.squeeze(0)
        return charge.squeeze(0), None if over is None else over.squeeze(0), measured

    def _surveyed(self, state: Tensor, actions: Tensor, parameters: Tensor | None) -> _Survey:
        """Look at the model, once, on two samples of the first plan.

        Its operations are counted, and the charges of single steps compared with those of whole trajectories.
        """
        if self._survey is not None:
            return self._survey
        scorer, parameters = self._scorer, _per_sample(parameters)
        actions = actions[:, :, :2]
        states, steps = scorer.rollout(state, actions).movedim(-2, 0), actions.movedim(-2, 0)
        with _Counter() as counter:
            scorer.next(states[0], steps[0])
            whole, terminated = scorer.judge(states[:-1], steps, states[1:], parameters)
        fit = min(max(OPERATIONS // counter.count, 1), MOST_STEPS)
        stepwise = _alike(whole, self._charges(states, steps, parameters))
        self._survey = _Survey(_lengths(len(steps), fit), stepwise, terminated is not None)
        return self._survey

    def _charges(self, states: Tensor, steps: Tensor, parameters: Tensor | None) -> Iterator[Tensor]:
        """Charge trajectories step by step; ``states`` and ``steps`` are time first."""
        for step in range(len(steps)):
            part = slice(step, step + 1)
            yield self._scorer.judge(states[part], steps[part], states[step + 1 : step + 2], parameters)[0]


def _by_entry(state: Tensor) -> Tensor:
    """Return states ``[..., state]`` as ``[state, ...]``; small ones are stored entry by entry.

    Their entries are named, so that a compiler need not store them side by side first.
    """
    return torch.stack(state.unbind(-1)) if state.shape[-1] <= MOST_ENTRIES else state.contiguous().movedim(-1, 0)


def _per_sample(parameters: Tensor | None) -> Tensor | None:
    return None if parameters is None else parameters.unsqueeze(2)


def _alike(whole: Tensor, single: Iterator[Tensor]) -> bool:
    """Say whether charges of single steps are those of the whole trajectory ``[time, ...]``, up to rounding.

    A cost of whole trajectories may refuse a single step, by a shape that does not fit.
    """
    try:
        found = list(single)
    except (RuntimeError, IndexError, UserError):
        return False
    if any(charge.shape != whole[:1].shape for charge in found):
        return False
    return torch.allclose(torch.cat(found), whole, rtol=RTOL, atol=RTOL, equal_nan=True)


def _lengths(horizon: int, most: int) -> tuple[int, ...]:
    """Split a horizon into units of at most ``most`` steps: of equal length if there is a divisor, else of two lengths."""
    even = next(length for length in range(min(most, horizon), 0, -1) if horizon % length == 0)
    if 2 * even > min(most, horizon):
        return (even,) * (horizon // even)
    count = math.ceil(horizon / most)
    longer = horizon % count
    return (horizon // count + 1,) * longer + (horizon // count,) * (count - longer)


def _block(actions: Tensor) -> int:
    """Choose the samples of a block: about :data:`BLOCK` sequences, and blocks of one size if the number divides."""
    samples = actions.shape[2]
    count = math.ceil(actions.shape[:3].numel() / BLOCK)
    if count <= 1:
        return samples
    even = [parts for parts in range(count, 2 * count + 1) if samples % parts == 0]
    return samples // even[0] if even else math.ceil(samples / count)
