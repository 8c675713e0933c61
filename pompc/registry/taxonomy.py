"""The ways in which planning and learning are combined, after a survey (Reiter et al. 2025, arXiv 2502.02133)."""

from __future__ import annotations

from dataclasses import dataclass

WAYS = {
    "aligned": "planner in the deployed policy, its parts learned to fit the task (aligned learning)",
    "closed_loop": "planner in the deployed policy, tuned for the return (closed-loop learning)",
    "expert": "planner as an expert actor for a policy",
    "preprocessing": "planner before the policy",
    "postprocessing": "planner after the policy",
    "baseline": "baselines",
}
"""Headings of ``pompc list`` by the way that an entry names, in their order."""
ARCHITECTURES = ("parameterised", "parallel", "hierarchical", "integrated", "algorithmic")
"""How a network and a planner are connected.

The network gives constant parameters (parameterised), corrects the plan's result (parallel), gives parameters that depend
on the state (hierarchical), is evaluated inside the plan (integrated), or guides the search for the plan (algorithmic).
"""


@dataclass(frozen=True)
class Component:
    """A part that is an option of many algorithms.

    Attributes:
        description: one line.
        way: see :data:`WAYS`.
        page: name of its page in docs/ without the suffix.
        paper: the publication, in short.
        architecture: see :data:`ARCHITECTURES`; ``None`` for a part without a network.
    """

    description: str
    way: str
    page: str
    paper: str | None = None
    architecture: str | None = None


COMPONENTS: dict[str, Component] = {
    "algo.model=residual": Component(
        "a network learns the error of the explicit model",
        way="aligned",
        page="residual",
        paper="Salzmann et al. 2023",
        architecture="integrated",
    ),
    "algo.margins=learned": Component(
        "a classifier of the agent's violations is a constraint of the planner",
        way="aligned",
        page="learned_margin",
        paper="Jacquet & Alexis 2024",
        architecture="integrated",
    ),
    "filter.enabled=true": Component(
        "the predictive safety filter: an action passes if a manoeuvre to safety follows it, else the nearest that has one",
        way="postprocessing",
        page="filter",
        paper="Wabersich and Zeilinger 2021",
    ),
}
"""Components by the ``key=value`` that switches them on."""
