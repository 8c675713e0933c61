"""Several rollouts of every sample, for dynamics, or a first state, that are uncertain; their costs become one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from pompc.errors import NonFiniteError
from pompc.models.protocols import TerminalValue
from pompc.planner.config import MPPIConfig
from pompc.planner.constraints import Scored
from pompc.planner.inputs import Inputs, Probe
from pompc.planner.scoring import Scorer


def mean(costs: Tensor, config: MPPIConfig) -> Tensor:
    """Average ``costs [batch, rollout, candidate, sample]`` over the rollouts."""
    return costs.mean(1)


def mean_and_variance(costs: Tensor, config: MPPIConfig) -> Tensor:
    """Add ``risk_weight`` times the variance over the rollouts to the mean; a sample that may be dropped stays so."""
    found = costs.mean(1)
    return torch.where(found.isinf(), found, found + config.risk_weight * costs.var(1))


def worst(costs: Tensor, config: MPPIConfig) -> Tensor:
    """Take the largest cost of the rollouts."""
    return costs.amax(1)


def conditional_value_at_risk(costs: Tensor, config: MPPIConfig) -> Tensor:
    """Average the share ``risk_share`` of the rollouts with the largest costs, at least one of them (CVaR)."""
    number = max(1, math.ceil(config.risk_share * costs.shape[1] - 1e-9))
    return costs.topk(number, dim=1).values.mean(1)


RISKS: dict[str, Callable[[Tensor, MPPIConfig], Tensor]] = {
    "mean": mean,
    "variance": mean_and_variance,
    "worst": worst,
    "cvar": conditional_value_at_risk,
}
"""How the costs of a sample's rollouts become one, by the name that ``planner.risk`` takes."""


class Rollouts:
    """Roll every sample out several times; use it in the place of a :class:`Scorer`.

    The rollouts are environments to the scorer, so that each may start from its own state and draws its own random numbers
    in ``Dynamics.step``. In a message of an error, environment ``e`` is rollout ``e % num_rollouts`` of environment
    ``e // num_rollouts``.

    Args:
        config: options of the planner.
        scorer: rolls one batch of environments out.
    """

    def __init__(self, config: MPPIConfig, scorer: Scorer) -> None:
        self._config, self._scorer = config, scorer
        self._risk = RISKS[config.risk]

    def __call__(
        self,
        given: Inputs,
        actions: Tensor,
        terminal_value: TerminalValue | None,
        probe: Probe | None,
        margins: bool = False,
        states: bool = True,
    ) -> Scored:
        """See :meth:`Scorer.__call__`.

        Returns:
            States of the first rollout of every sample, the costs by ``planner.risk``, the least margin of the rollouts and
            their mean violation.

        Raises:
            NonFiniteError: as of :meth:`Scorer.__call__`, or every sample has a rollout whose cost is not finite.
        """
        number = self._config.num_rollouts
        state = given.state.flatten(0, 1) if given.state.ndim == 3 else given.state.repeat_interleave(number, 0)
        repeated = {
            name: None if value is None else value.repeat_interleave(number, 0)
            for name, value in (("parameters", given.parameters), ("discount", given.discount))
        }
        many = replace(given, state=state, **repeated)
        scored = self._scorer(many, actions.repeat_interleave(number, 0), terminal_value, probe, margins, states)
        costs = self._risk(scored.costs.unflatten(0, (-1, number)), self._config)
        if self._config.drop_nonfinite:
            require_sample(costs, "every sample has a rollout that fails")
        margin, violation = (
            None if value is None else value.unflatten(0, (-1, number)) for value in (scored.margin, scored.violation)
        )
        return Scored(
            states=None if scored.states is None else scored.states[::number],
            costs=costs,
            weighed=costs,
            margin=None if margin is None else margin.amin(1),
            violation=None if violation is None else violation.mean(1),
        )


def require_sample(costs: Tensor, otherwise: str) -> None:
    """Require that no candidate has lost all its samples.

    Args:
        costs: infinite for a dropped sample ``[batch, candidate, sample]``.
        otherwise: why samples are dropped, for the error.

    Raises:
        NonFiniteError: all samples of a candidate are dropped.
    """
    lacking = (~costs.isfinite().any(-1)).nonzero()
    if len(lacking):
        batch, candidate = lacking[0].tolist()
        raise NonFiniteError("planner cost", f"environment {batch}, candidate {candidate}: {otherwise}")
