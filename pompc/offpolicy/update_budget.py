"""When an off-policy agent updates: a burst after the seed phase, then a number of updates per transition."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pompc.offpolicy.config import OffPolicyConfig
    from pompc.problem import Problem

PATIENCE = 5  # times the seed phase that a first episode may take before a warning
SAVED = ("transitions", "burst", "pending")


class UpdateBudget:
    """Count transitions and the updates that are due after them.

    Args:
        seed_steps: transitions by random actions at the start, over all environments.
        burst: updates made after the seed steps, before the first planned action; ``None`` makes as many as seed steps.
        update_to_data: updates per transition afterwards.
        num_envs: environments stepped together.
        shortest_episode: steps of the shortest episode that holds a training sequence.

    Attributes:
        transitions: collected so far, over all environments.
        burst: updates of the burst that are still to make; -1 before the burst.
        pending: further updates to make; a fraction counts towards the next one.
    """

    def __init__(
        self, seed_steps: int, burst: int | None, update_to_data: float, *, num_envs: int, shortest_episode: int
    ) -> None:
        self.seed_steps, self.update_to_data = seed_steps, update_to_data
        self._burst_size = seed_steps if burst is None else burst
        self._num_envs, self._shortest_episode = num_envs, shortest_episode
        self.transitions, self.burst, self.pending = 0, -1, 0.0

    @classmethod
    def of(cls, config: OffPolicyConfig, problem: Problem) -> UpdateBudget:
        """Make the budget of an agent."""
        return cls(
            config.seed_steps_for(problem.episode_length),
            config.pretrain_updates,
            config.update_to_data,
            num_envs=problem.num_envs,
            shortest_episode=config.sequence_steps,
        )

    @property
    def begun(self) -> bool:
        """Whether the seed phase is over, so that actions are planned."""
        return self.burst >= 0

    @property
    def updates(self) -> int:
        """Updates to make now."""
        return max(self.burst, 0) + int(self.pending)

    @property
    def in_burst(self) -> bool:
        """Whether the next update is one of the burst."""
        return self.burst > 0

    def begin(self) -> None:
        """End the seed phase before it starts: the agent acts from its first step, and there is no burst."""
        self.burst = 0

    def add(self, transitions: int, can_sample: bool) -> None:
        """Count new transitions.

        Args:
            transitions: how many, over all environments.
            can_sample: whether the replay holds a sequence to learn from; the burst waits for one.
        """
        self.transitions += transitions
        if self.begun:
            self.pending += self.update_to_data * transitions
        elif self.transitions > self.seed_steps:
            if can_sample:
                self.burst = self._burst_size
            else:
                self._lose_patience(transitions)

    def spend(self) -> None:
        """Count an update that was made."""
        if self.in_burst:
            self.burst -= 1
        else:
            self.pending -= 1

    def idle_reason(self, can_sample: bool) -> str:
        """Explain why no update has been made so far."""
        if self.transitions <= self.seed_steps:
            return (
                f"all {self.transitions:,} transitions were of the seed phase (algo.seed_steps, here {self.seed_steps:,}); "
                "raise steps"
            )
        if not can_sample:
            return (
                f"in {self.transitions:,} transitions no episode of at least {self._shortest_episode} steps has ended; "
                "lower algo.sequence (null: planner.horizon), or, if episodes do not end, give the environment a time limit"
            )
        return "the run ended before the first update was due; raise steps or algo.update_to_data"

    def _lose_patience(self, new: int) -> None:
        """Warn once that no sequence to learn from has come; ``new`` transitions were counted last."""
        patience = PATIENCE * (self.seed_steps + self._num_envs)
        if self.transitions >= patience > self.transitions - new:
            warnings.warn(f"nothing is learned yet: {self.idle_reason(can_sample=False)}", stacklevel=4)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes."""
        return {name: getattr(self, name) for name in SAVED}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        for name in SAVED:
            setattr(self, name, state[name])


class EagerBudget(UpdateBudget):
    """Count for an agent that can act before it has learned: no burst, and updates are due for random steps, too.

    The agent acts right after the random steps. What is due before an episode has ended is made then.
    """

    @property
    def begun(self) -> bool:
        """Whether the random steps are over."""
        return self.transitions >= self.seed_steps

    def add(self, transitions: int, can_sample: bool) -> None:
        """Count new transitions; see :meth:`UpdateBudget.add`."""
        self.transitions += transitions
        self.pending += self.update_to_data * transitions
