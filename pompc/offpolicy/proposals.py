"""Action sequences that the policy proposes to the planner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from pompc.models.rollout import rollout_policy
from pompc.networks.policies import LatentPolicy

if TYPE_CHECKING:
    from pompc.offpolicy.agent import OffPolicyAgent


class PolicyRollouts:
    """Rollouts of the policy through the model.

    Args:
        count: rollouts per state; 0 proposes nothing.
        noise: factor on the policy's standard deviation; 0 rolls its mean out.
        after: updates before the first proposal.
    """

    def __init__(self, count: int, noise: float, after: int) -> None:
        self.count, self.noise, self.after = count, noise, after

    def __call__(
        self, agent: OffPolicyAgent, state: Tensor, log_std_range: tuple[float, float] | None = None
    ) -> Tensor | None:
        """Propose sequences from ``state [batch, state]``: ``[batch, 1, count, horizon, action]``, or ``None``.

        Args:
            agent: with the policy, the model and the number of updates so far.
            state: first states.
            log_std_range: maps the policy's log-std to this range.
        """
        if self.count == 0 or agent.updates < self.after:
            return None
        return self.rollouts(agent, agent.policy, state, self.count, log_std_range)

    def rollouts(
        self,
        agent: OffPolicyAgent,
        policy: LatentPolicy,
        state: Tensor,
        count: int,
        log_std_range: tuple[float, float] | None,
    ) -> Tensor:
        """Roll a policy out ``count`` times from ``state [batch, state]``: ``[batch, 1, count, horizon, action]``."""

        def act(now: Tensor) -> Tensor:
            sample = policy.sample(now, log_std_range)
            return policy.action(sample.mean + self.noise * sample.noise * sample.log_std.exp())

        states = state.unsqueeze(1).expand(-1, count, -1)
        actions, _ = rollout_policy(agent.model, act, states, agent.horizon)
        return actions.unsqueeze(1)
