"""A dial, the options of its schedule, and the signals that may move it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from annotated_types import Ge, Interval

from pompc.config.options import NonNegativeFloat, Options, PositiveFloat, PositiveInt, PositiveShare
from pompc.errors import NonFiniteError


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(Options):
    """Options of a :class:`Dial` that moves.

    Attributes:
        schedule: how the dial moves: ``fixed``; ``exp``, ``inv`` or ``ratio`` (decay); ``prop`` (proportional to the
            ensemble's standard deviation); ``linear`` or ``switch`` (from ``initial`` to ``to``); ``auto`` (the least error
            of the value targets, by the measured bias of the virtual ones; of ``virtual_ratio`` alone); ``balance`` (equal
            gradients of return and divergence) or ``dual`` (a divergence that is held), both of ``kl_weight`` off policy.
        initial: value before the first update.
        decay: factor per tick of the clock at zero uncertainty; 1 keeps the value.
        minimum: floor of the value, at most ``initial``.
        maximum: ceiling of ``auto``, ``balance`` and ``dual``, at least ``initial``; null takes 0.5 for ``auto`` (the rest
            is real data, which tell more each) and 100 for the others.
        ema: smoothing of the uncertainty, of the bias, and of the gradients of ``balance``.
        kappa: strength with which uncertainty slows the decay of ``inv``.
        to: value at the end of ``linear`` and after ``switch``.
        over: ticks of the clock until ``linear`` and ``switch`` have reached ``to``.
        balance: norm of the weighted divergence's gradient that ``balance`` makes, in units of the return's.
        every: updates between two measurements of these gradients, which cost two backward passes.
        target: divergence that ``dual`` holds, as the column ``kl`` has it.
        rate: largest change of the logarithm of ``dual`` per tick.
        clock: a tick is one of the agent's ``updates``, or one environment step (``steps``, over all environments, action
            repeat counted). Off-policy agents update once per transition by default, on-policy agents once per batch.
    """

    plain_number = "initial"

    schedule: Literal["fixed", "exp", "inv", "ratio", "prop", "linear", "switch", "auto", "balance", "dual"] = "inv"
    initial: Annotated[float, Ge(0)] = 0.3
    decay: PositiveShare = 0.98
    minimum: NonNegativeFloat = 0.0
    maximum: NonNegativeFloat | None = None
    ema: Annotated[float, Interval(ge=0, lt=1)] = 0.9
    kappa: NonNegativeFloat = 10.0
    to: Annotated[float, Ge(0)] = 0.0
    over: PositiveInt = 100_000
    balance: PositiveFloat = 1.0
    every: PositiveInt = 10
    target: PositiveFloat = 0.1
    rate: PositiveFloat = 0.01
    clock: Literal["updates", "steps"] = "updates"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one update knows of its real and virtual value targets.

    The news of a target is its share that is not the value function: the target with all rewards 1 and all values 0, as a
    share of the same with all values 1; see :func:`pompc.onpolicy.virtual_targets.bootstrapped_share`.

    Attributes:
        squared_bias: mean squared bias of values that learn from virtual targets alone. An estimate without bias, so that
            it may be negative; nan if there was nothing to compare.
        real_news: mean news of a real target, in (0, 1].
        virtual_news: mean news of a virtual target times its weight in the loss, in (0, 1].
    """

    squared_bias: float
    real_news: float
    virtual_news: float

    def variance(self, uncertainty: float) -> float:
        """Return the variance of values that learn from real targets alone, ``u / (1 - (1 - real_news)^2)``.

        Every update leaves an independent error of variance ``u``. The next one passes ``1 - real_news`` of it on.
        """
        return uncertainty / (1 - (1 - self.real_news) ** 2)

    def metrics(self, uncertainty: float) -> dict[str, float]:
        """Return ``real_error`` (the :meth:`variance`) and, if measured, ``virtual_error`` (the squared bias)."""
        bias = {"virtual_error": self.squared_bias} if math.isfinite(self.squared_bias) else {}
        return {"real_error": self.variance(uncertainty), **bias}

    def per(self, unit: float) -> Evidence:
        """Divide the squared bias by a unit."""
        return replace(self, squared_bias=self.squared_bias / unit)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What one update knows of the two terms that lambda weighs.

    Attributes:
        kl: mean divergence of the policy from its prior.
        gradients: norms of the gradients of the return's term and of the divergence's, before lambda; ``None`` if they
            were not measured.
    """

    kl: float
    gradients: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Signals:
    """What one learning update tells the dials.

    Attributes:
        uncertainty: disagreement of the value ensemble, at least 0; see :mod:`pompc.dials`.
        steps: environment steps so far.
        evidence: of the value targets, in the units of ``uncertainty``; ``None`` if the agent does not measure it.
        terms: of the policy's loss; ``None`` if no dial follows them or the policy did not learn.
    """

    uncertainty: float
    steps: int = 0
    evidence: Evidence | None = None
    terms: Terms | None = None

    def metrics(self) -> dict[str, float]:
        """Return ``uncertainty`` and the :meth:`Evidence.metrics`."""
        measured = {} if self.evidence is None else self.evidence.metrics(self.uncertainty)
        return {"uncertainty": self.uncertainty, **measured}


class Dial:
    """A value that may move during learning; this class keeps it fixed.

    Args:
        config: options.

    Attributes:
        value: the current value.
        uncertainty: smoothed uncertainty ``ubar``; nan before the first update.
        uses_uncertainty: whether the uncertainty moves the value.
        uses_bias: whether the bias of virtual targets moves the value.
        uses_terms: whether the terms that lambda weighs move the value.
        rises: whether the value goes to ``config.to``, which may lie above ``config.initial``.
        leaves_infinity: whether the value may be infinite.
        default_maximum: ceiling unless ``config.maximum`` gives one; ``None`` if the schedule has none.
    """

    uses_uncertainty = False
    uses_bias = False
    uses_terms = False
    rises = False
    leaves_infinity = True
    default_maximum: float | None = None
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

    def wants_gradients(self, updates: int) -> bool:
        """Tell whether the gradients of the two terms are measured in an update, for the dial's sake."""
        return False

    @classmethod
    def ceiling(cls, config: ScheduleConfig) -> float:
        """Return the largest value of a schedule that has a ceiling; 0 for the others."""
        if cls.default_maximum is None:
            return 0.0
        return cls.default_maximum if config.maximum is None else config.maximum

    @property
    def maximum(self) -> float:
        """Ceiling of the value."""
        return self.ceiling(self.config)

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
