"""Draws the shipped circuit: ``python -m pompc.envs.carla_racing.track.design_track [PATH]`` writes its OpenDRIVE file.

The circuit is a list of shapes. The lengths of its two straights are solved for, so that it closes exactly.
Every corner is spiral - arc - spiral, so the curvature is continuous. CARLA closes the loop on a file of this form: at
least three roads, lane links, a centre lane, and the reference line in the middle of one lane
(laneOffset of half the width).
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .plan_view import Arc, Line, ParamPoly3, Piece, Shape, Spiral, chain

WIDTH = 12.0
"""Width of the road [m]."""


@dataclass(frozen=True)
class Danger:
    """A patch in track coordinates [m]: along the road, and across (left positive)."""

    s_start: float
    s_end: float
    n_min: float
    n_max: float


# On or near the racing line, on changing sides; each leaves at least 7.5 m of the 12 m free.
DANGERS = (
    Danger(34.0, 46.0, -6.0, -2.0),  # main straight: the car runs wide here after the last corner
    Danger(127.0, 137.0, 2.5, 6.0),  # apex of the first corner
    Danger(188.0, 201.0, -6.0, -1.5),  # back straight: the outside, wanted for the second corner
    Danger(344.0, 354.0, 2.0, 6.0),  # apex of the left hairpin
    Danger(440.0, 451.0, 2.0, 6.0),  # exit of the right hairpin
    Danger(504.0, 514.0, 2.5, 6.0),  # second apex of the chicane
)


def corner(degrees: float, radius: float, transition: float) -> list[Shape]:
    """Spiral, arc, spiral through ``degrees`` (left positive); ``radius`` and ``transition`` in metres."""
    curvature = np.sign(degrees) / radius
    arc = abs(np.radians(degrees)) * radius - transition
    return [Spiral(transition, 0.0, curvature), Arc(arc, curvature), Spiral(transition, curvature, 0.0)]


def kink(run: float, rise: float) -> ParamPoly3:
    """A gentle bend ``run`` metres on and ``rise`` metres to the left, of zero curvature at both ends.

    v = rise p^3 bends nowhere at p = 0; u = run (p - p^2 + p^3) makes the curvature vanish at p = 1 as well.
    """
    return ParamPoly3.fitted((0.0, run, -run, run), (0.0, 0.0, 0.0, rise))


def kink_degrees(bend: ParamPoly3) -> float:
    """The change of heading over a kink, in degrees."""
    return float(np.degrees(bend.at(bend.length)[2]))


def circuit() -> list[list[Shape]]:
    """The roads of the circuit, each a list of shapes."""
    bend = kink(38.0, -6.46)
    free = Line(0.0)
    roads: list[list[Shape]] = [
        [free, *corner(100.0, 28.0, 16.0)],
        [free, *corner(88.0, 24.0, 14.0)],
        [bend, *corner(180.0 - kink_degrees(bend), 15.5, 11.0)],
        [Line(10.0), *corner(-156.0, 17.0, 12.0), Line(6.0)],
        [*corner(-58.0, 24.0, 13.0), *corner(58.0, 24.0, 13.0), Line(16.0), *corner(148.0, 25.0, 16.0)],
    ]
    return closed(roads)


def closed(roads: list[list[Shape]]) -> list[list[Shape]]:
    """The roads with their two straights of zero length stretched so that the circuit closes.

    The headings do not depend on those lengths, so the gap is linear in them: a 2 x 2 system.
    """
    pieces = chain([shape for road in roads for shape in road])
    directions = [piece.heading for piece in pieces if piece.shape.length == 0]
    x, y, *_ = pieces[-1].at(pieces[-1].end)
    first, second = np.linalg.solve([np.cos(directions), np.sin(directions)], [-x, -y])
    lengths = iter([float(first), float(second)])
    return [[replace(shape, length=next(lengths)) if shape.length == 0 else shape for shape in road] for road in roads]


def document(name: str, roads: list[list[Shape]], dangers: Sequence[Danger] = DANGERS) -> ET.ElementTree:
    """The circuit as an OpenDRIVE 1.4 document."""
    root = ET.Element("OpenDRIVE")
    header = ET.SubElement(root, "header", revMajor="1", revMinor="4", name=name, version="1.00")
    reference = ET.SubElement(header, "geoReference")  # any place: CARLA's client warns if there is none
    reference.text = "+proj=tmerc +lat_0=0 +lon_0=0"
    pieces = iter(chain([shape for road in roads for shape in road]))
    for index, shapes in enumerate(roads):
        neighbours = (index - 1) % len(roads), (index + 1) % len(roads)
        _add_road(root, index, neighbours, [next(pieces) for _ in shapes], dangers)
    tree = ET.ElementTree(root)
    ET.indent(tree, "  ")
    return tree


def _add_road(
    root: ET.Element, index: int, neighbours: tuple[int, int], pieces: list[Piece], dangers: Sequence[Danger]
) -> None:
    start, end = pieces[0].s, pieces[-1].end
    road = ET.SubElement(root, "road", name=f"road {index}", length=_text(end - start), id=str(index), junction="-1")
    link = ET.SubElement(road, "link")
    for tag, neighbour, contact in zip(("predecessor", "successor"), neighbours, ("end", "start"), strict=True):
        ET.SubElement(link, tag, elementType="road", elementId=str(neighbour), contactPoint=contact)
    ET.SubElement(_child(road, "type", s="0", type="town"), "speed", max="100", unit="km/h")
    plan_view = ET.SubElement(road, "planView")
    for piece in pieces:
        pose = {"s": piece.s - start, "x": piece.x, "y": piece.y, "hdg": piece.heading, "length": piece.shape.length}
        geometry = ET.SubElement(plan_view, "geometry", {key: _text(value) for key, value in pose.items()})
        tag, numbers, words = _curve(piece.shape)
        ET.SubElement(geometry, tag, {key: _text(value) for key, value in numbers.items()} | words)
    ET.SubElement(ET.SubElement(road, "elevationProfile"), "elevation", _cubic("s", 0.0))
    _add_lanes(road)
    objects = ET.SubElement(road, "objects")
    for number, danger in enumerate(dangers):
        if start <= (danger.s_start + danger.s_end) / 2 < end:
            _add_danger(objects, number, danger, start)


def _add_lanes(road: ET.Element) -> None:
    """One driving lane to the right of the lane reference, which laneOffset puts on the left edge."""
    lanes = ET.SubElement(road, "lanes")
    ET.SubElement(lanes, "laneOffset", _cubic("s", WIDTH / 2))
    section = ET.SubElement(lanes, "laneSection", s="0")
    centre = _child(ET.SubElement(section, "center"), "lane", id="0", type="none", level="false")
    lane = _child(ET.SubElement(section, "right"), "lane", id="-1", type="driving", level="false")
    link = ET.SubElement(lane, "link")
    ET.SubElement(link, "predecessor", id="-1")
    ET.SubElement(link, "successor", id="-1")
    ET.SubElement(lane, "width", _cubic("sOffset", WIDTH))
    for edge in (centre, lane):
        ET.SubElement(
            edge,
            "roadMark",
            sOffset="0",
            type="solid",
            weight="standard",
            color="white",
            width="0.15",
            laneChange="none",
        )


def _add_danger(objects: ET.Element, number: int, danger: Danger, start: float) -> None:
    box = {
        "s": (danger.s_start + danger.s_end) / 2 - start,
        "t": (danger.n_min + danger.n_max) / 2,
        "length": danger.s_end - danger.s_start,
        "width": danger.n_max - danger.n_min,
        "zOffset": 0.0,
        "hdg": 0.0,
        "pitch": 0.0,
        "roll": 0.0,
        "height": 0.0,
    }
    attributes = {"id": str(number), "type": "danger", "name": f"danger_{number}", "orientation": "none"}
    ET.SubElement(objects, "object", attributes | {key: _text(value) for key, value in box.items()})


def _curve(shape: Shape) -> tuple[str, dict[str, float], dict[str, str]]:
    """A shape's element: tag, numeric attributes, other attributes."""
    match shape:
        case Arc():
            return "arc", {"curvature": shape.curvature}, {}
        case Spiral():
            return "spiral", {"curvStart": shape.start, "curvEnd": shape.end}, {}
        case ParamPoly3():
            numbers = {f"{letter}U": value for letter, value in zip("abcd", shape.u, strict=True)}
            numbers |= {f"{letter}V": value for letter, value in zip("abcd", shape.v, strict=True)}
            return "paramPoly3", numbers, {"pRange": "normalized"}
        case _:
            return "line", {}, {}


def _child(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, tag, attributes)


def _cubic(key: str, constant: float) -> dict[str, str]:
    return {key: "0", "a": f"{constant:g}", "b": "0", "c": "0", "d": "0"}


def _text(value: float) -> str:
    """Format to picometres: far below any tolerance, and free of the noise of a machine's last bit."""
    return f"{float(value) + 0.0:.12f}"


def main(path: Path) -> None:
    """Write the circuit to ``path``."""
    document(path.stem, circuit()).write(path, encoding="utf-8", xml_declaration=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("circuits") / "esses.xodr")
