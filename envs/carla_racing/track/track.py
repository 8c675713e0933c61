"""A closed track on a periodic grid, and its coordinates: s along the centre, n to the left of it.

Right-handed, metres and radians, as in the OpenDRIVE file the track comes from.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from pompc.errors import UserError

from . import opendrive
from .centre import CentreLine
from .plan_view import Array
from .xodr import TRACKS, locate, read_text, unprefixed

__all__ = ["SHORTEST", "SPACING", "TRACKS", "DangerZone", "Track"]

SPACING = 0.5
"""Wanted distance between samples [m]; the nearest divisor of the length is taken."""
PROJECTION_WINDOW = 30.0
"""How far [m] along the track ``project`` looks to either side of ``near``."""
PROJECTION_STEPS = 4
SHORTEST = 30.0
"""Least length of a lap [m]: the traffic changes its lane over as much."""


@dataclass(frozen=True)
class DangerZone:
    """A patch of the track [m]: along it from ``s_start`` to ``s_end``, across it from ``n_min`` to ``n_max``.

    ``s_start`` is in [0, length); a zone over the start line has ``s_end`` > length. ``name`` says which object of the
    file it is.
    """

    s_start: float
    s_end: float
    n_min: float
    n_max: float
    name: str = "a danger zone"


@dataclass(frozen=True, eq=False)
class Track:
    """The centre of a closed track, sampled every ``spacing`` metres from s = 0; float64 arrays ``[samples]``.

    Attributes:
        name: the file's name without its ending.
        path: the OpenDRIVE file.
        text: content of the file.
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
    text: str
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
    def load(cls, name_or_path: str | Path, tolerance: float = opendrive.JOINT_TOLERANCE) -> Track:
        """Load a shipped track by name, or any OpenDRIVE circuit by path.

        Args:
            name_or_path: of the track.
            tolerance: gap [m] and kink [rad] allowed between two pieces or roads.

        Raises:
            UserError: no such track, or a file that is refused: see ``parse``.
        """
        path = locate(name_or_path)
        return cls.parse(path, read_text(path), tolerance)

    @classmethod
    def parse(cls, path: Path, text: str, tolerance: float = opendrive.JOINT_TOLERANCE) -> Track:
        """Read the circuit in an OpenDRIVE text that comes from ``path``.

        Raises:
            UserError: ``opendrive.roads`` refuses the text, lanes that do not meet, edges that fold, a lap too short.
        """
        return _sample(path, unprefixed(text), tolerance)

    def cartesian(self, s: ArrayLike, n: ArrayLike, heading_error: ArrayLike = 0.0) -> tuple[Array, Array, Array]:
        """Convert track to plane: x, y [m] and yaw [rad, not wrapped] of the broadcast shape of the arguments.

        Between samples the centre is the cubic through positions and tangents: off by less than 0.1 mm.
        """
        s, n, heading_error = np.broadcast_arrays(*(np.asarray(value, dtype=float) for value in (s, n, heading_error)))
        x, y, heading = self._centre(s)
        return x - n * np.sin(heading), y + n * np.cos(heading), heading + heading_error

    def project(self, x: ArrayLike, y: ArrayLike, near: ArrayLike | None = None) -> tuple[Array, Array]:
        """Convert plane to track: s in [0, length) and n [m] of the nearest point of the centre.

        Args:
            x: position ``[...]`` [m].
            y: position ``[...]`` [m].
            near: s ``[...]`` [m] of an earlier position. Only samples within ``PROJECTION_WINDOW`` of it are searched:
                faster, and without a jump to another part of the track that comes close.
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
            # Beyond the centre of curvature there is no nearest point, so the step is bounded.
            s = s + np.clip(ahead / np.maximum(1 - n * self.curvature_at(s), 0.1), -self.spacing, self.spacing)
        return s % self.length, n

    def curvature_at(self, s: ArrayLike) -> Array:
        """Curvature ``[...]`` [1/m] at ``s [...]`` [m], any lap, linear between samples."""
        return self._linear(self.curvature, s)

    def half_width_at(self, s: ArrayLike) -> Array:
        """Half width ``[...]`` [m] at ``s [...]`` [m], any lap, linear between samples."""
        return self._linear(self.half_width, s)

    def half_width_between(self, start: float, end: float) -> Array:
        """Half widths ``[n]`` [m] of the samples from ``start`` to ``end`` [m], which may lie beyond a lap."""
        return self.half_width[(self._grid - start) % self.length <= end - start]

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


def _sample(path: Path, text: str, tolerance: float) -> Track:
    """Sample the roads' centre on an even grid of its arc length."""
    where = str(path)
    line = CentreLine(opendrive.roads(text, where, tolerance), where, tolerance)
    length = float(line.arc_length[-1])
    if length < SHORTEST:
        raise UserError(f"{where}: one lap is {length:.1f} m long: a track has at least {SHORTEST:g} m")
    samples = round(length / SPACING)
    s = np.arange(samples) * (length / samples)
    x, y, heading, curvature, half_width = line.at(np.interp(s, line.arc_length, line.grid))
    heading = np.unwrap(heading)
    turn = heading[-1] - heading[0] + float(np.angle(np.exp(1j * (heading[0] - heading[-1]))))
    return Track(
        name=path.stem,
        path=path,
        text=text,
        length=length,
        spacing=length / samples,
        x=x,
        y=y,
        heading=heading,
        curvature=curvature,
        half_width=half_width,
        turn=float(turn),
        zones=tuple(sorted(_zones(line), key=lambda zone: zone.s_start)),
    )


def _zones(line: CentreLine) -> Iterator[DangerZone]:
    """Convert the danger patches to track coordinates; one beside its road is left out with a warning."""
    for start, road in zip(line.starts, line.roads, strict=False):
        for patch in road.patches:
            first, last = (line.arc_length_at(start + s) for s in (patch.s_start, patch.s_end))
            middle = float(road.centre((patch.s_start + patch.s_end) / 2))
            lap = np.floor(first / line.arc_length[-1]) * line.arc_length[-1]
            begin, end = np.clip(patch[:2], 0.0, road.length)
            half_width = road.half_width(np.linspace(begin, end, 9)).max()
            if patch.t_min - middle >= half_width or patch.t_max - middle <= -half_width:
                warnings.warn(
                    f"{line.where}: road {road.name}: object {patch.name} lies beside the road: it is left out"
                )
                continue
            name = f"object {patch.name} of road {road.name}"
            yield DangerZone(float(first - lap), float(last - lap), patch.t_min - middle, patch.t_max - middle, name)
