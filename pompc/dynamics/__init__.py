"""What a planner rolls out."""

from pompc.dynamics.functions import FunctionModel
from pompc.dynamics.protocols import Cost, Dynamics, Judge, TaskModel, TerminalValue, Terminating

__all__ = ["Cost", "Dynamics", "FunctionModel", "Judge", "TaskModel", "TerminalValue", "Terminating"]
