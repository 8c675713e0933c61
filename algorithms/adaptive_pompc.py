"""Adaptive PO-MPC: PO-MPC whose values also learn from the planner's own rollouts, the less the surer they are.

No paper has it: it is this project's, and what the two dials suggest. The policy is PO-MPC's (lambda = 1); a share rho of
the value loss is on virtual targets, the model's return along sequences the planner drew, rolled out anew by today's model
(:mod:`pompc.offpolicy.virtual`). As in adaptive hierarchical RL-MPC, rho decays, more slowly while the value heads
disagree, so that in the end only real transitions count. docs/adaptive_pompc.md has the equations.
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
        random_value_scale: without it, heads that start equal and share data and targets agree most where nothing is known.
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
