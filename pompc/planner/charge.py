"""What a plan charges its samples: the task's costs, risk, the cost of change, and constraints; and what it returns."""

from __future__ import annotations

from torch import Tensor

from pompc.models.protocols import TerminalValue
from pompc.planner.change import ChangeCost
from pompc.planner.config import MPPIConfig
from pompc.planner.constraints import Hard, Scored
from pompc.planner.inputs import Inputs, Probe
from pompc.planner.plan import Plan
from pompc.planner.risk import Rollouts
from pompc.planner.scoring import Scorer
from pompc.planner.temperature import Temperature
from pompc.planner.weights import effective_sample_size, soft_value


class Charge:
    """Charge samples: one scorer, and what the options add to it.

    Args:
        config: options of the planner.
        scorer: rolls samples out and sums their costs.
        members: rollouts of every sample in the scorer: the members of an ensemble of dynamics.

    Attributes:
        scorer: rolls samples out and sums their costs.
        hard: drops samples that break a constraint; ``None`` if none are dropped.
        steps: steps of the dynamics so far.
    """

    def __init__(self, config: MPPIConfig, scorer: Scorer, members: int = 1) -> None:
        self.scorer = scorer
        self._score = Rollouts(config, scorer) if config.num_rollouts > 1 else scorer
        self._change = ChangeCost(config) if config.change_cost else None
        self._num_rollouts = config.num_rollouts * members
        self.hard = Hard(config) if config.hard else None
        self.steps = 0

    def __call__(
        self,
        given: Inputs,
        actions: Tensor,
        terminal_value: TerminalValue | None,
        probe: Probe | None,
        margins: bool,
        states: bool,
    ) -> Scored:
        """Charge the samples ``actions [batch, candidate, sample, horizon, action]``; see :meth:`Scorer.__call__`."""
        scored = self._score(given, actions, terminal_value, probe, margins, states)
        self.steps += actions[..., 0].numel() * self._num_rollouts
        scored = scored if self._change is None else self._change(scored, actions, given)
        return scored if self.hard is None else self.hard.drop(scored)

    def executable(
        self, given: Inputs, mean: Tensor, actions: Tensor, scored: Scored, terminal_value: TerminalValue | None
    ) -> Tensor:
        """Replace a mean ``[batch, candidate, horizon, action]`` that breaks a hard constraint: :meth:`Hard.executable`."""
        if self.hard is None:
            return mean
        alone = self._score(given, mean.unsqueeze(2), terminal_value, None, states=False)
        self.steps += mean[..., 0].numel() * self._num_rollouts
        return self.hard.executable(mean, alone, actions, scored)


def finished(
    mean: Tensor,
    std: Tensor,
    actions: Tensor,
    scored: Scored,
    weights: Tensor,
    log_ratio: Tensor | None,
    temperature: Temperature,
) -> Plan:
    """Put a plan together from its last iteration; shapes as in :class:`Plan`."""
    found = temperature(scored.costs, log_ratio)
    return Plan(
        mean=mean,
        std=std,
        actions=actions,
        states=scored.states,
        costs=scored.costs,
        weights=weights,
        soft_value=soft_value(scored.costs, found, log_ratio),
        effective_samples=effective_sample_size(weights),
        margin=scored.margin,
        temperature=found.squeeze(-1) if isinstance(found, Tensor) else None,
        batch_size=mean.shape[:2],
    )
