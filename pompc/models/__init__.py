"""What a planner rolls out. The sizes of the learned model import without torch."""

from typing import TYPE_CHECKING

from pompc.system.lazy import lazy

if TYPE_CHECKING:
    from pompc.models.functions import FunctionModel
    from pompc.models.protocols import Cost, Dynamics, Judge, TaskModel, TerminalValue, Terminating

__all__ = ["Cost", "Dynamics", "FunctionModel", "Judge", "TaskModel", "TerminalValue", "Terminating"]

__getattr__ = lazy(
    __name__,
    {
        "FunctionModel": "pompc.models.functions",
        **dict.fromkeys(
            ("Cost", "Dynamics", "Judge", "TaskModel", "TerminalValue", "Terminating"), "pompc.models.protocols"
        ),
    },
)
