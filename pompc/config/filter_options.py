"""Options of the safety filter, which every agent takes. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from pompc.config.options import NonNegativeFloat, NonNegativeInt, Options, PositiveInt
from pompc.errors import UserError


@dataclass(frozen=True, kw_only=True)
class FilterConfig(Options):
    """The predictive safety filter between the agent and the environment.

    Attributes:
        enabled: correct actions after which no manoeuvre to safety is known. The environment needs an explicit model with
            margins and a braking manoeuvre.
        horizon: model steps within which a manoeuvre must reach a state at rest.
        samples: random manoeuvres around the last certified one, beside the fixed candidates.
        tighten: margin to keep in the prediction, in metres or units of the task, against errors of the model.
        train: also correct actions while collecting. The policy learns from its own proposal. False: the filter acts in
            evaluations only, unknown to the policy.
    """

    section = "filter"

    enabled: bool = False
    horizon: PositiveInt = 20
    samples: NonNegativeInt = 32
    tighten: NonNegativeFloat = 0.0
    train: bool = False

    def require_effect(self) -> None:
        """Refuse options of an agent's filter that is off.

        Raises:
            UserError: one of them is given.
        """
        if not self.enabled and (self.train or self.tighten):
            key = "train" if self.train else "tighten"
            raise UserError(f"filter.{key} has no effect without filter.enabled=true: add it")
