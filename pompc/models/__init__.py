"""Models that a planner rolls out. The sizes of the learned model import without torch."""

from typing import TYPE_CHECKING

from pompc.system.lazy import lazy

if TYPE_CHECKING:
    from pompc.models.functions import FunctionCost, FunctionModel
    from pompc.models.known import KnownModel
    from pompc.models.mujoco_dynamics import MujocoDynamics
    from pompc.models.protocols import (
        Constrained,
        Cost,
        Dynamics,
        Judge,
        LastAction,
        Model,
        PlannerLayer,
        Safe,
        Simulator,
        TaskModel,
        TerminalValue,
        Terminating,
    )
    from pompc.models.rollout import rollout_policy
    from pompc.models.simulators import NumpyCost, NumpyDynamics, NumpySimulator
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
    "MujocoDynamics",
    "NumpyCost",
    "NumpyDynamics",
    "NumpySimulator",
    "PlannerLayer",
    "Safe",
    "Simulator",
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
        "MujocoDynamics": "pompc.models.mujoco_dynamics",
        "TimedModel": "pompc.models.timed",
        **dict.fromkeys(("NumpyCost", "NumpyDynamics", "NumpySimulator"), "pompc.models.simulators"),
        "rollout_policy": "pompc.models.rollout",
        **dict.fromkeys(
            (
                "Constrained",
                "Cost",
                "Dynamics",
                "Judge",
                "LastAction",
                "Model",
                "PlannerLayer",
                "Safe",
                "Simulator",
                "TaskModel",
                "TerminalValue",
                "Terminating",
            ),
            "pompc.models.protocols",
        ),
    },
)
