"""The values of an off-policy agent: of a state and an action (TD-MPC2), or of a state alone (BMPC)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.models.protocols import Model
from pompc.problem import Problem

if TYPE_CHECKING:
    from pompc.offpolicy.agent import OffPolicyAgent

POLICY_VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda heads: heads.mean(0),
    "least": lambda heads: heads.amin(0),
}
"""One value of heads ``[head, ...]`` by the name that ``algo.policy_value`` takes."""


class ActionValues:
    """Values of a state and an action, ``Q(s, a)``.

    Args:
        agent: the agent whose model, policy, critic and discount are read.
    """

    def __init__(self, agent: OffPolicyAgent) -> None:
        self.agent = agent

    @staticmethod
    def input_dim(model: Model, problem: Problem) -> int:
        """Return the size of the critic's input."""
        return model.input_dim + problem.action_dim

    def inputs(self, state: Tensor, action: Tensor | None = None) -> Tensor:
        """Join ``state [..., state]`` and an action, by default the policy's, into the critic's input ``[..., input]``."""
        action = self.agent.policy.sample(state).action if action is None else action
        return torch.cat([self.agent.model.inputs(state), action], dim=-1)

    def of_state(self, state: Tensor) -> Tensor:
        """Value ``state [..., state]`` under the policy for the planner ``[...]``; ``algo.optimism`` shapes it."""
        return self.agent.optimism(self.agent.critic, self.inputs(state))

    def mean(self, state: Tensor, action: Tensor | None = None) -> Tensor:
        """Value by the mean of two heads ``[...]``."""
        return self._pair(state, action).mean(0)

    def of_action(self, state: Tensor, action: Tensor) -> Tensor:
        """Value an action by two heads ``[...]``; the policy maximises it, and ``algo.policy_value`` says how."""
        return self._climbed(state, action)

    def slow(self, state: Tensor, action: Tensor | None = None) -> Tensor:
        """Value by the lesser of two slow heads, or by their mean ``[...]``; targets bootstrap from it."""
        values = self.agent.critic.target_values(self.inputs(state, action), self.agent.critic.draw())
        return values.mean(0) if self.agent.config.average_target else values.amin(0)

    def target(self, batch: TensorDictBase) -> Tensor:
        """Make one-step targets ``[horizon, batch]`` from the encoded next observations."""
        return self.bootstrapped(batch, self.slow(batch["encoded"][1:]))

    def bootstrapped(self, batch: TensorDictBase, value: Tensor) -> Tensor:
        """Add the stored reward and the discounted ``value`` of the next state, zero after a termination.

        Args:
            batch: ``reward`` and ``terminated [horizon + 1, batch, 1]``, and ``encoded [horizon + 1, batch, state]``.
            value: values of the next states ``[horizon, batch]``.
        """
        going_on = 1 - batch["terminated"][:-1].squeeze(-1)
        return batch["reward"][:-1].squeeze(-1) + self.agent.discount_of(batch["encoded"][1:]) * going_on * value

    def _pair(self, state: Tensor, action: Tensor | None = None) -> Tensor:
        """Value by two heads, or by the only one ``[head, ...]``."""
        return self.agent.critic.values(self.inputs(state, action), self.agent.critic.draw())

    def _climbed(self, state: Tensor, action: Tensor | None = None) -> Tensor:
        return POLICY_VALUES[self.agent.config.policy_value](self._pair(state, action))


class StateValues(ActionValues):
    """Values of a state, ``V(s)``, learned on policy from one step of the model (BMPC, Wang et al. 2025)."""

    @staticmethod
    def input_dim(model: Model, problem: Problem) -> int:
        """Return the size of the critic's input."""
        return model.input_dim

    def inputs(self, state: Tensor, action: Tensor | None = None) -> Tensor:
        """Return the networks' view of the state ``[..., input]``; the action plays no part."""
        return self.agent.model.inputs(state)

    def of_action(self, state: Tensor, action: Tensor) -> Tensor:
        """Value an action ``[...]`` by the model's reward and the value of the predicted state."""
        return self._after_one_step(state, action, self._climbed)

    def target(self, batch: TensorDictBase) -> Tensor:
        """Make targets ``r(z, a) + discount * V(f(z, a))`` with the policy's action ``[horizon, batch]``."""
        state = batch["encoded"][:-1]
        return self._after_one_step(state, self.agent.policy.sample(state).action, self.slow)

    def _after_one_step(self, state: Tensor, action: Tensor, value_of: Callable[[Tensor], Tensor]) -> Tensor:
        then, reward, ended = self.agent.model.transition(state, action)
        value = self.agent.discount_of(then) * value_of(then)
        return reward + value * ~ended
