"""The shared batched planner. Usable alone: it knows nothing of learning."""

from pompc.planner.mppi import MPPI, MPPIConfig
from pompc.planner.plan import Plan

__all__ = ["MPPI", "MPPIConfig", "Plan"]
