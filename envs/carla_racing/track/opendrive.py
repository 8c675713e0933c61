"""Reader of OpenDRIVE (.xodr) circuits: a closed loop of roads, driven from each road's start to its end.

It reads the plan view (line, arc, spiral, paramPoly3), laneOffset, the widths of the lanes up to the driving ones on
both sides, the road links, and ``<object type="danger">`` patches. It ignores signals and junctions, and warns of banking
and climbs, see ``slopes``.
Coordinates are OpenDRIVE's: right-handed, metres, radians, t positive to the left.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PPoly

from pompc.errors import UserError

from . import slopes
from .lanes import surface
from .loop import close, link, require_joint
from .plan_view import Arc, Array, Line, ParamPoly3, Piece, Samples, Shape, Spiral
from .xodr import Reader, parse, read_text
from .zones import Patch, patches

JOINT_TOLERANCE = 0.01
"""Gap [m] and kink [rad] allowed where two pieces or two roads meet."""
LONGEST = 100_000.0
"""Most metres of a circuit."""
LENGTH_ERROR = 0.05
"""Share by which the arc length of a paramPoly3 may miss its declared length."""


@dataclass(frozen=True)
class Road:
    """One road: its reference line, and the driving surface about it.

    Attributes:
        name: the road's id.
        length: [m].
        pieces: the plan view in order.
        centre: t of the middle of the driving lanes as a function of s [m].
        half_width: half the width of the driving lanes as a function of s [m].
        patches: the danger patches on it.
        predecessor: the id of the road before it, if the file names it.
        successor: the id of the road after it, if the file names it.
        slopes: its steepest banking and climb [rad].
    """

    name: str
    length: float
    pieces: tuple[Piece, ...]
    centre: PPoly
    half_width: PPoly
    patches: tuple[Patch, ...]
    predecessor: str | None
    successor: str | None
    slopes: tuple[float, float]

    def reference(self, s: ArrayLike) -> Samples:
        """The reference line at ``s [n]``: x, y, heading, curvature ``[n]``."""
        s = np.asarray(s, dtype=float)
        result = np.empty((4, *s.shape))
        for piece, here in self._held(s):
            result[:, here] = np.stack(piece.at(s[here]))
        return result[0], result[1], result[2], result[3]

    def curvature_rate(self, s: ArrayLike) -> Array:
        """The derivative ``[n]`` of the reference line's curvature at ``s [n]`` [1/m^2], within its piece."""
        s = np.asarray(s, dtype=float)
        result = np.empty_like(s)
        for piece, here in self._held(s):
            result[here] = piece.curvature_rate(s[here])
        return result

    def _held(self, s: Array) -> list[tuple[Piece, NDArray[np.bool_]]]:
        """Every piece with the mask of the stations on it."""
        index = np.searchsorted([piece.s for piece in self.pieces[1:]], s, side="right")
        return [(piece, index == i) for i, piece in enumerate(self.pieces)]


def read(path: Path, tolerance: float = JOINT_TOLERANCE) -> list[Road]:
    """Read the roads of a circuit in driving order, from the first road of the file; see ``roads``.

    Raises:
        UserError: no such file, a text in no encoding, or a text that ``roads`` refuses.
    """
    return roads(read_text(path), str(path), tolerance)


def roads(text: str, where: str, tolerance: float = JOINT_TOLERANCE) -> list[Road]:
    """Read the roads of an OpenDRIVE text in driving order, from its first road.

    Warns of banking and climbs, which are ignored.

    Args:
        text: the document.
        where: opens every error line.
        tolerance: gap [m] and kink [rad] allowed between two pieces or roads.

    Raises:
        UserError: bad XML, a missing or unsupported element, or roads that are not one closed loop.
    """
    elements = parse(text, where).findall("road")
    if not elements:
        raise UserError(f"{where}: holds no <road>")
    found = [_RoadReader(e, f"{where}: road {e.get('id', '?')}", tolerance).road() for e in elements]
    if sum(road.length for road in found) > LONGEST:
        raise UserError(f"{where}: its roads are longer than {LONGEST:g} m: give a shorter circuit")
    slopes.warn(where, (road.slopes for road in found))
    return close(found, where, tolerance)


class _RoadReader(Reader):
    """Reads one <road>."""

    def __init__(self, element: ET.Element, where: str, tolerance: float) -> None:
        super().__init__(where)
        self.element = element
        self.tolerance = tolerance
        self.length = self.number(element, "length")

    def road(self) -> Road:
        name, pieces = self.attribute(self.element, "id"), self.plan_view()
        centre, half_width = surface(self, self.element, self.length, self.tolerance)
        return Road(
            name=name,
            length=self.length,
            pieces=pieces,
            centre=centre,
            half_width=half_width,
            patches=patches(self, self.element, self.length),
            predecessor=link(self, self.element, "predecessor", "end"),
            successor=link(self, self.element, "successor", "start"),
            slopes=slopes.steepest(self, self.element, self.length),
        )

    def plan_view(self) -> tuple[Piece, ...]:
        elements = self.child(self.element, "planView").findall("geometry")
        if not elements:
            raise self.error("<planView> has no <geometry>")
        pieces = sorted((self.piece(element) for element in elements), key=lambda piece: piece.s)
        end = 0.0
        for i, piece in enumerate(pieces):
            if abs(piece.s - end) > self.tolerance:
                raise self.error(f"<geometry> {i} starts at s={piece.s:g}, the one before ends at {end:g}")
            if i:
                require_joint(pieces[i - 1], piece, f"{self.where}: <geometry> {i}", self.tolerance)
            end = piece.end
        if abs(end - self.length) > self.tolerance:
            raise self.error(f"length='{self.length:g}', but its <geometry> pieces end at {end:g}")
        return tuple(pieces)

    def piece(self, element: ET.Element) -> Piece:
        length = self.number(element, "length")
        if not 0 < length <= LONGEST:
            raise self.error(f"<geometry> length='{length:g}' must be positive and at most {LONGEST:g}")
        curves = [curve for curve in element if curve.tag != "userData"]
        if len(curves) != 1 or curves[0].tag not in _SHAPES:
            found = ", ".join(f"<{curve.tag}>" for curve in curves) or "nothing"
            raise self.error(f"<geometry> holds {found}: supported is one of {', '.join(_SHAPES)}")
        shape = _SHAPES[curves[0].tag](self, curves[0], length)
        s, x, y, heading = (self.number(element, name) for name in ("s", "x", "y", "hdg"))
        return Piece(s, x, y, heading, shape)

    def line(self, _element: ET.Element, length: float) -> Shape:
        return Line(length)

    def arc(self, element: ET.Element, length: float) -> Shape:
        return Arc(length, self.number(element, "curvature"))

    def spiral(self, element: ET.Element, length: float) -> Shape:
        return Spiral(length, self.number(element, "curvStart"), self.number(element, "curvEnd"))

    def param_poly3(self, element: ET.Element, length: float) -> Shape:
        ends = {"arcLength": length, "normalized": 1.0}
        p_range = self.attribute(element, "pRange")
        if p_range not in ends:
            raise self.error(f"<paramPoly3> pRange='{p_range}' must be one of {', '.join(ends)}")
        u, v = (tuple(self.number(element, letter + axis) for letter in "abcd") for axis in "UV")
        curve = ParamPoly3(length, u, v, ends[p_range])
        true = curve.true_length
        if not abs(true - length) <= LENGTH_ERROR * length:
            raise self.error(f"<paramPoly3> is {true:g} m long, but its <geometry> says length='{length:g}'")
        if not curve.moves:
            raise self.error("<paramPoly3> stands still at a point: give it a speed along all of p")
        return curve


_SHAPES: dict[str, Callable[[_RoadReader, ET.Element, float], Shape]] = {
    "line": _RoadReader.line,
    "arc": _RoadReader.arc,
    "spiral": _RoadReader.spiral,
    "paramPoly3": _RoadReader.param_poly3,
}
