"""The track as tables over its periodic grid, for physics, task, opponents and the planner's model.

Whatever depends only on the position along the track is computed here once, in numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import minimum_filter1d

from pompc.errors import UserError

from ..track.track import DangerZone, Track
from .ops import Ops, Value

SPACING = 0.25  # m, about: the cells divide the track's length
CAR_REACH = 0.9  # m from the car's centre to its side
PREVIEW = (5.0, 10.0, 15.0, 20.0, 27.0, 35.0, 45.0, 55.0, 67.0, 80.0)  # m ahead
ZONES_AHEAD = 2
ZONE_SIGHT = 100.0  # m
ZONE_APPROACH = 30.0  # m before a zone over which a planner's barrier grows
ZONE_EXIT = 5.0  # m behind a zone in which no episode begins
LANES = (2.5, -2.5)  # m, the opponents' lateral offsets; nearer to the middle on a narrower road
LANE_BLEND = 30.0  # m over which an opponent changes its offset
OPPONENT_GRIP = 4.0  # m/s^2 of lateral acceleration the opponents accept


@dataclass(frozen=True)
class Tables:
    """The tables of a track, as numpy arrays over ``[cells]`` (and columns).

    Attributes:
        curvature: value and slope per cell (1/m, 1/m per cell).
        edges: half width (m), centre and reach of the danger zone at or ahead of the cell (m), and how near it is: 0..1
            over the approach, 1 inside. The reach is half the zone's width plus half the car's, or -1000 without a zone.
        preview: the observation's look-ahead, scaled to about [-1, 1].
        lanes: the opponents' lateral offset per lane (m), then the speed limit of the curvature (m/s).
        starts: cells at which an episode may begin.
    """

    length: float
    curvature: np.ndarray
    edges: np.ndarray
    preview: np.ndarray
    lanes: np.ndarray
    starts: np.ndarray


def tabulate(track: Track, danger_zones: bool) -> Tables:
    """Compute the tables of a track, with or without its danger zones.

    Raises:
        UserError: two danger zones overlap along the track, or they leave no place to start from.
    """
    cells = round(track.length / SPACING)
    s = np.arange(cells) * (track.length / cells)
    grid = np.arange(len(track.x)) * track.spacing
    kappa = np.interp(s, grid, track.curvature, period=track.length)
    half_width = np.interp(s, grid, track.half_width, period=track.length)
    zones = sorted(track.zones, key=lambda zone: zone.s_start) if danger_zones else []
    starts = [zone.s_start for zone in zones[1:]] + [zone.s_start + track.length for zone in zones[:1]]
    if any(zone.s_end > start for zone, start in zip(zones, starts, strict=True)):
        raise UserError(f"the danger zones of {track.name} overlap along the track: leave a gap between them")
    limit = np.sqrt(OPPONENT_GRIP / np.maximum(np.abs(kappa), 1e-4))
    blocked = np.zeros(cells, dtype=bool)
    for zone in zones:
        blocked |= _inside(s, track.length, zone.s_start - ZONE_APPROACH, zone.s_end + ZONE_EXIT)
    if blocked.all():
        raise UserError(
            f"the danger zones of {track.name}, with {ZONE_APPROACH:g} m before and {ZONE_EXIT:g} m behind each, leave no "
            "place to start from: take fewer or shorter ones, or env.danger_zones=false"
        )
    return Tables(
        length=track.length,
        curvature=np.stack([kappa, np.roll(kappa, -1) - kappa], axis=1),
        edges=np.column_stack([half_width, _nearest_zone(s, track.length, zones)]),
        preview=np.column_stack([_curvature_ahead(s, track.length, kappa), _zones_ahead(s, track.length, zones)]),
        lanes=np.column_stack([*(_lane(s, track.length, zones, half_width, lane) for lane in LANES), limit]),
        starts=np.flatnonzero(~blocked),
    )


def _inside(s: np.ndarray, length: float, start: float, end: float) -> np.ndarray:
    """Mask of the positions between ``start`` and ``end`` along the loop."""
    return (s - start) % length <= end - start


def _nearest_zone(s: np.ndarray, length: float, zones: list[DangerZone]) -> np.ndarray:
    """Centre, reach and nearness of the zone at or ahead of every cell: ``[cells, 3]``."""
    columns = np.tile([0.0, -1000.0, 0.0], (len(s), 1))
    for zone in zones:
        centre, reach = (zone.n_min + zone.n_max) / 2, (zone.n_max - zone.n_min) / 2 + CAR_REACH
        inside = _inside(s, length, zone.s_start, zone.s_end)
        distance = np.where(inside, 0.0, (zone.s_start - s) % length)
        nearness = np.clip(1.0 - distance / ZONE_APPROACH, 0.0, 1.0)
        nearer = nearness > columns[:, 2]
        columns[nearer] = np.column_stack([np.full_like(s, centre), np.full_like(s, reach), nearness])[nearer]
    return columns


def _curvature_ahead(s: np.ndarray, length: float, kappa: np.ndarray) -> np.ndarray:
    """Curvature at the preview distances, times 15 m: ``[cells, 10]``."""
    return 15.0 * np.stack([np.interp(s + ahead, s, kappa, period=length) for ahead in PREVIEW], axis=1)


def _zones_ahead(s: np.ndarray, length: float, zones: list[DangerZone]) -> np.ndarray:
    """Distances to start and end, and the sides, of the next zones in sight, scaled: ``[cells, 4 zones]``."""
    unseen = np.tile([1.0, 1.0, 0.0, 0.0], (len(s), ZONES_AHEAD))
    if not zones:
        return unseen
    to_end = np.stack([(zone.s_end - s) % length for zone in zones], axis=1)
    order = np.argsort(to_end, axis=1)
    for slot in range(min(ZONES_AHEAD, len(zones))):
        for number, zone in enumerate(zones):
            end = to_end[:, number]
            start = np.maximum(end - (zone.s_end - zone.s_start), 0.0)
            seen = (order[:, slot] == number) & (start < ZONE_SIGHT)
            sides = np.tile([zone.n_min / 6.0, zone.n_max / 6.0], (len(s), 1))
            distances = np.minimum(np.stack([start, end], axis=1) / ZONE_SIGHT, 1.0)
            unseen[seen, 4 * slot : 4 * slot + 4] = np.hstack([distances, sides])[seen]
    return unseen


def _lane(s: np.ndarray, length: float, zones: list[DangerZone], half_width: np.ndarray, offset: float) -> np.ndarray:
    """A lane near ``offset`` that swings round the zones and stays on the road, smooth over ``LANE_BLEND``: ``[cells]``."""
    window = np.hanning(round(LANE_BLEND / (length / len(s))))
    # A lane within the room of all cells that the blend reaches stays within the room of its cell after blending.
    room = minimum_filter1d(half_width - CAR_REACH, len(window) + 2, mode="wrap")
    lane = np.clip(np.full_like(s, offset), -room, room)
    clearance = CAR_REACH + 0.6
    for zone in zones:
        near = _inside(s, length, zone.s_start - 0.7 * LANE_BLEND, zone.s_end + 0.7 * LANE_BLEND)
        sides = [side for side in (zone.n_min - clearance, zone.n_max + clearance) if abs(side) <= room[near].min()]
        if zone.n_min - clearance < offset < zone.n_max + clearance and sides:
            lane[near] = min(sides, key=lambda side: abs(side - offset))
    kernel = np.zeros_like(lane)
    kernel[: len(window)] = window / window.sum()
    kernel = np.roll(kernel, -(len(window) // 2))
    return np.fft.irfft(np.fft.rfft(lane) * np.fft.rfft(kernel), len(lane))


class Road:
    """The tables in the values of an executor, and the look-ups on them.

    Args:
        tables: from ``tabulate``.
        ops: executor.

    Attributes:
        length: of a lap (m).
        room: how far from the middle the car can be at the narrowest place (m).
    """

    def __init__(self, tables: Tables, ops: Ops) -> None:
        self.ops, self.length = ops, tables.length
        self.cells = len(tables.curvature)
        self.per_metre = self.cells / tables.length
        self._curvature = ops.columns_table(tables.curvature)
        self._nearest_curvature = ops.table(tables.curvature[:, 0])
        self._edges = ops.columns_table(tables.edges)
        self._lanes = ops.columns_table(tables.lanes)
        self._preview = ops.table(tables.preview)
        self._starts = ops.columns_table(tables.starts[:, None] / self.per_metre)
        self._num_starts = len(tables.starts)
        self.room = float(tables.edges[:, 0].min()) - CAR_REACH
        self._half = ops.constant(0.5)

    def _nearest(self, s: Value) -> Value:
        return self.ops.cell(self.ops.remainder(self.ops.plus(self._half, s, self.per_metre), self.cells))

    def curvature(self, s: Value) -> Value:
        """Curvature (1/m), interpolated linearly."""
        ops = self.ops
        place = ops.remainder(s * self.per_metre, self.cells)
        index = ops.cell(place)
        value, slope = ops.columns(self._curvature, index)
        return value + slope * (place - index)

    def nearest_curvature(self, s: Value) -> Value:
        """Curvature (1/m) of the nearest cell: cheaper, for planner models."""
        return self.ops.entries(self._nearest_curvature, self._nearest(s))

    def edges(self, s: Value) -> tuple[Value, Value, Value, Value]:
        """Half width, zone centre, zone reach (m) and zone nearness, see ``Tables.edges``."""
        return self.ops.columns(self._edges, self._nearest(s))

    def preview(self, s: Value) -> Value:
        """The look-ahead of the observation, ``PREVIEW_SIZE`` numbers."""
        return self.ops.entries(self._preview, self._nearest(s))

    def lane(self, s: Value, left: Value) -> tuple[Value, Value]:
        """Offset (m) of the left (``left`` = 1) or right (0) lane, and the speed the curvature allows (m/s)."""
        left_lane, right_lane, limit = self.ops.columns(self._lanes, self._nearest(s))
        return right_lane + left * (left_lane - right_lane), limit

    def start(self, draw: Value) -> Value:
        """A starting position (m) from a uniform draw in [0, 1)."""
        return self.ops.columns(self._starts, self.ops.cell(draw * self._num_starts))[0]

    def wrap(self, s: Value) -> Value:
        """The position on the loop, in [0, length)."""
        return self.ops.remainder(s, self.length)

    def gap(self, s: Value, other: Value) -> Value:
        """The shorter way along the loop from ``s`` to ``other``, in [-length / 2, length / 2]."""
        distance = other - s
        return self.ops.plus(distance, self.ops.round(distance * (1.0 / self.length)), -self.length)


PREVIEW_SIZE = len(PREVIEW) + 4 * ZONES_AHEAD
