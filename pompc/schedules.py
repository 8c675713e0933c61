"""Schedules of a dial: constant, decaying, driven by what an agent measures, or from one value to another.

The rule of adaptive hierarchical RL-MPC (arXiv 2512.17091) is published in words only. The smoothed ensemble variance
sets the rate at which the virtual-data ratio decays. High uncertainty slows the decay. The ratio goes to zero, so learning
is asymptotically unbiased. The formulas below are this project's; ``inv`` is the default, ``auto`` has no setting to tune.
"""

from __future__ import annotations

import math

from pompc.dial import Dial, ScheduleConfig
from pompc.errors import UserError
from pompc.least_error import LeastError
from pompc.term_dials import LEAST, BalancedGradients, HeldDivergence

Setting = float | ScheduleConfig
"""The value of a dial's option: a constant, or options of a schedule."""


class Exponential(Dial):
    """Decay exponentially, whatever the uncertainty."""

    leaves_infinity = False

    def next_value(self, ticks: int) -> float:
        """Return ``value * decay^ticks``."""
        return self.value * self.config.decay**ticks


class InverseUncertainty(Dial):
    """Decay more slowly under uncertainty: the exponent falls from 1 to 0 as the relative variance grows.

    With ``ubar <= U`` the value is at most ``initial * decay^(k / (1 + kappa U))``, so with bounded variance it vanishes
    geometrically.
    """

    uses_uncertainty, leaves_infinity = True, False

    def next_value(self, ticks: int) -> float:
        """Return ``value * decay^(ticks / (1 + kappa * ubar))``."""
        return self.value * self.config.decay ** (ticks / (1 + self.config.kappa * self.uncertainty))


class RatioToMaximum(Dial):
    """Decay more slowly the nearer the uncertainty is to its running maximum, at most 20 times more slowly."""

    uses_uncertainty, leaves_infinity = True, False

    def next_value(self, ticks: int) -> float:
        """Return ``value * decay^(ticks (1 - min(ubar / max ubar, 0.95)))``."""
        return self.value * self.config.decay ** (ticks * (1 - min(self.relative, 0.95)))


class ProportionalToDeviation(Dial):
    """Stay proportional to the ensemble's standard deviation."""

    uses_uncertainty, leaves_infinity = True, False

    def next_value(self, ticks: int) -> float:
        """Return ``initial * min(1, sqrt(ubar / max ubar))``."""
        return self.config.initial * min(1.0, math.sqrt(self.relative))


class Linear(Dial):
    """Go from ``initial`` to ``to`` in equal steps, up or down."""

    rises, leaves_infinity = True, False

    def next_value(self, ticks: int) -> float:
        """Return ``initial + (to - initial) * min(time / over, 1)``."""
        share = min(self.time / self.config.over, 1.0)
        return (1 - share) * self.config.initial + share * self.config.to


class Switch(Dial):
    """Stay at ``initial`` for ``over`` ticks and at ``to`` from then on; either may be infinite."""

    rises = True

    def next_value(self, ticks: int) -> float:
        """Return ``initial`` before tick ``over``, and ``to`` from then on."""
        return self.config.initial if self.time < self.config.over else self.config.to


SCHEDULES: dict[str, type[Dial]] = {
    "fixed": Dial,
    "exp": Exponential,
    "inv": InverseUncertainty,
    "ratio": RatioToMaximum,
    "prop": ProportionalToDeviation,
    "linear": Linear,
    "switch": Switch,
    "auto": LeastError,
    "balance": BalancedGradients,
    "dual": HeldDivergence,
}
"""Dials by the name that their option ``schedule`` takes."""


def make_dial(setting: Setting) -> Dial:
    """Make a dial from the value of its option; a number is a constant."""
    config = (
        setting if isinstance(setting, ScheduleConfig) else ScheduleConfig(schedule="fixed", initial=float(setting))
    )
    return SCHEDULES[config.schedule](config)


def highest_value(setting: Setting) -> float:
    """Return the largest value that a setting ever gives its dial."""
    if not isinstance(setting, ScheduleConfig):
        return float(setting)
    kind = SCHEDULES[setting.schedule]
    return max(setting.initial, setting.to if kind.rises else 0.0, kind.ceiling(setting))


def asks_uncertainty(setting: Setting) -> bool:
    """Tell whether a setting moves its dial by uncertainty."""
    return isinstance(setting, ScheduleConfig) and SCHEDULES[setting.schedule].uses_uncertainty


def asks_bias(setting: Setting) -> bool:
    """Tell whether a setting moves its dial by the bias of virtual targets."""
    return isinstance(setting, ScheduleConfig) and SCHEDULES[setting.schedule].uses_bias


def check_setting(
    name: str,
    setting: Setting,
    highest: float = math.inf,
    *,
    measures_bias: bool = False,
    measures_terms: bool = False,
) -> None:
    """Check the numbers of a dial's setting against each other and against the dial's range.

    Args:
        name: the dial's key, for messages.
        setting: a number, or options of a schedule.
        highest: largest allowed value.
        measures_bias: whether the agent measures the bias that a schedule may follow.
        measures_terms: whether the agent measures the terms of the policy's loss that a schedule may follow.

    Raises:
        UserError: a value is out of range, or infinite although the schedule moves it gradually, or the schedule follows
            a bias or terms that nothing measures.
    """
    if not isinstance(setting, ScheduleConfig):
        return
    config = setting
    kind = SCHEDULES[config.schedule]
    if kind.uses_bias and not measures_bias:
        raise UserError(
            f"{name}.schedule={config.schedule} follows the bias of virtual targets, which is measured for the "
            f"virtual_ratio of on-policy agents with a planner alone: give another {name}.schedule"
        )
    if kind.uses_terms and not measures_terms:
        raise UserError(
            f"{name}.schedule={config.schedule} follows the gradients or the divergence of the policy's loss, which are "
            f"measured for the kl_weight of off-policy agents alone: give another {name}.schedule"
        )
    for option, value in (("initial", config.initial), ("to", config.to), ("maximum", kind.ceiling(config))):
        if value > highest:
            raise UserError(f"{name}.{option} must lie in [0, {highest:g}], not {value}")
    if kind.uses_terms and config.initial < LEAST:
        raise UserError(
            f"{name}.initial={config.initial} with {name}.schedule={config.schedule}: at zero the terms are not measured, "
            f"and it would stay there; give {LEAST:g} or more"
        )
    if config.minimum > config.initial:
        raise UserError(f"{name}.minimum={config.minimum} must not exceed {name}.initial={config.initial}")
    if kind.default_maximum is not None and kind.ceiling(config) < config.initial:
        raise UserError(f"{name}.maximum={kind.ceiling(config)} must not lie below {name}.initial={config.initial}")
    if not kind.leaves_infinity and math.isinf(max(config.initial, config.to)):
        raise UserError(
            f"{name}.initial and {name}.to must be finite with {name}.schedule={config.schedule}; only "
            f"{name}.schedule=switch takes .inf"
        )
