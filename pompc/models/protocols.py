"""The seams between a planner, the dynamics it rolls out and the environment behind them.

Every method is batched over any leading shape ``[...]``, is pure, and never branches in Python on tensor values, so
that it compiles and runs inside one rollout batch ``[batch, candidate, sample]``.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Dynamics(Protocol):
    """What a planner rolls out: explicit equations of motion or a learned latent model alike."""

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """One model step: ``state [..., state]``, ``action [..., action]`` -> next state ``[..., state]``."""
        ...


@runtime_checkable
class Cost(Protocol):
    """What a planner minimises. Both terms are evaluated once per plan, on whole trajectories.

    Steps are given time first, ``[time, batch, candidate, sample, ...]``. ``parameters [batch, candidate, 1, parameter]``
    may differ per candidate: this is how a high-level policy conditions the planner. ``None`` where there are none.
    """

    def running(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None) -> Tensor:
        """Cost of every step: ``[..., state]``, ``[..., action]``, ``[..., state]`` -> ``[...]``."""
        ...

    def terminal(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        """Cost of the last state: ``[..., state]`` -> ``[...]``."""
        ...


@runtime_checkable
class Terminating(Protocol):
    """Dynamics that know where an episode ends: cost stops accumulating there."""

    def terminated(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Whether the step ended the episode: -> bool ``[...]``."""
        ...


@runtime_checkable
class Judge(Protocol):
    """A model that gives cost and termination of steps in one go, where they share most of their work."""

    def judge(
        self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """What ``Cost.running`` and ``Terminating.terminated`` return: cost ``[...]`` and bool ``[...]``.

        No termination (none) where no step ever ends an episode.
        """
        ...


class TerminalValue(Protocol):
    """The value (a return, larger is better) a planner adds at the end of its horizon."""

    def __call__(self, state: Tensor) -> Tensor:
        """``state [..., state]`` -> value ``[...]``."""
        ...


@runtime_checkable
class TaskModel(Dynamics, Cost, Terminating, Protocol):
    """An environment as a planner with explicit dynamics sees it: approximate dynamics, reward and cost.

    ``state`` and ``observe`` convert between the environment's observation and the model's state:
    ``state(observe(x)) == x`` up to rounding (angles up to full turns).

    Attributes:
        state_dim: size of the model state.
        action_dim: size of the action, each entry in [-1, 1].
        parameter_dim: size of the high-level action, each entry in [-1, 1].
        nominal: the hand-set high-level action ``[parameter_dim]`` the planner uses alone.
    """

    state_dim: int
    action_dim: int
    parameter_dim: int
    nominal: Tensor

    def state(self, observation: Tensor) -> Tensor:
        """``observation [..., observation]`` -> model state ``[..., state]``."""
        ...

    def observe(self, state: Tensor) -> Tensor:
        """``state [..., state]`` -> the observation the environment would give ``[..., observation]``."""
        ...

    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """The reward model (not the planner's cost), comparable with the environment's reward: -> ``[...]``."""
        ...

    def parameters(self, high_action: Tensor) -> Tensor:
        """Squash a high-level action ``[..., parameter]`` into the box of cost parameters ``[..., parameter]``."""
        ...
