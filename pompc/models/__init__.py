"""What a planner rolls out."""

from pompc.models.functions import FunctionModel
from pompc.models.protocols import Cost, Dynamics, Judge, TaskModel, TerminalValue, Terminating

__all__ = ["Cost", "Dynamics", "FunctionModel", "Judge", "TaskModel", "TerminalValue", "Terminating"]
