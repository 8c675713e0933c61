"""Schedules for the two dials: constant, decaying, or driven by the disagreement of a value ensemble.

The published rule of adaptive hierarchical RL-MPC (arXiv 2512.17091) is known in words only: the smoothed ensemble
variance sets the rate at which the virtual-data ratio decays, high uncertainty slows it, and the ratio goes to zero so
that learning is asymptotically unbiased. The formulas below are this project's; ``inv`` is the default.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pompc.config.options import Options
from pompc.errors import NonFiniteError, UserError


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(Options):
    """Options of a :class:`Schedule`.

    Attributes:
        schedule: ``fixed``, ``exp``, ``inv``, ``ratio`` or ``prop``.
        initial: value before the first update.
        decay: factor per update at zero uncertainty; 1 keeps the value. The latent family makes an update per step, the
            on-policy algorithms one per batch.
        minimum: the value never falls below this; at most ``initial``.
        ema: smoothing of the uncertainty, in [0, 1).
        kappa: how strongly ``inv`` slows the decay under uncertainty.
    """

    plain_number = "initial"

    schedule: str = "inv"
    initial: float = 0.3
    decay: float = 0.98
    minimum: float = 0.0
    ema: float = 0.9
    kappa: float = 10.0


def start_of(dial: float | ScheduleConfig) -> float:
    """The largest value that a dial's config field gives it: the number, or where its schedule begins."""
    return dial.initial if isinstance(dial, ScheduleConfig) else float(dial)


def asks_ensemble(dial: float | ScheduleConfig) -> bool:
    """Whether the dial moves by the disagreement of the value heads."""
    return isinstance(dial, ScheduleConfig) and dial.schedule in BY_UNCERTAINTY


def require_ensemble(*dials: float | ScheduleConfig, heads: int, key: str) -> None:
    """Where a dial moves by the disagreement of the value heads, there are some.

    Args:
        dials: config fields.
        heads: value heads.
        key: where their number is set.

    Raises:
        UserError: there is one, which never disagrees.
    """
    if heads < 2 and any(map(asks_ensemble, dials)):
        raise UserError(f"{key}={heads}: a dial that moves by the disagreement of value heads needs at least 2 of them")


class Schedule:
    """A dial's value over learning updates; this class keeps it fixed.

    Args:
        config: options.

    Attributes:
        value: the dial now.
        uncertainty: smoothed uncertainty ``ubar``; nan before the first update.
    """

    def __init__(self, config: ScheduleConfig) -> None:
        self.config = config
        self.value = config.initial
        self.uncertainty = math.nan
        self.largest = 0.0

    def update(self, uncertainty: float) -> None:
        """Advance by one learning update.

        Args:
            uncertainty: relative ensemble variance, at least 0 (see :func:`pompc.networks.ensembles.relative_variance`).

        Raises:
            NonFiniteError: the uncertainty is not finite.
        """
        if not math.isfinite(uncertainty):
            raise NonFiniteError("ensemble uncertainty")
        beta = 0.0 if math.isnan(self.uncertainty) else self.config.ema
        previous = 0.0 if math.isnan(self.uncertainty) else self.uncertainty
        self.uncertainty = beta * previous + (1 - beta) * uncertainty
        self.largest = max(self.largest, self.uncertainty)
        self.value = max(self.config.minimum, self.next_value())

    def next_value(self) -> float:
        """The value after this update, before the floor."""
        return self.value

    @property
    def fixed(self) -> bool:
        """Whether the value never changes."""
        return type(self) is Schedule

    @property
    def relative(self) -> float:
        """Smoothed uncertainty as a share of its running maximum, in [0, 1]."""
        return self.uncertainty / self.largest if self.largest > 0 else 0.0

    def state_dict(self) -> dict[str, float]:
        """Everything that changes."""
        return {"value": self.value, "uncertainty": self.uncertainty, "largest": self.largest}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.value, self.uncertainty, self.largest = state["value"], state["uncertainty"], state["largest"]


class Exponential(Schedule):
    """Plain exponential decay, blind to the uncertainty."""

    def next_value(self) -> float:
        """``value * decay``."""
        return self.value * self.config.decay


class InverseUncertainty(Schedule):
    """Decay slowed by uncertainty: the exponent falls from 1 to 0 as the relative variance grows.

    With ``ubar <= U`` the value is at most ``initial * decay^(k / (1 + kappa U))``, so bounded variance is enough for it to
    vanish geometrically.
    """

    def next_value(self) -> float:
        """``value * decay^(1 / (1 + kappa * ubar))``."""
        return self.value * self.config.decay ** (1 / (1 + self.config.kappa * self.uncertainty))


class RatioToMaximum(Schedule):
    """Decay slowed by the share of the uncertainty in its running maximum, at most 20 times."""

    def next_value(self) -> float:
        """``value * decay^(1 - min(ubar / max ubar, 0.95))``."""
        return self.value * self.config.decay ** (1 - min(self.relative, 0.95))


class ProportionalToDeviation(Schedule):
    """The value follows the ensemble's standard deviation."""

    def next_value(self) -> float:
        """``initial * min(1, sqrt(ubar / max ubar))``."""
        return self.config.initial * min(1.0, math.sqrt(self.relative))


SCHEDULES: dict[str, type[Schedule]] = {
    "fixed": Schedule,
    "exp": Exponential,
    "inv": InverseUncertainty,
    "ratio": RatioToMaximum,
    "prop": ProportionalToDeviation,
}
"""Schedules by the name that ``virtual_ratio.schedule`` and ``kl_weight.schedule`` take."""


BY_UNCERTAINTY = ("inv", "ratio", "prop")


def make_schedule(dial: float | ScheduleConfig, *, name: str, highest: float = math.inf) -> Schedule:
    """A schedule from what a dial's config field holds: a number is a constant.

    Args:
        dial: number or options.
        name: the dial's name, for error messages.
        highest: largest value allowed.

    Raises:
        UserError: unknown schedule, a value out of range, or an infinite one that should move.
    """
    config = dial if isinstance(dial, ScheduleConfig) else ScheduleConfig(schedule="fixed", initial=float(dial))
    if config.schedule not in SCHEDULES:
        raise UserError(f"unknown {name}.schedule {config.schedule!r}; there are: {', '.join(SCHEDULES)}")
    for value, label in ((config.initial, name), (config.minimum, f"{name}.minimum")):
        if not 0 <= value <= highest:
            raise UserError(f"{label} must be in [0, {highest:g}], not {value}")
    if config.minimum > config.initial:
        raise UserError(f"{name}.minimum={config.minimum} must not exceed {name}.initial={config.initial}")
    if config.schedule != "fixed" and math.isinf(config.initial):
        raise UserError(f"{name}.initial must be finite where {name}.schedule={config.schedule} moves it")
    if not 0 <= config.kappa < math.inf:
        raise UserError(f"{name}.kappa must be at least 0, not {config.kappa}")
    if not 0 < config.decay <= 1:
        raise UserError(f"{name}.decay must be in (0, 1], not {config.decay}")
    if not 0 <= config.ema < 1:
        raise UserError(f"{name}.ema must be in [0, 1), not {config.ema}")
    return SCHEDULES[config.schedule](config)
