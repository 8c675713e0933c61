"""What the safety filter did, for the rows of metrics.csv and the episodes of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pompc.filter import FILTERED, SafetyFilter

MEANS = ("corrected", "feasible", "correction")
"""Entries of a filtered step that are averaged; of ``margin`` the least counts."""
QUANTILE = 0.95  # of the errors of the model in an episode


def filter_statistics(batches: Sequence[TensorDictBase]) -> dict[str, float]:
    """Summarise what the filter did while collecting; empty if it did not act.

    Args:
        batches: transitions ``[num_envs, time]``.

    Returns:
        ``corrected`` and ``feasible`` (shares of steps), ``correction`` (mean distance of the action from the proposed one)
        and ``margin`` (the least of all certified manoeuvres).
    """
    found = [batch[FILTERED] for batch in batches if FILTERED in batch.keys()]  # noqa: SIM118 - a TensorDict
    if not found:
        return {}
    entries = torch.cat(found, dim=1)
    row = {name: entries[name].double().mean().item() for name in MEANS}
    return {**row, "margin": entries["margin"].min().item()}


class FilteredEpisodes:
    """Collect what the filter did in the episodes of an evaluation.

    Args:
        safety_filter: the agent's filter.
    """

    def __init__(self, safety_filter: SafetyFilter) -> None:
        self._filter = safety_filter
        self._steps: list[dict[str, Tensor]] = []

    def add(self, stepped: TensorDictBase) -> None:
        """Add a step of all environments ``[num_envs]``."""
        entries = {name: stepped[FILTERED, name].view(-1).double().cpu() for name in (*MEANS, "margin")}
        self._steps.append({**entries, "margin_error": self._filter.margin_error(stepped).double().cpu()})

    def of(self, env: int) -> dict[str, float]:
        """Summarise the steps of an environment so far, which is in its first episode.

        Returns:
            The entries of :func:`filter_statistics`, and ``margin_error``: the 0.95 quantile over steps of what the model
            promised too much of a margin in one step.
        """
        series = {name: torch.stack([step[name][env] for step in self._steps]) for name in self._steps[0]}
        row = {name: series[name].mean().item() for name in MEANS}
        error = series["margin_error"].quantile(QUANTILE).item()
        return {**row, "margin": series["margin"].min().item(), "margin_error": error}
