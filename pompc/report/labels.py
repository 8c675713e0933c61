"""Short names of the columns of an evaluation, for axes and sentences."""

from __future__ import annotations

LABELS = {
    "reward": "return",
    "success": "success rate",
    "cost": "cost per episode",
    "length": "episode length",
    "policy_reward": "return of the bare policy",
    "policy_gap": "return of the planner minus the policy's",
    "planner_kl": "divergence of the policy from the planner",
    "value_error": "value minus Monte-Carlo return",
}


def label(metric: str) -> str:
    """Name a column of an evaluation; one without a short name keeps its own."""
    return LABELS.get(metric, metric.replace("_", " "))
