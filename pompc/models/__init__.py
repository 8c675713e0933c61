"""What a planner rolls out."""

from pompc.models.functions import FunctionModel
from pompc.models.known import KnownModel
from pompc.models.protocols import Cost, Dynamics, Judge, Model, TaskModel, TerminalValue, Terminating
from pompc.models.rollout import rollout_policy

__all__ = [
    "Cost",
    "Dynamics",
    "FunctionModel",
    "Judge",
    "KnownModel",
    "Model",
    "TaskModel",
    "TerminalValue",
    "Terminating",
    "rollout_policy",
]
