"""Schedules of lambda by the two terms that it weighs: equal gradients, or a divergence that is held."""

from __future__ import annotations

import math

from pompc.dial import Dial, ScheduleConfig, Signals

LEAST = 1e-3
"""Neither schedule goes below: at zero the terms would not be measured any more."""


class BalancedGradients(Dial):
    """Weigh the divergence so that its gradient is ``balance`` times the return's, by their norms.

    The policy's gradient is ``g_return + lambda g_kl``. With ``lambda = balance |g_return| / |g_kl|`` neither term drowns
    the other, whatever their scales. The norms are means over past measurements, whose weights fall by ``ema`` per
    measurement. That the two gradients, not their weights, should be reconciled is the idea of HDPI (ICML 2026, abstract
    alone); the rule is this project's.

    Attributes:
        return_norm: mean norm of the return's gradient; nan until measured.
        kl_norm: mean norm of the divergence's gradient, before lambda; nan until measured.
    """

    uses_terms, leaves_infinity, default_maximum = True, False, 100.0
    remembered = (*Dial.remembered, "return_norm", "kl_norm")

    def __init__(self, config: ScheduleConfig) -> None:
        super().__init__(config)
        self.return_norm, self.kl_norm = math.nan, math.nan

    def wants_gradients(self, updates: int) -> bool:
        """Tell whether the gradients of an update are measured: of every ``every``-th one."""
        return updates % self.config.every == 0

    def observe(self, signals: Signals) -> None:
        """Smooth the norms, if both were measured and the divergence moves the policy."""
        super().observe(signals)
        gradients = None if signals.terms is None else signals.terms.gradients
        if gradients is not None and gradients[1] > 0:
            old = gradients if math.isnan(self.kl_norm) else (self.return_norm, self.kl_norm)
            beta = self.config.ema
            self.return_norm, self.kl_norm = (
                beta * before + (1 - beta) * now for before, now in zip(old, gradients, strict=True)
            )

    def next_value(self, ticks: int) -> float:
        """Return ``balance * |g_return| / |g_kl|`` in its bounds; the present value until both were measured."""
        if math.isnan(self.kl_norm):
            return self.value
        return min(max(self.config.balance * self.return_norm / self.kl_norm, LEAST), self.maximum)


class HeldDivergence(Dial):
    """Hold the divergence at ``target`` by dual ascent on the logarithm of lambda.

    Lambda is the multiplier of ``max E[return]`` subject to ``KL <= target``: it grows while the divergence is above and
    falls while it is below, by a factor of at most ``exp(rate)`` per tick.
    """

    uses_terms, leaves_infinity, default_maximum = True, False, 100.0
    remembered = (*Dial.remembered, "kl")

    def __init__(self, config: ScheduleConfig) -> None:
        super().__init__(config)
        self.kl = math.nan

    def observe(self, signals: Signals) -> None:
        """Take in the divergence of the update; nan if the policy did not learn."""
        super().observe(signals)
        self.kl = math.nan if signals.terms is None else signals.terms.kl

    def next_value(self, ticks: int) -> float:
        """Return ``value * exp(rate * ticks * clip(kl / target - 1))`` in its bounds, with the error within [-1, 1]."""
        if math.isnan(self.kl):
            return self.value
        error = min(max(self.kl / self.config.target - 1, -1.0), 1.0)
        return min(max(self.value * math.exp(self.config.rate * ticks * error), LEAST), self.maximum)
