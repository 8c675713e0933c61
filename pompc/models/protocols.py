"""The interfaces between a planner, the model it rolls out and the environment behind it.

Every method is batched over any leading shape ``[...]``, is pure, and never branches in Python on tensor values. So it
compiles, and it runs inside one rollout batch ``[batch, candidate, sample]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor

if TYPE_CHECKING:
    from pompc.models.tasks import TaskEmbedding
    from pompc.models.unrolling import Unrolled


@runtime_checkable
class Dynamics(Protocol):
    """The dynamics a planner rolls out: explicit equations of motion or a learned latent model."""

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """Take a model step: ``state [..., state]``, ``action [..., action]`` -> next state ``[..., state]``."""
        ...


@runtime_checkable
class Simulator(Dynamics, Protocol):
    """Dynamics that roll out whole sequences at once, outside of torch: the planner prefers that to single steps."""

    def simulate(self, state: Tensor, actions: Tensor) -> Tensor:
        """Roll out: ``state [n, state]``, ``actions [n, horizon, action]`` -> states after them ``[n, horizon, state]``."""
        ...


@runtime_checkable
class Cost(Protocol):
    """The cost a planner minimises. Both terms are evaluated once per plan, on whole trajectories.

    Steps are given time first, ``[time, batch, candidate, sample, ...]``. ``parameters [batch, candidate, 1, parameter]``
    may differ per candidate, which lets a high-level policy condition the planner. ``None`` means no parameters.
    """

    def running(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None) -> Tensor:
        """Charge every step: ``[..., state]``, ``[..., action]``, ``[..., state]`` -> cost ``[...]``."""
        ...

    def terminal(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        """Charge the last state: ``[..., state]`` -> cost ``[...]``."""
        ...


@runtime_checkable
class LastAction(Protocol):
    """A cost whose terminal term also sees the action that led to the last state."""

    def terminal_after(self, state: Tensor, action: Tensor, parameters: Tensor | None) -> Tensor:
        """Charge the last state in the place of :meth:`Cost.terminal`: ``[..., state]``, ``[..., action]`` -> ``[...]``."""
        ...


@runtime_checkable
class Terminating(Protocol):
    """Dynamics that know the end of an episode: no cost counts after it."""

    def terminated(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Tell whether the step ended the episode: bool ``[...]``."""
        ...


@runtime_checkable
class Constrained(Protocol):
    """A model that knows how far each step is from breaking a constraint."""

    def margins(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Measure the margins of a step: ``[..., constraint]``, in metres or units of the task.

        A margin is at least 0 exactly if the constraint is kept. There is at least one constraint; the margin of one that
        nothing can break is infinite.
        """
        ...


@runtime_checkable
class Safe(Dynamics, Constrained, Protocol):
    """A model that knows how to come to rest, and which states are at rest: what a safety filter needs."""

    def brake(self, state: Tensor) -> Tensor:
        """Brake: the action of a manoeuvre that ends at rest, ``[..., state]`` -> ``[..., action]`` in [-1, 1]."""
        ...

    def at_rest(self, state: Tensor) -> Tensor:
        """Tell whether a state is at rest: bool ``[...]``.

        The filter's guarantee needs a set that braking never leaves and in which every constraint is kept.
        """
        ...


@runtime_checkable
class Judge(Protocol):
    """A model that computes cost and termination of a step together, because they share most of their work."""

    def judge(
        self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return ``Cost.running`` and ``Terminating.terminated``: cost ``[...]`` and bool ``[...]``.

        ``None`` instead of the terminations means that no step ends an episode.
        """
        ...


@runtime_checkable
class Unrolling(Protocol):
    """A model that rolls out and judges whole sequences together, and prepares itself for a plan."""

    def begin(self, state: Tensor) -> Any:
        """Compute what all samples of a plan from ``state [batch, state]`` share: a tuple of tensors."""
        ...

    def unroll(self, beginning: Any, actions: Tensor) -> Unrolled:
        """Roll out and judge ``actions [batch, candidate, sample, horizon, action]`` from what :meth:`begin` returned."""
        ...


@runtime_checkable
class Periodic(Protocol):
    """A model whose state has entries that repeat: angles, the place on a loop."""

    def difference(self, state: Tensor, origin: Tensor) -> Tensor:
        """Subtract by the shorter way round: ``state [..., state]``, ``origin [..., state]`` -> ``[..., state]``."""
        ...


class TerminalValue(Protocol):
    """The value (a return, larger is better) a planner adds at the end of its horizon."""

    def __call__(self, state: Tensor) -> Tensor:
        """Value a state: ``state [..., state]`` -> value ``[...]``."""
        ...


class PlannerLayer(Protocol):
    """A planner as a differentiable function: sampled (``SampledLayer``), exact (``ILQR``), or a solver of your own.

    Gradients of plan and value with respect to ``parameters`` are what learning through it needs.
    """

    def __call__(
        self,
        state: Tensor,
        parameters: Tensor | None,
        first: Tensor | None = None,
        *,
        mean: Tensor | None = None,
        is_init: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Solve from every state.

        Args:
            state: model states ``[batch, state]``.
            parameters: cost parameters ``[batch, candidate, parameter]``; ``None`` means one candidate.
            first: first action of every plan ``[batch, action]``, so that the value is one of state and action; ``None``
                leaves it free.
            mean: where to start the search ``[batch, horizon, action]``; a solver may do without.
            is_init: says which environments have no ``mean`` yet, bool ``[batch]`` or ``[batch, 1]``.

        Returns:
            The plan ``[batch, candidate, horizon, action]`` and its value, in units of cost ``[batch, candidate]``.
        """
        ...


@runtime_checkable
class Model(Protocol):
    """A model as an agent sees it, learned (``WorldModel``) or explicit (``KnownModel``).

    Attributes:
        input_dim: size of the networks' view of a state.
    """

    input_dim: int

    @property
    def tasks(self) -> TaskEmbedding | None:
        """The tasks it tells apart; ``None`` for a single one."""
        ...

    @property
    def terminates(self) -> bool:
        """Whether the model predicts ends of episodes."""
        ...

    def encode(self, observation: Tensor) -> Tensor:
        """Find the state behind an observation: ``[..., observation]`` -> ``[..., state]``."""
        ...

    def inputs(self, state: Tensor) -> Tensor:
        """Convert a state to the networks' view of it: ``[..., state]`` -> ``[..., input]``."""
        ...

    def next(self, state: Tensor, action: Tensor) -> Tensor:
        """Take a step: ``[..., state]``, ``[..., action]`` -> ``[..., state]``."""
        ...

    def outcome(self, state: Tensor, action: Tensor, next_state: Tensor) -> tuple[Tensor, Tensor]:
        """Judge a step: reward ``[...]`` and whether it ended the episode, bool ``[...]``.

        All ``False`` if the model does not terminate.
        """
        ...

    def transition(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take a step and judge it: next state ``[..., state]``, reward ``[...]``, ended, bool ``[...]``."""
        ...


@runtime_checkable
class TaskModel(Dynamics, Cost, Terminating, Protocol):
    """An explicit model of an environment: approximate dynamics, reward, terminations and cost.

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
        """Convert ``observation [..., observation]`` to the model state ``[..., state]``."""
        ...

    def observe(self, state: Tensor) -> Tensor:
        """Convert ``state [..., state]`` to the observation the environment would give ``[..., observation]``."""
        ...

    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Predict the environment's reward ``[...]``; this is not the planner's cost."""
        ...

    def parameters(self, high_action: Tensor) -> Tensor:
        """Squash a high-level action ``[..., parameter]`` into the box of cost parameters ``[..., parameter]``."""
        ...


@runtime_checkable
class Aiming(Protocol):
    """A task model that can name the high-level action that sends its planner to a state."""

    def aim(self, state: Tensor) -> Tensor:
        """Invert ``TaskModel.parameters``: ``state [..., state]`` -> high-level action ``[..., parameter]`` in [-1, 1].

        Entries that are no targets are nominal, and a target out of the box is the nearest in it.
        """
        ...
