"""A closed track on a periodic grid, and its coordinates: s along the centre, n to the left of it.

Right-handed, metres and radians, as in the OpenDRIVE file the track comes from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pompc.errors import UserError

from . import opendrive

Array = NDArray[np.floating]

TRACKS = Path(__file__).with_name("tracks")
SPACING = 0.5
"""Wanted distance between samples [m]; the nearest divisor of the length is taken."""
PROJECTION_WINDOW = 30.0
"""How far [m] along the track ``project`` looks to either side of ``near``."""
PROJECTION_STEPS = 4


@dataclass(frozen=True)
class DangerZone:
    """A patch of the track [m]: along it from ``s_start`` to ``s_end``, across it from ``n_min`` to ``n_max``.

    ``s_start`` is in [0, length); a zone over the start line has ``s_end`` > length.
    """

    s_start: float
    s_end: float
    n_min: float
    n_max: float


@dataclass(frozen=True, eq=False)
class Track:
    """The centre of a closed track, sampled every ``spacing`` metres from s = 0; float64 arrays ``[samples]``.

    Attributes:
        name: the file's name without its ending.
        path: the OpenDRIVE file.
        length: of one lap, along the centre [m].
        spacing: ``length / samples``, about 0.5 m.
        x: position [m].
        y: position [m].
        heading: unwrapped [rad]: one lap on, it has grown by ``turn``.
        curvature: positive to the left [1/m].
        half_width: from the centre to either edge [m].
        turn: change of heading over a lap: plus or minus a full turn, unless the track crosses itself [rad].
        zones: danger zones in order of ``s_start``.
    """

    name: str
    path: Path
    length: float
    spacing: float
    x: Array
    y: Array
    heading: Array
    curvature: Array
    half_width: Array
    turn: float
    zones: tuple[DangerZone, ...]

    @classmethod
    def load(cls, name_or_path: str | Path) -> Track:
        """A shipped track by name, or any OpenDRIVE circuit by path.

        Raises:
            UserError: no such track, or a file that ``opendrive.read`` refuses.
        """
        path = Path(name_or_path)
        if path.suffix != ".xodr":
            path = TRACKS / f"{name_or_path}.xodr"
            if not path.is_file():
                shipped = ", ".join(sorted(file.stem for file in TRACKS.glob("*.xodr")))
                raise UserError(f"no track '{name_or_path}': choose one of {shipped}, or give the path of a .xodr file")
        return _sample(path, opendrive.read(path))

    def cartesian(self, s: ArrayLike, n: ArrayLike, heading_error: ArrayLike = 0.0) -> tuple[Array, Array, Array]:
        """Track to plane: x, y [m] and yaw [rad, not wrapped] of the broadcast shape of the arguments.

        Between samples the centre is the cubic through positions and tangents: off by less than 0.1 mm.
        """
        s, n, heading_error = np.broadcast_arrays(*(np.asarray(value, dtype=float) for value in (s, n, heading_error)))
        x, y, heading = self._centre(s)
        return x - n * np.sin(heading), y + n * np.cos(heading), heading + heading_error

    def project(self, x: ArrayLike, y: ArrayLike, near: ArrayLike | None = None) -> tuple[Array, Array]:
        """Plane to track: s in [0, length) and n [m] of the nearest point of the centre.

        Args:
            x: position ``[...]`` [m].
            y: position ``[...]`` [m].
            near: s ``[...]`` [m] of a former position: only samples within ``PROJECTION_WINDOW`` of it are searched,
                which is faster and does not jump to another part of the track that comes close.
        """
        x, y = np.broadcast_arrays(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
        samples = len(self.x)
        if near is None:
            candidates = np.arange(samples)
        else:
            reach = min(int(np.ceil(PROJECTION_WINDOW / self.spacing)), samples // 2)
            middle = np.rint(np.asarray(near, dtype=float) / self.spacing).astype(int)
            candidates = (middle[..., None] + np.arange(-reach, reach + 1)) % samples
        distance = (x[..., None] - self.x[candidates]) ** 2 + (y[..., None] - self.y[candidates]) ** 2
        nearest = np.broadcast_to(candidates, distance.shape)
        index = np.take_along_axis(nearest, distance.argmin(-1)[..., None], -1)[..., 0]
        s = index * self.spacing
        n = np.zeros_like(s)
        for _ in range(PROJECTION_STEPS):
            centre_x, centre_y, heading = self._centre(s)
            cos, sin = np.cos(heading), np.sin(heading)
            ahead = cos * (x - centre_x) + sin * (y - centre_y)
            n = cos * (y - centre_y) - sin * (x - centre_x)
            # Beyond the centre of curvature there is no nearest point to walk to: the step is kept bounded.
            s = s + np.clip(ahead / np.maximum(1 - n * self.curvature_at(s), 0.1), -self.spacing, self.spacing)
        return s % self.length, n

    def curvature_at(self, s: ArrayLike) -> Array:
        """Curvature ``[...]`` [1/m] at ``s [...]`` [m], any lap, linear between samples."""
        return self._linear(self.curvature, s)

    def half_width_at(self, s: ArrayLike) -> Array:
        """Half width ``[...]`` [m] at ``s [...]`` [m], any lap, linear between samples."""
        return self._linear(self.half_width, s)

    def _linear(self, values: Array, s: ArrayLike) -> Array:
        return np.interp(np.asarray(s, dtype=float), self._grid, values, period=self.length)

    @cached_property
    def _grid(self) -> Array:
        return np.arange(len(self.x)) * self.spacing

    @cached_property
    def _nodes(self) -> tuple[Array, Array]:
        """x, y, heading and their derivatives by s at every sample and the first again: ``[3, samples + 1]`` each."""
        values = np.stack([self.x, self.y, self.heading])
        slopes = np.stack([np.cos(self.heading), np.sin(self.heading), self.curvature])
        closing = values[:, :1] + np.array([[0.0], [0.0], [self.turn]])
        return np.hstack([values, closing]), np.hstack([slopes, slopes[:, :1]])

    def _centre(self, s: Array) -> tuple[Array, Array, Array]:
        """The centre's x, y and heading at ``s``: cubic Hermite interpolation."""
        lap = np.floor(s / self.length)
        place = (s - lap * self.length) / self.spacing
        index = np.minimum(place.astype(int), len(self.x) - 1)
        values, slopes = self._nodes
        u = place - index
        before, after = values[:, index], values[:, index + 1]
        start, end = self.spacing * slopes[:, index], self.spacing * slopes[:, index + 1]
        rise = after - before
        x, y, heading = before + u * (start + u * (3 * rise - 2 * start - end + u * (start + end - 2 * rise)))
        return x, y, heading + lap * self.turn


def _sample(path: Path, roads: list[opendrive.Road]) -> Track:
    """The roads' centre on an even grid of its own arc length."""
    line = _CentreLine(roads)
    length = float(line.arc_length[-1])
    samples = round(length / SPACING)
    s = np.arange(samples) * (length / samples)
    x, y, heading, curvature, half_width = line.at(np.interp(s, line.arc_length, line.grid))
    heading = np.unwrap(heading)
    turn = heading[-1] - heading[0] + float(np.angle(np.exp(1j * (heading[0] - heading[-1]))))
    return Track(
        name=path.stem,
        path=path,
        length=length,
        spacing=length / samples,
        x=x,
        y=y,
        heading=heading,
        curvature=curvature,
        half_width=half_width,
        turn=float(turn),
        zones=tuple(sorted(line.zones(), key=lambda zone: zone.s_start)),
    )


class _CentreLine:
    """The middle of the driving lanes of a loop of roads, by the station r along their reference lines [m]."""

    def __init__(self, roads: list[opendrive.Road]) -> None:
        self.roads = roads
        self.starts = np.concatenate([[0.0], np.cumsum([road.length for road in roads])])
        # Dense enough for the trapezoids below wherever the lanes move across the road.
        self.grid = np.linspace(0.0, self.starts[-1], 1 + round(self.starts[-1] / 0.02))
        stretch = self._frame(self.grid[:-1])[4]
        stretch = np.append(stretch, stretch[0])
        steps = np.diff(self.grid) * (stretch[:-1] + stretch[1:]) / 2
        self.arc_length = np.concatenate([[0.0], np.cumsum(steps)])

    def _road(self, station: Array) -> NDArray[np.intp]:
        return np.searchsorted(self.starts[1:-1], station, side="right")

    def _frame(self, station: Array) -> Array:
        """At ``station [m]``, rows ``[7, m]``: reference x, y, heading and curvature, ``ds/dr``, drift, offset.

        ``ds/dr`` is the centre's arc length per station and ``drift`` the angle between centre and reference line.
        """
        rows = np.empty((7, len(station)))
        index = self._road(station)
        for i, road in enumerate(self.roads):
            here = index == i
            local = station[here] - self.starts[i]
            x, y, heading, curvature = road.reference(local)
            offset, slope = road.centre(local), road.centre(local, 1)
            forward = 1 - offset * curvature
            rows[:, here] = x, y, heading, curvature, np.hypot(forward, slope), np.arctan2(slope, forward), offset
        return rows

    def at(self, station: Array) -> tuple[Array, Array, Array, Array, Array]:
        """x, y, heading, curvature and half width of the centre at stations ``[m]``."""
        x, y, heading, curvature, stretch, drift, offset = self._frame(station)
        step = 1e-4
        ahead, behind = (self._frame((station + h) % self.starts[-1])[5] for h in (step, -step))
        half_width = np.empty_like(station)
        index = self._road(station)
        for i, road in enumerate(self.roads):
            half_width[index == i] = road.half_width(station[index == i] - self.starts[i])
        x, y = x - offset * np.sin(heading), y + offset * np.cos(heading)
        return x, y, heading + drift, (curvature + (ahead - behind) / (2 * step)) / stretch, half_width

    def zones(self) -> list[DangerZone]:
        """The roads' danger patches in track coordinates."""
        zones = []
        for start, road in zip(self.starts, self.roads, strict=False):
            for patch in road.patches:
                ends = [self._arc_length_at(start + s) for s in (patch.s_start, patch.s_end)]
                middle = float(road.centre((patch.s_start + patch.s_end) / 2))
                lap = np.floor(ends[0] / self.arc_length[-1]) * self.arc_length[-1]
                zones.append(
                    DangerZone(float(ends[0] - lap), float(ends[1] - lap), patch.t_min - middle, patch.t_max - middle)
                )
        return zones

    def _arc_length_at(self, station: float) -> float:
        laps = np.floor(station / self.starts[-1])
        rest = station - laps * self.starts[-1]
        return float(np.interp(rest, self.grid, self.arc_length) + laps * self.arc_length[-1])
