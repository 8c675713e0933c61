"""The schedule ``auto``: the share of virtual data with the least expected squared error of the values.

Derived in this project; docs/adaptive_hrl.md has the equations.
"""

from __future__ import annotations

import math

from pompc.dial import Dial, Evidence, ScheduleConfig, Signals


class LeastError(Dial):
    """Weigh real and virtual targets by the inverse of the squared error of the values that each would give alone.

    Real targets leave a variance ``R``, :meth:`Evidence.variance`; virtual ones a squared bias ``B2``. Values learned from
    both, a share ``s`` of the news from virtual targets, err by ``(1 - s)^2 R + s^2 B2`` at most, which is least at
    ``s = R / (R + B2)``. The ratio that gives this share is ``rho / (1 - rho) = s / (1 - s) * real_news / virtual_news``.
    Both errors have one unit, so that nothing is left to set per task. As the disagreement vanishes, so does the ratio.

    ``R`` and ``B2`` are means over past updates whose weights fall by ``ema`` per update, beginning with equal ones: a
    single ``B2`` is noisy and may be negative. A mean of zero or less counts as no bias.

    Attributes:
        real_error: smoothed ``R``; nan until measured.
        virtual_error: smoothed ``B2``; nan until measured.
        measured: number of updates that measured both.
    """

    uses_uncertainty, uses_bias, leaves_infinity = True, True, False
    remembered = (*Dial.remembered, "real_error", "virtual_error", "measured", "odds")

    def __init__(self, config: ScheduleConfig) -> None:
        super().__init__(config)
        self.real_error, self.virtual_error, self.measured, self.odds = math.nan, math.nan, 0, 1.0

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
        virtual = max(self.virtual_error, 0.0)
        total = self.real_error * self.odds + virtual
        return min(self.config.maximum, self.real_error * self.odds / total) if total > 0 else 0.0

    def _average(self, variance: float, evidence: Evidence) -> None:
        """Add the errors of one update to their means."""
        self.measured += 1
        new = (1 - self.config.ema) / (1 - self.config.ema**self.measured)
        old = (0.0, 0.0) if self.measured == 1 else (self.real_error, self.virtual_error)
        self.real_error = (1 - new) * old[0] + new * variance
        self.virtual_error = (1 - new) * old[1] + new * evidence.squared_bias
        self.odds = evidence.real_news / evidence.virtual_news
