"""Plan in real time: a deadline, a delay of the actions, an estimate of the state, and a loop of fixed period."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor

from pompc.errors import UserError
from pompc.planner.mppi import MPPI
from pompc.planner.plan import Callback, Iteration, Plan

Clock = Callable[[], float]


class Estimator(Protocol):
    """Estimate the state from observations: a filter, a lookup, a network."""

    def __call__(self, observation: Tensor, action: Tensor | None) -> Tensor:
        """Estimate the state at this observation.

        Args:
            observation: ``[batch, ...]``, as it was read.
            action: what has acted since the observation before ``[batch, action]``; ``None`` at the first one.

        Returns:
            States ``[batch, state]``; with ``planner.num_rollouts`` above 1 also that many samples of it
            ``[batch, rollout, state]``.
        """
        ...


class Deadline:
    """End a plan when the next iteration would end too late; a :class:`~pompc.planner.plan.Callback`.

    The longest iteration so far is what the next one is expected to take. The first iteration is always done.

    Args:
        seconds: from now until the plan must be there.
        clock: reads the time in seconds.
    """

    def __init__(self, seconds: float, clock: Clock = time.perf_counter) -> None:
        self._clock, self._last = clock, clock()
        self._end, self._longest = self._last + seconds, 0.0

    def __call__(self, iteration: Iteration) -> bool:
        """Say whether the plan must end with this iteration."""
        if iteration.mean.is_cuda:
            torch.cuda.current_stream(iteration.mean.device).synchronize()
        now = self._clock()
        self._longest, self._last = max(self._longest, now - self._last), now
        return now + self._longest > self._end


class Tick(NamedTuple):
    """What happened in one period of :meth:`Controller.run`.

    Attributes:
        action: what was sent ``[batch, action]``.
        seconds: from reading the observation to sending the action.
        late: seconds that the action was sent after the end of its period; negative is early.
    """

    action: Tensor
    seconds: float
    late: float


class Controller:
    """Turn observations into actions, one call per period.

    An action that is sent now acts ``delay`` periods later. So the controller rolls its estimate of the state forward
    through the actions that are on their way, and plans from there. It carries the warm start and the actions sent.

    Args:
        planner: the planner.
        delay: periods from an observation to the effect of the action that answers it.
        deadline: seconds that a plan may take. Iterations that do not fit are left out, and the plan is the one so far;
            ``None`` does all ``num_iterations``.
        estimate: the state behind an observation; ``None`` if observations are states.
        callback: sees every iteration of every plan; it ends a plan by ``True``.
        clock: reads the time in seconds.
        arguments: further arguments of every :meth:`MPPI.plan`, such as ``parameters``; change the dictionary at any time.

    Attributes:
        plan: the last plan; ``None`` before the first.
        arguments: the further arguments.

    Raises:
        UserError: ``delay`` is negative, or ``deadline`` is not positive.
    """

    def __init__(
        self,
        planner: MPPI,
        *,
        delay: int = 0,
        deadline: float | None = None,
        estimate: Estimator | None = None,
        callback: Callback | None = None,
        clock: Clock = time.perf_counter,
        arguments: dict[str, Any] | None = None,
    ) -> None:
        if delay < 0:
            raise UserError(f"delay={delay} must be at least 0 periods")
        if deadline is not None and deadline <= 0:
            raise UserError(f"deadline={deadline} must be positive, in seconds")
        self.planner, self.arguments = planner, arguments or {}
        self.plan: Plan | None = None
        self._delay, self._deadline, self._clock = delay, deadline, clock
        self._estimate, self._callback = estimate, callback
        self._mean: Tensor | None = None
        self._sent: deque[Tensor] = deque(maxlen=delay + 2)

    def reset(self) -> None:
        """Forget the warm start and the actions sent."""
        self.plan = self._mean = None
        self._sent.clear()

    def __call__(self, observation: Tensor) -> Tensor:
        """Plan, and return the action to send ``[batch, action]``; it is that of the first candidate.

        Args:
            observation: ``[batch, ...]``, or the state ``[batch, state]`` without an estimator.
        """
        callback = self._watch()
        state = observation if self._estimate is None else self._estimate(observation, self._acted())
        if not self._sent:
            self._sent.extend([self.planner.rest.expand(len(state), -1)] * (self._delay + 2))
        for action in list(self._sent)[2:]:
            state = self.planner.dynamics.step(state, _as_many(action, state))
        plan = self.planner.plan(
            state,
            mean=self._mean,
            previous=torch.stack(list(self._sent)[-2:], dim=1),
            callback=callback,
            **self.arguments,
        )[:, 0]
        self.plan = cast(Plan, plan)
        self._mean = self.planner.shift(self.plan.mean)
        self._sent.append(self.plan.mean[:, 0])
        return self._sent[-1]

    def skip(self, periods: int, *, late: bool = False) -> None:
        """Tell that nothing was sent for so many periods: an action stays, and the warm start moves on.

        Args:
            periods: number of periods.
            late: whether they passed before the last action was sent, so that the one before it stayed.
        """
        if not self._sent:
            return
        newest = [self._sent.pop()] if late else []
        for _ in range(periods):
            self._sent.append(self._sent[-1])
            self._mean = None if self._mean is None else self.planner.shift(self._mean)
        self._sent.extend(newest)

    def run(
        self,
        read: Callable[[], Tensor],
        send: Callable[[Tensor], None],
        *,
        period: float,
        ticks: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> list[Tick]:
        """Read, plan and send once per period.

        A plan that is late is sent at once, and the next period begins with the next multiple of ``period``: periods that
        have passed are left out, not caught up.

        Args:
            read: returns the newest observation ``[batch, ...]``.
            send: takes the action ``[batch, action]``.
            period: seconds.
            ticks: number of actions to send.
            sleep: waits for seconds.
        """
        start, done = self._clock(), []
        begin = start
        for _ in range(ticks):
            action = self(read())
            send(action)
            now = self._clock()
            done.append(Tick(action, now - begin, now - begin - period))
            passed = max(1, math.ceil((now - begin) / period))
            self.skip(passed - 1, late=True)
            begin += passed * period
            if begin > now:
                sleep(begin - now)
        return done

    def _acted(self) -> Tensor | None:
        """Return what has acted since the last observation: the action sent ``delay`` periods before the newest."""
        return self._sent[1] if self._sent else None

    def _watch(self) -> Callback | None:
        """Make the callback of one plan: the caller's, the deadline, or both."""
        if self._deadline is None:
            return self._callback
        watch, deadline = self._callback, Deadline(self._deadline, self._clock)
        if watch is None:
            return deadline
        return lambda iteration: bool(watch(iteration)) | deadline(iteration)


def _as_many(action: Tensor, state: Tensor) -> Tensor:
    """Give every sample of a state ``[batch, rollout, state]`` its environment's action ``[batch, action]``."""
    return action if state.ndim == 2 else action.unsqueeze(1).expand(-1, state.shape[1], -1)
