"""The middle of a circuit's driving lanes, as one line with its arc length."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pompc.errors import UserError

from .opendrive import Road
from .plan_view import Array

STEP = 0.02
"""Distance [m] of the stations: dense enough for trapezoids wherever the lanes move across the road."""
LOOKS = 5
"""Every so many stations the edges are looked at."""
ASIDE = 1e-9
"""How far [m] from a place it is looked at from either side."""
KINK = 0.1
"""Kink [rad] that the middle may have where lanes begin to widen or narrow."""


class CentreLine:
    """The middle of the driving lanes of a loop of roads, by the station r along their reference lines [m].

    Args:
        roads: in driving order.
        where: opens every error line.
        tolerance: gap [m] and kink [rad] allowed between two pieces or roads.

    Raises:
        UserError: the middle jumps, or an edge folds.
    """

    def __init__(self, roads: list[Road], where: str, tolerance: float) -> None:
        self.roads, self.where = roads, where
        self.starts = np.concatenate([[0.0], np.cumsum([road.length for road in roads])])
        self._require_continuous(tolerance)
        self.grid = np.linspace(0.0, self.starts[-1], 1 + max(round(self.starts[-1] / STEP), 1))
        self._require_unfolded(self.grid[:-1:LOOKS])
        stretch = self._frame(self.grid[:-1])[4]
        stretch = np.append(stretch, stretch[0])
        steps = np.diff(self.grid) * (stretch[:-1] + stretch[1:]) / 2
        self.arc_length = np.concatenate([[0.0], np.cumsum(steps)])

    def _road(self, station: Array) -> NDArray[np.intp]:
        return np.searchsorted(self.starts[1:-1], station, side="right")

    def _frame(self, station: Array) -> Array:
        """Compute ``[8, m]`` at ``station [m]``: reference x, y, heading, curvature, ``ds/dr``, drift, offset, turning.

        ``ds/dr`` is the centre's arc length per station, ``drift`` the angle between centre and reference line and
        ``turning`` the derivative of that by the station.
        """
        frame = np.empty((8, len(station)))
        index = self._road(station)
        for i, road in enumerate(self.roads):
            here = index == i
            local = station[here] - self.starts[i]
            x, y, heading, curvature = road.reference(local)
            offset, slope, bend = road.centre(local), road.centre(local, 1), road.centre(local, 2)
            forward = 1 - offset * curvature
            slowing = -slope * curvature - offset * road.curvature_rate(local)
            stretch = np.hypot(forward, slope)
            turning = (bend * forward - slope * slowing) / stretch**2
            frame[:, here] = x, y, heading, curvature, stretch, np.arctan2(slope, forward), offset, turning
        return frame

    def at(self, station: Array) -> tuple[Array, Array, Array, Array, Array]:
        """x, y, heading, curvature and half width of the centre at stations ``[m]``."""
        x, y, heading, curvature, stretch, drift, offset, turning = self._frame(station)
        half_width = np.empty_like(station)
        index = self._road(station)
        for i, road in enumerate(self.roads):
            half_width[index == i] = road.half_width(station[index == i] - self.starts[i])
        x, y = x - offset * np.sin(heading), y + offset * np.cos(heading)
        return x, y, heading + drift, (curvature + turning) / stretch, half_width

    def arc_length_at(self, station: float) -> float:
        """The centre's arc length [m] at a station, which may lie before the first lap or after it."""
        laps = np.floor(station / self.starts[-1])
        rest = station - laps * self.starts[-1]
        return float(np.interp(rest, self.grid, self.arc_length) + laps * self.arc_length[-1])

    def place(self, station: float) -> str:
        """Name a station, for messages."""
        i = int(self._road(np.array([station]))[0])
        return f"road {self.roads[i].name}, s={station - self.starts[i]:.1f}"

    def _require_continuous(self, tolerance: float) -> None:
        """Refuse a middle that jumps or kinks, within a road or between two roads."""
        breaks = [
            (start + s, self.roads[i].name, None)
            for i, start in enumerate(self.starts[:-1])
            for s in (*self.roads[i].centre.x[1:-1], *(piece.s for piece in self.roads[i].pieces[1:]))
        ]
        joints = pairwise([*self.roads, self.roads[0]])
        breaks += [(end, before.name, after.name) for end, (before, after) in zip(self.starts[1:], joints, strict=True)]
        stations = np.array([station for station, *_ in breaks])
        before, after = (self.at((stations + side) % self.starts[-1]) for side in (-ASIDE, ASIDE))
        gaps = np.hypot(after[0] - before[0], after[1] - before[1])
        kinks = np.abs(np.angle(np.exp(1j * (after[2] - before[2]))))
        for (station, name, other), gap, kink in zip(breaks, gaps, kinks, strict=True):
            if gap <= tolerance + 2 * ASIDE and kink <= max(KINK, tolerance):
                continue
            what = f"road {name} to road {other}" if other else self.place(station)
            raise UserError(
                f"{self.where}: {what}: the driving lanes do not meet: their middle jumps by {gap:.3f} m and "
                f"{kink:.3f} rad (env.joint_tolerance={tolerance:g})"
            )

    def _require_unfolded(self, stations: Array) -> None:
        """Refuse a curve radius below half the road's width: the inner edge would run backwards."""
        curvature, half_width = self.at(stations)[3:]
        stretch, drift = self._frame(stations)[4:6]
        folded = (stretch * np.cos(drift) <= 0) | (half_width * np.abs(curvature) >= 1)
        if folded.any():
            i = int(folded.argmax())
            raise UserError(
                f"{self.where}: {self.place(stations[i])}: the inner edge folds: the curve has a radius of "
                f"{1 / abs(curvature[i]):.2f} m and half the road is {half_width[i]:.2f} m wide: widen the curve, or "
                "narrow the road"
            )
