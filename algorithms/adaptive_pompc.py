"""Adaptive PO-MPC: PO-MPC whose values also learn from the planner's own rollouts while they are uncertain.

The algorithm is this project's; no paper has it. The policy is PO-MPC's (lambda = 1). A share rho of the value loss is on
virtual targets: today's model rolls the planner's sequences out again and sums their return
(:mod:`pompc.offpolicy.virtual`). As in adaptive hierarchical RL-MPC, rho decays, more slowly while the value heads
disagree. In the end only real transitions count. docs/adaptive_pompc.md has the equations.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pompc.dials import VirtualRatio
from pompc.schedules import ScheduleConfig

from .pompc import POMPC, POMPCConfig


@dataclass(frozen=True, kw_only=True)
class AdaptivePOMPCConfig(POMPCConfig):
    """Options of :class:`AdaptivePOMPC`: those of PO-MPC, with a share of virtual data that decays.

    Attributes:
        virtual_ratio: rho; one update decays it by a factor of ``decay`` when the heads agree.
        random_value_scale: scale of the random networks. Without them the heads start equal and agree most without data.
    """

    virtual_ratio: VirtualRatio = field(
        default_factory=lambda: ScheduleConfig(schedule="inv", initial=0.3, decay=0.9999, ema=0.99)
    )
    random_value_scale: float = 1.0


class AdaptivePOMPC(POMPC):
    """PO-MPC with annealed virtual value targets.

    Args:
        config: options.
        problem: the environment.
    """

    Config = AdaptivePOMPCConfig
