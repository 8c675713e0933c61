"""Options of values that also learn from the planner's rollouts, on policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pompc.config.options import PositiveInt, Share
from pompc.onpolicy.config import OnPolicyConfig


@dataclass(frozen=True, kw_only=True)
class VirtualDataConfig(OnPolicyConfig):
    """Options of :class:`~pompc.onpolicy.virtual_agent.VirtualDataAgent` beside those of on-policy learning.

    Attributes:
        virtual_count: rollouts per candidate, of the sources that resample them by weight.
        virtual_rollouts: rollouts that one update adds to the virtual buffer, at most. All that the buffer holds become
            targets.
        virtual_window: updates that a virtual rollout is kept for; 1 empties the buffer after every update.
        mix: ``loss`` (a virtual minibatch weighs rho) or ``sampling`` (a share rho of every value minibatch).
        virtual_weight: weight of a virtual transition in that minibatch: ``news`` (what its target says beyond the value
            function, in units of a real target) or ``equal``.
        virtual_gae_lambda: lambda of the virtual targets; null: ``gae_lambda``.
    """

    measures_bias: ClassVar[bool] = True

    virtual_count: PositiveInt = 2
    virtual_rollouts: PositiveInt = 2048
    virtual_window: PositiveInt = 1
    mix: Literal["loss", "sampling"] = "loss"
    virtual_weight: Literal["news", "equal"] = "news"
    virtual_gae_lambda: Share | None = None
