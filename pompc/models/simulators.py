"""Dynamics that roll out whole sequences at once: external simulators, in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pompc.errors import UserError
from pompc.models.protocols import Dynamics, Simulator

Step = Callable[[np.ndarray, np.ndarray], np.ndarray]


class NumpySimulator:
    """Make dynamics of a simulator that takes numpy arrays, float64.

    Args:
        rollout: ``(states [n, state], actions [n, horizon, action]) -> states [n, horizon, state]``: the states after every
            action, from ``n`` first states.
    """

    def __init__(self, rollout: Step) -> None:
        self._rollout = rollout

    def simulate(self, state: Tensor, actions: Tensor) -> Tensor:
        """See :class:`~pompc.models.protocols.Simulator`.

        Raises:
            UserError: the simulator returned another shape.
        """
        states = np.asarray(self._rollout(_array(state), _array(actions)))
        needed = (*actions.shape[:2], state.shape[-1])
        if states.shape != needed:
            raise UserError(f"the simulator returned the shape {list(states.shape)} where {list(needed)} is needed")
        return torch.as_tensor(states).to(state)

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """See :class:`~pompc.models.protocols.Dynamics`."""
        flat = action.flatten(0, -2).unsqueeze(1)
        return self.simulate(state.flatten(0, -2), flat).view(state.shape)


class NumpyDynamics(NumpySimulator):
    """Make dynamics of a function of one step that takes numpy arrays, float64.

    Args:
        step: ``(state [n, state], action [n, action]) -> next state [n, state]``.
    """

    def __init__(self, step: Step) -> None:
        def rollout(state: np.ndarray, actions: np.ndarray) -> np.ndarray:
            states = []
            for index in range(actions.shape[1]):
                state = np.asarray(step(state, actions[:, index]))
                states.append(state)
            return np.stack(states, axis=1)

        super().__init__(rollout)


class NumpyCost:
    """Make a cost of functions that take numpy arrays, float64.

    Args:
        running: ``(state [n, state], action [n, action]) -> cost [n]`` of one step.
        terminal: ``(state [n, state]) -> cost [n]`` of the last state; ``None`` means zero.
    """

    def __init__(self, running: Step, terminal: Callable[[np.ndarray], np.ndarray] | None = None) -> None:
        self._running, self._terminal = running, terminal

    def running(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None) -> Tensor:
        """See :class:`~pompc.models.protocols.Cost`."""
        cost = self._running(_array(state.flatten(0, -2)), _array(action.flatten(0, -2)))
        return torch.as_tensor(cost).to(state).view(state.shape[:-1])

    def terminal(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        """See :class:`~pompc.models.protocols.Cost`."""
        if self._terminal is None:
            return torch.zeros_like(state[..., 0])
        return torch.as_tensor(self._terminal(_array(state.flatten(0, -2)))).to(state).view(state.shape[:-1])


def simulated(simulator: Simulator, state: Tensor, actions: Tensor) -> Tensor:
    """Roll samples out in a simulator.

    Args:
        simulator: rolls ``n`` sequences out.
        state: first states ``[batch, state]``.
        actions: ``[batch, candidate, sample, horizon, action]``.

    Returns:
        ``[batch, candidate, sample, horizon + 1, state]``, the first state included.
    """
    lead = actions.shape[:3]
    first = state.view(len(state), 1, 1, -1).expand(*lead, -1)
    found = simulator.simulate(first.flatten(0, 2), actions.flatten(0, 2))
    return torch.cat([first.unsqueeze(-2), found.view(*lead, *found.shape[1:])], dim=-2)


def refuse_to_compile(dynamics: Dynamics) -> None:
    """Refuse to compile the dynamics of a simulator.

    Raises:
        UserError: the dynamics are a simulator.
    """
    if isinstance(dynamics, Simulator):
        raise UserError(
            f"planner.compile cannot compile {type(dynamics).__name__}, which simulates outside of torch: give "
            "planner.compile=false"
        )


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float64).numpy()
