"""Schedules of a dial: constant, decaying, driven by what an agent measures, or from one value to another.

The rule of adaptive hierarchical RL-MPC (arXiv 2512.17091) is published in words only. The smoothed ensemble variance
sets the rate at which the virtual-data ratio decays. High uncertainty slows the decay. The ratio goes to zero, so learning
is asymptotically unbiased. The formulas below are this project's; ``inv`` is the default, ``auto`` has no setting to tune.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Interval

from pompc.config.options import NonNegativeFloat, Options, PositiveInt, PositiveShare, Share
from pompc.errors import NonFiniteError, UserError


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(Options):
    """Options of a :class:`Dial` that moves.

    Attributes:
        schedule: how the dial moves: ``fixed``; ``exp``, ``inv`` or ``ratio`` (decay); ``prop`` (proportional to the
            ensemble's standard deviation); ``linear`` or ``switch`` (from ``initial`` to ``to``); ``auto`` (the least error
            of the value targets, by the measured bias of the virtual ones; of ``virtual_ratio`` alone).
        initial: value before the first update.
        decay: factor per tick of the clock at zero uncertainty; 1 keeps the value.
        minimum: floor of the value, at most ``initial``.
        maximum: ceiling of ``auto``, from ``initial`` to 1; its default is the largest share that the paper tries.
        ema: smoothing of the uncertainty, and of the bias.
        kappa: strength with which uncertainty slows the decay of ``inv``.
        to: value at the end of ``linear`` and after ``switch``.
        over: ticks of the clock until ``linear`` and ``switch`` have reached ``to``.
        clock: a tick is one of the agent's ``updates``, or one environment step (``steps``, over all environments, action
            repeat counted). Off-policy agents update once per transition by default, on-policy agents once per batch.
    """

    plain_number = "initial"

    schedule: Literal["fixed", "exp", "inv", "ratio", "prop", "linear", "switch", "auto"] = "inv"
    initial: Annotated[float, Ge(0)] = 0.3
    decay: PositiveShare = 0.98
    minimum: NonNegativeFloat = 0.0
    maximum: Share = 0.8
    ema: Annotated[float, Interval(ge=0, lt=1)] = 0.9
    kappa: NonNegativeFloat = 10.0
    to: Annotated[float, Ge(0)] = 0.0
    over: PositiveInt = 100_000
    clock: Literal["updates", "steps"] = "updates"


Setting = float | ScheduleConfig
"""The value of a dial's option: a constant, or options of a schedule."""


@dataclass(frozen=True, kw_only=True)
class Signals:
    """What one learning update tells the dials.

    Attributes:
        uncertainty: disagreement of the value ensemble, at least 0; see :mod:`pompc.dials`.
        squared_bias: mean squared bias of the virtual value targets, in the units of ``uncertainty``. An estimate without
            bias, so that it may be negative; nan if nothing was measured.
        steps: environment steps so far.
    """

    uncertainty: float
    squared_bias: float = math.nan
    steps: int = 0


class Dial:
    """A value that may move during learning; this class keeps it fixed.

    Args:
        config: options.

    Attributes:
        value: the current value.
        uncertainty: smoothed uncertainty ``ubar``; nan before the first update.
        uses_uncertainty: whether the uncertainty moves the value.
        uses_bias: whether the bias of virtual targets moves the value.
        rises: whether the value goes to ``config.to``, which may lie above ``config.initial``.
        leaves_infinity: whether the value may be infinite.
    """

    uses_uncertainty = False
    uses_bias = False
    rises = False
    leaves_infinity = True
    remembered: tuple[str, ...] = ("value", "uncertainty", "largest", "time")

    def __init__(self, config: ScheduleConfig) -> None:
        self.config = config
        self.value = config.initial
        self.uncertainty = math.nan
        self.largest = 0.0
        self.time = 0

    def update(self, signals: Signals) -> None:
        """Advance by one learning update.

        Raises:
            NonFiniteError: the uncertainty is not finite.
        """
        if not math.isfinite(signals.uncertainty):
            raise NonFiniteError("ensemble uncertainty")
        self.observe(signals)
        self.largest = max(self.largest, self.uncertainty)
        ticks = _CLOCKS[self.config.clock](self.time, signals.steps) - self.time
        self.time += ticks
        self.value = max(self.config.minimum, self.next_value(ticks))

    def observe(self, signals: Signals) -> None:
        """Smooth the uncertainty; called by :meth:`update`."""
        beta = 0.0 if math.isnan(self.uncertainty) else self.config.ema
        previous = 0.0 if math.isnan(self.uncertainty) else self.uncertainty
        self.uncertainty = beta * previous + (1 - beta) * signals.uncertainty

    def next_value(self, ticks: int) -> float:
        """Return the value after ``ticks`` more ticks of the clock, before the floor."""
        return self.value

    @property
    def fixed(self) -> bool:
        """Whether the value never changes."""
        return type(self) is Dial

    @property
    def relative(self) -> float:
        """Smoothed uncertainty as a share of its running maximum, in [0, 1]."""
        return self.uncertainty / self.largest if self.largest > 0 else 0.0

    def state_dict(self) -> dict[str, float]:
        """Return everything that changes."""
        return {name: getattr(self, name) for name in self.remembered}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore what :meth:`state_dict` returned; a dial that never moves stays where the configuration has it."""
        for name in self.remembered:
            if not (self.fixed and name == "value"):
                setattr(self, name, state[name])


_CLOCKS = {"updates": lambda time, steps: time + 1, "steps": lambda time, steps: steps}


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


class LeastError(Dial):
    """Take the share with the least expected squared error of the mixed value targets: no decay, no strength to tune.

    Real targets leave an error of variance ``u``, the ensemble's disagreement, which more data cure. Virtual targets add a
    squared bias ``b2``, which they do not. ``(1 - rho)^2 u + rho^2 b2`` is least at ``rho = u / (u + b2)``. A constant of
    ``b2`` and ``u -> 0`` give ``rho -> 0``: learning is asymptotically unbiased. Both have one unit, so that none remains.

    Both are means over the past updates whose weights fall by ``ema`` per update, equal ones at first. A single update's
    ``b2`` is noisy; the mean keeps its sign, and zero or less counts as no bias.

    Attributes:
        squared_bias: smoothed ``b2``; nan until it was measured.
        measured: updates that measured it.
    """

    uses_uncertainty, uses_bias, leaves_infinity = True, True, False
    remembered = (*Dial.remembered, "squared_bias", "measured")

    def __init__(self, config: ScheduleConfig) -> None:
        super().__init__(config)
        self.squared_bias, self.measured = math.nan, 0

    def observe(self, signals: Signals) -> None:
        """Average both signals; an update that measured no bias leaves them as they are."""
        if not math.isfinite(signals.squared_bias):
            return
        self.measured += 1
        new = (1 - self.config.ema) / (1 - self.config.ema**self.measured)
        old_uncertainty, old_bias = (0.0, 0.0) if self.measured == 1 else (self.uncertainty, self.squared_bias)
        self.uncertainty = (1 - new) * old_uncertainty + new * signals.uncertainty
        self.squared_bias = (1 - new) * old_bias + new * signals.squared_bias

    def next_value(self, ticks: int) -> float:
        """Return ``u / (u + max(b2, 0))``, at most ``maximum``; the present value until a bias was measured."""
        if self.measured == 0:
            return self.value
        total = self.uncertainty + max(self.squared_bias, 0.0)
        return min(self.config.maximum, self.uncertainty / total) if total > 0 else 0.0


SCHEDULES: dict[str, type[Dial]] = {
    "fixed": Dial,
    "exp": Exponential,
    "inv": InverseUncertainty,
    "ratio": RatioToMaximum,
    "prop": ProportionalToDeviation,
    "linear": Linear,
    "switch": Switch,
    "auto": LeastError,
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
    return max(setting.initial, setting.to if kind.rises else 0.0, setting.maximum if kind.uses_bias else 0.0)


def asks_uncertainty(setting: Setting) -> bool:
    """Tell whether a setting moves its dial by uncertainty."""
    return isinstance(setting, ScheduleConfig) and SCHEDULES[setting.schedule].uses_uncertainty


def asks_bias(setting: Setting) -> bool:
    """Tell whether a setting moves its dial by the bias of virtual targets."""
    return isinstance(setting, ScheduleConfig) and SCHEDULES[setting.schedule].uses_bias


def check_setting(name: str, setting: Setting, highest: float = math.inf, *, measures_bias: bool = False) -> None:
    """Check the numbers of a dial's setting against each other and against the dial's range.

    Args:
        name: the dial's key, for messages.
        setting: a number, or options of a schedule.
        highest: largest allowed value.
        measures_bias: whether the agent measures the bias that a schedule may follow.

    Raises:
        UserError: a value is out of range, or infinite although the schedule moves it gradually, or the schedule follows
            a bias that nothing measures.
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
    for option, value in (("initial", config.initial), ("to", config.to)):
        if value > highest:
            raise UserError(f"{name}.{option} must lie in [0, {highest:g}], not {value}")
    if config.minimum > config.initial:
        raise UserError(f"{name}.minimum={config.minimum} must not exceed {name}.initial={config.initial}")
    if kind.uses_bias and config.maximum < config.initial:
        raise UserError(f"{name}.maximum={config.maximum} must not lie below {name}.initial={config.initial}")
    if not kind.leaves_infinity and math.isinf(max(config.initial, config.to)):
        raise UserError(
            f"{name}.initial and {name}.to must be finite with {name}.schedule={config.schedule}; only "
            f"{name}.schedule=switch takes .inf"
        )
