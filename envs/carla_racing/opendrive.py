"""Reader of OpenDRIVE (.xodr) circuits: a closed loop of roads, driven from each road's start to its end.

Read are the plan view (line, arc, spiral, paramPoly3), laneOffset, the widths of the driving lanes on both sides, the
road links, and ``<object type="danger">`` patches. Elevation, signals and junctions are ignored: the plane is enough.
Coordinates are OpenDRIVE's: right-handed, metres, radians, t positive to the left.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import PPoly

from pompc.errors import UserError

from .plan_view import Arc, Line, ParamPoly3, Piece, Samples, Shape, Spiral

JOINT_TOLERANCE = 0.01
"""Gap [m] and kink [rad] allowed where two pieces or two roads meet."""


@dataclass(frozen=True)
class Patch:
    """A danger patch in road coordinates [m]: s along the road, t to the left of the reference line."""

    s_start: float
    s_end: float
    t_min: float
    t_max: float


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
        successor: the id of the road that follows.
    """

    name: str
    length: float
    pieces: tuple[Piece, ...]
    centre: PPoly
    half_width: PPoly
    patches: tuple[Patch, ...]
    successor: str

    def reference(self, s: ArrayLike) -> Samples:
        """The reference line at ``s [n]``: x, y, heading, curvature ``[n]``."""
        s = np.asarray(s, dtype=float)
        index = np.searchsorted([piece.s for piece in self.pieces[1:]], s, side="right")
        result = np.empty((4, *s.shape))
        for i, piece in enumerate(self.pieces):
            result[:, index == i] = np.stack(piece.at(s[index == i]))
        return result[0], result[1], result[2], result[3]


def read(path: Path) -> list[Road]:
    """The roads of a circuit in driving order, from the first road of the file.

    Raises:
        UserError: no such file, bad XML, a missing or unsupported element, or roads that are not one closed loop.
    """
    try:
        root = ET.parse(path).getroot()
    except OSError as error:
        raise UserError(f"{path}: cannot read the track: {error.strerror}") from error
    except ET.ParseError as error:
        raise UserError(f"{path}: not an XML file ({error}): give an OpenDRIVE .xodr file") from error
    if root.tag != "OpenDRIVE":
        raise UserError(f"{path}: the root element is <{root.tag}>: give an OpenDRIVE .xodr file")
    elements = root.findall("road")
    if not elements:
        raise UserError(f"{path}: holds no <road>")
    roads = [_RoadReader(element, f"{path}: road {element.get('id', '?')}").road() for element in elements]
    return _loop(roads, str(path))


def _loop(roads: list[Road], where: str) -> list[Road]:
    """``roads`` in the order of their successor links, checked to be one closed loop without gaps."""
    by_name = {road.name: road for road in roads}
    order = [roads[0]]
    while order[-1].successor != roads[0].name:
        last = order[-1]
        if last.successor not in by_name:
            raise UserError(f"{where}: road {last.name}: its successor, road {last.successor}, is not in the file")
        if by_name[last.successor] in order:
            raise UserError(f"{where}: road {last.name}: links back to road {last.successor}, not to the first road")
        order.append(by_name[last.successor])
    if len(order) < len(roads):
        spare = next(road.name for road in roads if road not in order)
        raise UserError(f"{where}: road {spare}: is not on the loop that starts at road {roads[0].name}")
    for road, following in zip(order, order[1:] + order[:1], strict=True):
        _check_joint(road.pieces[-1], following.pieces[0], f"{where}: road {road.name} to road {following.name}")
    return order


def _check_joint(before: Piece, after: Piece, where: str) -> None:
    x, y, heading, _ = before.at(before.end)
    gap = float(np.hypot(x - after.x, y - after.y))
    kink = abs(float(np.angle(np.exp(1j * (heading - after.heading)))))
    if gap > JOINT_TOLERANCE or kink > JOINT_TOLERANCE:
        raise UserError(f"{where}: open loop: the end misses the next start by {gap:.3f} m and {kink:.3f} rad")


class _RoadReader:
    """Reads one <road>; ``where`` opens every error line."""

    def __init__(self, element: ET.Element, where: str) -> None:
        self.element = element
        self.where = where
        self.length = self.number(element, "length")

    def road(self) -> Road:
        centre, half_width = self.surface()
        return Road(
            name=self.attribute(self.element, "id"),
            length=self.length,
            pieces=self.plan_view(),
            centre=centre,
            half_width=half_width,
            patches=self.patches(),
            successor=self.successor(),
        )

    def attribute(self, element: ET.Element, name: str) -> str:
        value = element.get(name)
        if value is None:
            raise UserError(f"{self.where}: <{element.tag}> has no attribute '{name}'")
        return value

    def number(self, element: ET.Element, name: str) -> float:
        text = self.attribute(element, name)
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise UserError(f"{self.where}: <{element.tag}> {name}='{text}' is not a finite number")
        return value

    def child(self, element: ET.Element, path: str) -> ET.Element:
        found = element.find(path)
        if found is None:
            raise UserError(f"{self.where}: <{element.tag}> has no <{path}>")
        return found

    def successor(self) -> str:
        """The id of the following road; both links are checked to run from end to start."""
        link = self.child(self.element, "link")
        for tag, contact in (("predecessor", "end"), ("successor", "start")):
            target = self.child(link, tag)
            if target.get("elementType") != "road" or target.get("contactPoint") != contact:
                raise UserError(
                    f"{self.where}: <{tag}> must have elementType='road' and contactPoint='{contact}': "
                    "only circuits driven from each road's start to its end are read"
                )
        return self.attribute(self.child(link, "successor"), "elementId")

    def plan_view(self) -> tuple[Piece, ...]:
        elements = self.child(self.element, "planView").findall("geometry")
        if not elements:
            raise UserError(f"{self.where}: <planView> has no <geometry>")
        pieces = [self.piece(element) for element in elements]
        end = 0.0
        for i, piece in enumerate(pieces):
            if abs(piece.s - end) > JOINT_TOLERANCE:
                raise UserError(f"{self.where}: <geometry> {i} starts at s={piece.s:g}, the one before ends at {end:g}")
            if i:
                _check_joint(pieces[i - 1], piece, f"{self.where}: <geometry> {i}")
            end = piece.end
        if abs(end - self.length) > JOINT_TOLERANCE:
            raise UserError(f"{self.where}: length='{self.length:g}', but its <geometry> pieces end at {end:g}")
        return tuple(pieces)

    def piece(self, element: ET.Element) -> Piece:
        length = self.number(element, "length")
        if length <= 0:
            raise UserError(f"{self.where}: <geometry> length='{length:g}' must be positive")
        curves = list(element)
        if len(curves) != 1 or curves[0].tag not in _SHAPES:
            found = ", ".join(f"<{curve.tag}>" for curve in curves) or "nothing"
            raise UserError(f"{self.where}: <geometry> holds {found}: supported is one of {', '.join(_SHAPES)}")
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
            raise UserError(f"{self.where}: <paramPoly3> pRange='{p_range}' must be one of {', '.join(ends)}")
        u, v = (tuple(self.number(element, letter + axis) for letter in "abcd") for axis in "UV")
        return ParamPoly3(length, u, v, ends[p_range])

    def surface(self) -> tuple[PPoly, PPoly]:
        """Centre and half width of the driving lanes, as piecewise cubics of s."""
        lanes = self.child(self.element, "lanes")
        offset = _records(self, lanes.findall("laneOffset"), "s", 0.0) or [(0.0, np.zeros(4))]
        sections = lanes.findall("laneSection")
        if not sections:
            raise UserError(f"{self.where}: <lanes> has no <laneSection>")
        starts = [self.number(section, "s") for section in sections]
        sides = [
            (self.side(section, start, "left"), self.side(section, start, "right"))
            for section, start in zip(sections, starts, strict=True)
        ]
        breaks = {0.0, *starts, *(s for s, _ in offset)}
        breaks |= {s for pair in sides for side in pair for lane in side for s, _ in lane}
        knots = sorted(s for s in breaks if 0 <= s < self.length)
        centre, half_width = [], []
        for s in knots:
            left, right = sides[max(int(np.searchsorted(starts, s, side="right")) - 1, 0)]
            left_width = sum((_shifted(lane, s) for lane in left), np.zeros(4))
            right_width = sum((_shifted(lane, s) for lane in right), np.zeros(4))
            centre.append(_shifted(offset, s) + (left_width - right_width) / 2)
            half_width.append((left_width + right_width) / 2)
        x = [*knots, self.length]
        result = PPoly(np.transpose(centre)[::-1], x), PPoly(np.transpose(half_width)[::-1], x)
        if result[1](np.linspace(0, self.length, 200)).min() <= 0:
            raise UserError(f"{self.where}: <lanes> has no lane of type='driving' with a positive width everywhere")
        return result

    def side(self, section: ET.Element, start: float, side: str) -> list[list[tuple[float, np.ndarray]]]:
        """The width records of the driving lanes of one side of a section."""
        if section.find("center/lane") is None:
            raise UserError(f"{self.where}: <laneSection> has no <center> with a <lane>")
        driving = [lane for lane in section.findall(f"{side}/lane") if lane.get("type") == "driving"]
        records = [_records(self, lane.findall("width"), "sOffset", start) for lane in driving]
        if not all(records):
            raise UserError(f"{self.where}: a <lane> on the {side} has no <width>")
        return records

    def patches(self) -> tuple[Patch, ...]:
        """Objects of type "danger": the box s +- length/2, t +- width/2, taken along the road."""
        patches = []
        for element in self.element.findall("objects/object[@type='danger']"):
            s, t, length, width = (self.number(element, name) for name in ("s", "t", "length", "width"))
            if length <= 0 or width <= 0:
                raise UserError(f"{self.where}: <object> {element.get('id', '?')}: length and width must be positive")
            patches.append(Patch(s - length / 2, s + length / 2, t - width / 2, t + width / 2))
        return tuple(patches)


_SHAPES: dict[str, Callable[[_RoadReader, ET.Element, float], Shape]] = {
    "line": _RoadReader.line,
    "arc": _RoadReader.arc,
    "spiral": _RoadReader.spiral,
    "paramPoly3": _RoadReader.param_poly3,
}


def _records(reader: _RoadReader, elements: list[ET.Element], key: str, start: float) -> list[tuple[float, np.ndarray]]:
    """Cubic records in order: (s of the start, coefficients a, b, c, d)."""
    records = [
        (start + reader.number(element, key), np.array([reader.number(element, name) for name in "abcd"]))
        for element in elements
    ]
    return sorted(records, key=lambda record: record[0])


def _shifted(records: list[tuple[float, np.ndarray]], s: float) -> np.ndarray:
    """Coefficients about ``s`` of the record that holds there; zero before the first."""
    held = [record for record in records if record[0] <= s]
    if not held:
        return np.zeros(4)
    start, (a, b, c, d) = held[-1]
    h = s - start
    return np.array([a + h * (b + h * (c + h * d)), b + h * (2 * c + 3 * h * d), c + 3 * h * d, d])
