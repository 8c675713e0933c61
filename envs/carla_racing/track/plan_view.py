"""The plan view curves of OpenDRIVE (ASAM OpenDRIVE 1.4-1.8, "Geometry"): line, arc, spiral and paramPoly3.

Every shape has its own frame: it starts at the origin along the u axis, v to its left. ``at(s)`` takes the arc
length ``s [...]`` in metres and gives ``u, v`` [m], the heading [rad] and the curvature [1/m], all ``[...]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicHermiteSpline
from scipy.special import fresnel

Array = NDArray[np.floating]
Samples = tuple[Array, Array, Array, Array]
"""x (or u) and y (or v) [m], heading [rad], curvature [1/m], of one shape."""
RATE_STEP = 1e-4
"""Half the distance [m] over which a change of curvature is measured."""


class Shape(Protocol):
    """A curve of known length in its own frame."""

    @property
    def length(self) -> float:
        """Arc length [m]."""
        ...

    def at(self, s: ArrayLike) -> Samples:
        """``s [...]`` -> u, v, heading, curvature ``[...]``."""
        ...


@dataclass(frozen=True)
class Line:
    """A straight of ``length`` [m]."""

    length: float

    def at(self, s: ArrayLike) -> Samples:
        """See :meth:`Shape.at`."""
        s = np.asarray(s, dtype=float)
        zero = np.zeros_like(s)
        return s, zero, zero, zero


@dataclass(frozen=True)
class Arc:
    """A circle's arc: ``curvature`` [1/m], positive to the left."""

    length: float
    curvature: float

    def at(self, s: ArrayLike) -> Samples:
        """See :meth:`Shape.at`."""
        s = np.asarray(s, dtype=float)
        turn = self.curvature * s
        # The chord is s sinc(turn/2) under half the turn: exact, and well behaved as the curvature goes to zero.
        chord = s * np.sinc(turn / (2 * np.pi))
        return chord * np.cos(turn / 2), chord * np.sin(turn / 2), turn, np.full_like(s, self.curvature)


@dataclass(frozen=True)
class Spiral:
    """A clothoid: the curvature goes linearly from ``start`` to ``end`` [1/m]."""

    length: float
    start: float
    end: float

    def at(self, s: ArrayLike) -> Samples:
        """See :meth:`Shape.at`."""
        s = np.asarray(s, dtype=float)
        rate = (self.end - self.start) / self.length
        heading = self.start * s + rate * s**2 / 2
        curvature = self.start + rate * s
        # Below a micrometre of sideways difference it is an arc, and the Fresnel form would lose digits.
        if abs(rate) * self.length**3 / 12 < 1e-6:
            u, v, *_ = Arc(self.length, (self.start + self.end) / 2).at(s)
            return u, v, heading, curvature
        # heading = rate/2 (s + start/rate)^2 - start^2/(2 rate): a Fresnel integral turned by the last term.
        scale = np.sqrt(np.pi / abs(rate))
        origin = self.start / rate
        sin_end, cos_end = fresnel((s + origin) / scale)
        sin_start, cos_start = fresnel(origin / scale)
        position = scale * ((cos_end - cos_start) + 1j * np.sign(rate) * (sin_end - sin_start))
        position = position * np.exp(-1j * self.start**2 / (2 * rate))
        return position.real, position.imag, heading, curvature


@dataclass(frozen=True)
class ParamPoly3:
    """A parametric cubic: ``u`` and ``v`` are the coefficients of 1, p, p^2, p^3 for p in [0, ``p_end``].

    ``length`` is the declared arc length; ``s`` means the share ``s / length`` of the curve's true arc length.
    So p follows from the arc length, and the speed along the curve is one for any parametrisation.
    """

    length: float
    u: tuple[float, float, float, float]
    v: tuple[float, float, float, float]
    p_end: float = 1.0

    @classmethod
    def fitted(cls, u: tuple[float, float, float, float], v: tuple[float, float, float, float]) -> ParamPoly3:
        """The curve over p in [0, 1] with its length measured."""
        curve = cls(1.0, u, v)
        return cls(curve.true_length, u, v)

    def _derivatives(self, p: Array) -> tuple[Array, Array, Array, Array]:
        first, second = (0, 1, 2, 3), (0, 0, 2, 6)
        powers = np.stack([np.zeros_like(p), np.ones_like(p), p, p**2])
        second_powers = np.stack([np.zeros_like(p), np.zeros_like(p), np.ones_like(p), p])
        du, dv = (np.tensordot(np.multiply(c, first), powers, 1) for c in (self.u, self.v))
        ddu, ddv = (np.tensordot(np.multiply(c, second), second_powers, 1) for c in (self.u, self.v))
        return du, dv, ddu, ddv

    @property
    def true_length(self) -> float:
        """The curve's true arc length [m]."""
        return float(self._arc_length[-1])

    @property
    def moves(self) -> bool:
        """Whether the speed is positive everywhere, so that the arc length determines p."""
        du, dv, *_ = self._derivatives(self._grid)
        return bool(np.hypot(du, dv).min() > 0)

    @cached_property
    def _grid(self) -> Array:
        return np.linspace(0.0, self.p_end, 1001)

    @cached_property
    def _arc_length(self) -> Array:
        """True arc length at the grid's p, five Gauss points per interval."""
        nodes, weights = np.polynomial.legendre.leggauss(5)
        half = self._grid[1] / 2
        points = self._grid[:-1, None] + half * (nodes + 1)
        du, dv, *_ = self._derivatives(points)
        return np.concatenate([[0.0], np.cumsum(half * np.hypot(du, dv) @ weights)])

    @cached_property
    def _parameter(self) -> CubicHermiteSpline:
        """p as a function of the true arc length."""
        du, dv, *_ = self._derivatives(self._grid)
        return CubicHermiteSpline(self._arc_length, self._grid, 1 / np.hypot(du, dv))

    def at(self, s: ArrayLike) -> Samples:
        """See :meth:`Shape.at`."""
        s = np.asarray(s, dtype=float)
        p = self._parameter(s * (self._arc_length[-1] / self.length))
        du, dv, ddu, ddv = self._derivatives(p)
        u, v = (np.polynomial.polynomial.polyval(p, c) for c in (self.u, self.v))
        return u, v, np.arctan2(dv, du), (du * ddv - dv * ddu) / np.hypot(du, dv) ** 3


@dataclass(frozen=True)
class Piece:
    """A shape placed in the plane: its road coordinate ``s`` [m] and the pose of its start."""

    s: float
    x: float
    y: float
    heading: float
    shape: Shape

    @property
    def end(self) -> float:
        """The road coordinate of the end [m]."""
        return self.s + self.shape.length

    def at(self, s: ArrayLike) -> Samples:
        """Road coordinates ``s [...]`` of this piece -> x, y, heading, curvature ``[...]``."""
        u, v, turn, curvature = self.shape.at(np.asarray(s, dtype=float) - self.s)
        cos, sin = np.cos(self.heading), np.sin(self.heading)
        return self.x + cos * u - sin * v, self.y + sin * u + cos * v, self.heading + turn, curvature

    def curvature_rate(self, s: ArrayLike) -> Array:
        """The derivative ``[...]`` of the curvature by road coordinate ``s [...]`` [1/m^2], as if the piece had no end."""
        s = np.asarray(s, dtype=float)
        return (self.at(s + RATE_STEP)[3] - self.at(s - RATE_STEP)[3]) / (2 * RATE_STEP)


def chain(shapes: list[Shape]) -> list[Piece]:
    """Shapes laid end to end from the origin, along the x axis."""
    pieces: list[Piece] = []
    s = x = y = heading = 0.0
    for shape in shapes:
        pieces.append(Piece(s, x, y, heading, shape))
        x, y, heading, _ = (float(value) for value in pieces[-1].at(pieces[-1].end))
        s = pieces[-1].end
    return pieces
