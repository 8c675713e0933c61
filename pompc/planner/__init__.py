"""The shared batched planner. It knows nothing of learning and works alone. Its options import without torch."""

from typing import TYPE_CHECKING

from pompc.planner.config import MPPIConfig
from pompc.system.lazy import lazy

if TYPE_CHECKING:
    from pompc.planner.mppi import MPPI
    from pompc.planner.plan import Callback, Iteration, Plan
    from pompc.planner.realtime import Controller, Deadline

__all__ = ["MPPI", "Callback", "Controller", "Deadline", "Iteration", "MPPIConfig", "Plan"]

__getattr__ = lazy(
    __name__,
    {
        "MPPI": "pompc.planner.mppi",
        **dict.fromkeys(("Controller", "Deadline"), "pompc.planner.realtime"),
        **dict.fromkeys(("Callback", "Iteration", "Plan"), "pompc.planner.plan"),
    },
)
