"""Models that a planner rolls out. The sizes of the learned model import without torch."""

from typing import TYPE_CHECKING

from pompc.system.lazy import lazy

if TYPE_CHECKING:
    from pompc.models.functions import FunctionCost, FunctionModel
    from pompc.models.known import KnownModel
    from pompc.models.protocols import (
        Constrained,
        Cost,
        Dynamics,
        Judge,
        LastAction,
        Model,
        Safe,
        TaskModel,
        TerminalValue,
        Terminating,
    )
    from pompc.models.rollout import rollout_policy
    from pompc.models.timed import TimedModel

__all__ = [
    "Constrained",
    "Cost",
    "Dynamics",
    "FunctionCost",
    "FunctionModel",
    "Judge",
    "KnownModel",
    "LastAction",
    "Model",
    "Safe",
    "TaskModel",
    "TerminalValue",
    "Terminating",
    "TimedModel",
    "rollout_policy",
]

__getattr__ = lazy(
    __name__,
    {
        "FunctionCost": "pompc.models.functions",
        "FunctionModel": "pompc.models.functions",
        "KnownModel": "pompc.models.known",
        "TimedModel": "pompc.models.timed",
        "rollout_policy": "pompc.models.rollout",
        **dict.fromkeys(
            (
                "Constrained",
                "Cost",
                "Dynamics",
                "Judge",
                "LastAction",
                "Model",
                "Safe",
                "TaskModel",
                "TerminalValue",
                "Terminating",
            ),
            "pompc.models.protocols",
        ),
    },
)
