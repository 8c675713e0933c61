"""What a planner rolls out."""

from pompc.dynamics.functions import FunctionModel
from pompc.dynamics.protocols import Cost, Dynamics, TaskModel, TerminalValue, Terminating

__all__ = ["Cost", "Dynamics", "FunctionModel", "TaskModel", "TerminalValue", "Terminating"]
