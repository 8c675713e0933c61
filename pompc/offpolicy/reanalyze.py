"""Lazy reanalysis: renew stale plans in the replay, a few at a time (BMPC, Wang et al. 2025, section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tensordict import TensorDictBase
from torch import Tensor

if TYPE_CHECKING:
    from pompc.offpolicy.agent import OffPolicyAgent
    from pompc.offpolicy.config import ReanalyzeConfig


class Reanalyzer:
    """Renew the plans of the first sequences of a batch with today's model, in the batch and in the replay.

    Args:
        interval: updates between two reanalyses; 0 never reanalyses.
        sequences: sequences of the batch that are planned again, every step of them; at most all.
        log_std_range: range of the log-std of the policy's proposals.
    """

    def __init__(self, interval: int, sequences: int, log_std_range: tuple[float, float]) -> None:
        self.interval, self.sequences, self.log_std_range = interval, sequences, log_std_range

    @classmethod
    def of(cls, config: ReanalyzeConfig) -> Reanalyzer:
        """Make a reanalyser with the options of an algorithm."""
        log_std_range = (config.reanalyze_log_std_min, config.reanalyze_log_std_max)
        return cls(config.reanalyze_interval, config.reanalyze_sequences, log_std_range)

    def due(self, updates: int) -> bool:
        """Tell whether to reanalyse before the next update, given the number of updates so far."""
        return self.interval > 0 and updates % self.interval == 0

    @torch.no_grad()
    def __call__(self, agent: OffPolicyAgent, batch: TensorDictBase, indices: Tensor) -> None:
        """Renew plans without a warm start, if they are due.

        Args:
            agent: the agent that plans and owns the replay.
            batch: sequences ``[horizon + 1, batch]``; their ``plan_mean`` and ``plan_std`` are replaced.
            indices: slots of the batch in the replay ``[horizon + 1, batch]``.
        """
        if not self.due(agent.updates):
            return
        assert agent.planner is not None
        chosen = (slice(-1), slice(self.sequences))
        state = agent.model.encode(batch["observation"][chosen])
        flat = state.flatten(0, 1)
        plan = agent.planner.plan(
            flat,
            proposals=agent.proposals(flat, self.log_std_range),
            terminal_value=agent.terminal_value(),
            discount=agent.discounts(flat),
            states=False,
        )
        shape = (*state.shape[:2], -1)
        fresh = {"plan_mean": agent.planner.select(plan)[:, 0].view(shape), "plan_std": plan.std[:, 0, 0].view(shape)}
        agent.replay.update(indices[chosen], fresh)
        for name, value in fresh.items():
            batch[name][chosen] = value
