"""Models that a planner rolls out. The sizes of the learned model import without torch."""

from typing import TYPE_CHECKING

from pompc.system.lazy import lazy

if TYPE_CHECKING:
    from pompc.models.functions import FunctionModel
    from pompc.models.known import KnownModel
    from pompc.models.protocols import (
        Constrained,
        Cost,
        Dynamics,
        Judge,
        Model,
        PlannerLayer,
        Safe,
        TaskModel,
        TerminalValue,
        Terminating,
    )
    from pompc.models.rollout import rollout_policy

__all__ = [
    "Constrained",
    "Cost",
    "Dynamics",
    "FunctionModel",
    "Judge",
    "KnownModel",
    "Model",
    "PlannerLayer",
    "Safe",
    "TaskModel",
    "TerminalValue",
    "Terminating",
    "rollout_policy",
]

__getattr__ = lazy(
    __name__,
    {
        "FunctionModel": "pompc.models.functions",
        "KnownModel": "pompc.models.known",
        "rollout_policy": "pompc.models.rollout",
        **dict.fromkeys(
            (
                "Constrained",
                "Cost",
                "Dynamics",
                "Judge",
                "Model",
                "PlannerLayer",
                "Safe",
                "TaskModel",
                "TerminalValue",
                "Terminating",
            ),
            "pompc.models.protocols",
        ),
    },
)
