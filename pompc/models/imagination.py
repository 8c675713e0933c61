"""Present a model, learned or explicit, to a planner."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from pompc.errors import UserError
from pompc.models.known import KnownModel
from pompc.models.protocols import Constrained, Judge, Model
from pompc.models.unrolling import Beginning, Unrolled, begin, unroll, unrolls
from pompc.models.world_model import WorldModel


class Imagination:
    """Plan in a :class:`Model`: its dynamics, minus its reward as the cost, and its terminations.

    Args:
        model: learned or explicit. Entries of an action that the task of a state ignores have no effect.

    Attributes:
        ends_in_value: whether the cost has the units of values, so that an agent may add one at the end of the horizon.
        margins: the model's, if it is :class:`~pompc.models.protocols.Constrained`; then this object is. Otherwise None.
        begin: prepares a plan in a world model: this object is :class:`~pompc.models.protocols.Unrolling`. Otherwise None.
    """

    ends_in_value = True

    def __init__(self, model: Model) -> None:
        self.model = model
        self.margins = model.margins if isinstance(model, Constrained) else None
        self.begin = partial(begin, model) if unrolls(model) else None

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """See :class:`~pompc.models.protocols.Dynamics`."""
        return self.model.next(state, self._masked(state, action))

    def judge(
        self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """See :class:`~pompc.models.protocols.Judge`; the terminations are ``None`` if the model predicts none."""
        reward, ended = self.model.outcome(state, self._masked(state, action), next_state)
        return -reward, ended if self.model.terminates else None

    def unroll(self, beginning: Beginning, actions: Tensor) -> Unrolled:
        """See :class:`~pompc.models.protocols.Unrolling`."""
        assert unrolls(self.model)
        return unroll(self.model, beginning, self._masked(beginning.state[:, None, None, None], actions))

    def running(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None) -> Tensor:
        """See :class:`~pompc.models.protocols.Cost`."""
        return self.judge(state, action, next_state, parameters)[0]

    def terminal(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        """See :class:`~pompc.models.protocols.Cost`; zero, since the agent adds the value of the last state."""
        return torch.zeros_like(state[..., 0])

    def _masked(self, state: Tensor, action: Tensor) -> Tensor:
        """Set to zero the entries of an action that the task of its state ignores."""
        tasks = self.model.tasks
        return action if tasks is None else action * tasks.action_masks[tasks.index(state)]


class TaskImagination(Imagination):
    """Plan in an explicit model with the task's own cost and its nominal parameters, as a planner without learning does.

    Args:
        model: explicit.

    Raises:
        UserError: the model is learned.
    """

    ends_in_value = False

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        if not isinstance(model, KnownModel):
            raise UserError(
                "algo.planner_cost=task is the cost of an explicit model, and this one is learned: take algo.model=known "
                "or algo.planner_cost=reward"
            )
        self.task = model.task
        self.nominal = model.task.parameters(model.task.nominal)

    def judge(
        self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """See :class:`~pompc.models.protocols.Judge`; ``parameters`` are the nominal ones if they are ``None``."""
        parameters = self.nominal if parameters is None else parameters
        if isinstance(self.task, Judge):
            return self.task.judge(state, action, next_state, parameters)
        cost = self.task.running(state, action, next_state, parameters)
        return cost, self.task.terminated(state, action, next_state)

    def terminal(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        """Charge the last state as the task does ``[...]``."""
        return self.task.terminal(state, self.nominal if parameters is None else parameters)


class HeadImagination(Imagination):
    """Plan through one head of the dynamics of a learned model.

    Args:
        model: learned, with heads.
        head: number of the head.
    """

    def __init__(self, model: WorldModel, head: int) -> None:
        super().__init__(model)
        self._heads, self._head = model, head

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """See :class:`~pompc.models.protocols.Dynamics`."""
        return self._heads.next_by(self._head, state, self._masked(state, action))


PLANNER_COSTS: dict[str, type[Imagination]] = {"reward": Imagination, "task": TaskImagination}
"""What an agent's planner minimises, by the name that ``algo.planner_cost`` takes."""
