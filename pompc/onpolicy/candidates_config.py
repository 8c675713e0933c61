"""Options of several high-level actions per step, and of what is learned from those that are not executed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pompc.config.options import PositiveInt
from pompc.errors import UserError
from pompc.onpolicy.virtual_config import VirtualDataConfig
from pompc.schedules import highest_value

VirtualSourceName = Literal["all", "others_plus_rest", "weighted", "nominal", "executed"]
OF_ONE_CANDIDATE = ("executed",)
"""Sources of virtual data that need no other candidate than the executed one."""


@dataclass(frozen=True, kw_only=True)
class CandidatesConfig(VirtualDataConfig):
    """Options of candidates beside those of on-policy learning.

    Attributes:
        candidates: high-level actions per step, ``M``. One is executed, the others give virtual data; a single one needs
            ``virtual_ratio`` 0 or ``virtual_source`` ``executed``.
        selector: ``uniform`` (the paper's), ``argmin_cost`` or ``softmax_value``.
        virtual_source: rollouts that become virtual data: ``all``, ``others_plus_rest``, ``weighted`` or ``nominal`` of
            the other candidates, or ``executed``.
        virtual_policy: also use the first step of the other candidates in the policy loss, weighted by rho.
    """

    candidates: PositiveInt = 4
    selector: Literal["uniform", "argmin_cost", "softmax_value"] = "uniform"
    virtual_source: VirtualSourceName = "weighted"
    virtual_policy: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.candidates == 1:
            self._require_no_others()

    @property
    def uses_returns(self) -> dict[str, bool]:
        """Which options compare candidates by their model returns, by key."""
        return {
            "kl_weight": highest_value(self.kl_weight) > 0,
            "algo.virtual_policy": self.virtual_policy,
            "algo.selector": self.selector == "softmax_value",
        }

    def _require_no_others(self) -> None:
        """Refuse options that need a candidate beside the executed one."""
        if highest_value(self.virtual_ratio) > 0 and self.virtual_source not in OF_ONE_CANDIDATE:
            raise UserError(
                f"algo.candidates=1 leaves algo.virtual_source={self.virtual_source} no rollouts: take "
                "algo.virtual_source=executed, virtual_ratio=0 or more candidates"
            )
        compares = {**self.uses_returns, "algo.selector": self.selector != "uniform"}
        key = next((key for key, used in compares.items() if used), None)
        if key is not None:
            raise UserError(f"algo.candidates=1: {key} compares candidates, leave it out or take at least 2 of them")
