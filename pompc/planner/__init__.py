"""The shared batched planner. Usable alone: it knows nothing of learning."""

from pompc.planner.config import MPPIConfig
from pompc.planner.mppi import MPPI
from pompc.planner.plan import Plan

__all__ = ["MPPI", "MPPIConfig", "Plan"]
