"""The schedule ``auto``: the share of virtual data with the least expected squared error of the values.

Derived in this project; docs/adaptive_hrl.md has the equations.
"""

from __future__ import annotations

import math

from pompc.dial import Dial, Evidence, ScheduleConfig, Signals

FAR = -20.0
"""Below zero by so many errors, the expectation is its asymptote to 1 %."""


class LeastError(Dial):
    """Weigh real and virtual targets by the inverse of the squared error of the values that each would give alone.

    Real targets leave a variance ``R``, :meth:`Evidence.variance`; virtual ones a squared bias ``B2``. Values learned from
    both, a share ``s`` of the news from virtual targets, err by ``(1 - s)^2 R + s^2 B2`` at most, which is least at
    ``s = R / (R + B2)``. The ratio that gives this share is ``rho / (1 - rho) = s / (1 - s) * real_news / virtual_news``.
    Both errors have one unit, so that nothing is left to set per task. As the disagreement vanishes, so does the ratio.

    ``R`` and ``B2`` are means over past updates whose weights fall by ``ema`` per update, beginning with equal ones. A
    single ``B2`` is noisy and may be negative, and so may the mean. A squared bias is not: ``B2`` is its expectation given
    the mean and the mean's standard error, :func:`expected_positive`. So the ratio does not follow a bias below what the
    updates can tell.

    Attributes:
        real_error: mean ``R``; nan until measured.
        virtual_error: mean squared bias, which may be negative; nan until measured.
        square: mean of the squares of what ``virtual_error`` averages.
        concentration: sum of the squared weights of these means, one over the number of updates that they rest on.
        measured: number of updates that measured both.
        odds: news of a real target in units of a weighted virtual one's.
    """

    uses_uncertainty, uses_bias, leaves_infinity, default_maximum = True, True, False, 0.5
    remembered = (*Dial.remembered, "real_error", "virtual_error", "square", "concentration", "measured", "odds")

    def __init__(self, config: ScheduleConfig) -> None:
        super().__init__(config)
        self.real_error, self.virtual_error, self.square = math.nan, math.nan, math.nan
        self.concentration, self.measured, self.odds = 1.0, 0, 1.0

    def observe(self, signals: Signals) -> None:
        """Smooth the uncertainty and both errors; without a measured bias the errors stay."""
        super().observe(signals)
        evidence = signals.evidence
        if evidence is not None and math.isfinite(evidence.squared_bias):
            self._average(evidence.variance(signals.uncertainty), evidence)

    def next_value(self, ticks: int) -> float:
        """Return the ratio of least error, at most ``maximum``; the present value until a bias was measured."""
        if self.measured == 0:
            return self.value
        virtual = expected_positive(self.virtual_error, self.standard_error)
        total = self.real_error * self.odds + virtual
        return min(self.maximum, self.real_error * self.odds / total) if total > 0 else 0.0

    @property
    def standard_error(self) -> float:
        """Standard error of ``virtual_error``; 0 while it rests on one update, which says nothing of it."""
        if self.concentration == 1:
            return 0.0
        variance = max(self.square - self.virtual_error**2, 0.0)
        return math.sqrt(variance * self.concentration / (1 - self.concentration))

    def _average(self, variance: float, evidence: Evidence) -> None:
        """Add the errors of one update to their means."""
        self.measured += 1
        new = (1 - self.config.ema) / (1 - self.config.ema**self.measured)
        first = self.measured == 1
        old = (0.0, 0.0, 0.0) if first else (self.real_error, self.virtual_error, self.square)
        seen = (variance, evidence.squared_bias, evidence.squared_bias**2)
        means = ((1 - new) * before + new * now for before, now in zip(old, seen, strict=True))
        self.real_error, self.virtual_error, self.square = means
        self.concentration = (1 - new) ** 2 * self.concentration + new**2
        self.odds = evidence.real_news / evidence.virtual_news


def expected_positive(mean: float, error: float) -> float:
    """Compute the expectation of a quantity that is at least 0, measured as ``mean`` with a Gaussian error.

    It is ``mean + error phi(z) / Phi(z)`` with ``z = mean / error``, the mean of a truncated Gaussian: near ``mean`` if
    that is many errors above 0, 0.8 errors if it is 0.

    Args:
        mean: what was measured.
        error: standard deviation of the error, at least 0.
    """
    if error == 0:
        return max(mean, 0.0)
    z = mean / error
    if z < FAR:
        return -error / z
    return mean + error * math.exp(-0.5 * z**2) / math.sqrt(2 * math.pi) / (0.5 * math.erfc(-z / math.sqrt(2)))
