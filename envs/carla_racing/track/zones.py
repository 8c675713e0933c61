"""Danger zones of a road: ``<object type="danger">`` and their repetitions, as boxes along the road."""

from __future__ import annotations

import math
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import NamedTuple

from .xodr import Reader

UPRIGHT = 0.01
"""How far [rad] a zone may be turned from along, or across, the road."""


class Patch(NamedTuple):
    """A danger patch in road coordinates [m]: s along the road, t to the left of the reference line; the object's id."""

    s_start: float
    s_end: float
    t_min: float
    t_max: float
    name: str


def patches(reader: Reader, road: ET.Element, length: float) -> tuple[Patch, ...]:
    """The danger patches of a road of that ``length`` [m].

    An object is the box s +- length/2, t +- width/2. Its <repeat>s replace it: copies at equal distances, or one long box
    for ``distance="0"``.

    Raises:
        UserError: a box without a size, turned out of the road's direction, or beyond the road's ends.
    """
    found = []
    for element in road.findall("objects/object[@type='danger']"):
        one = Reader(f"{reader.where}: <object> {element.get('id', '?')}")
        if element.find(".//outline") is not None:
            warnings.warn(f"{one.where}: its <outline> is not read: the zone is its length and width")
        repeats = element.findall("repeat")
        across = _lies_across(one, element)
        boxes = (
            (box for repeat in repeats for box in _repeated(one, element, repeat)) if repeats else [_box(one, element)]
        )
        name = element.get("id", "?")
        found += [_patch(one, box, across, length, name) for box in boxes]
    return tuple(found)


class _Box(NamedTuple):
    """Centre and size [m] of a box in its own direction."""

    s: float
    t: float
    length: float
    width: float


def _box(reader: Reader, element: ET.Element) -> _Box:
    return _Box(*(reader.number(element, name) for name in _Box._fields))


def _lies_across(reader: Reader, element: ET.Element) -> bool:
    """Whether an object lies across the road instead of along it.

    Raises:
        UserError: it lies in another direction.
    """
    heading = reader.number(element, "hdg", 0.0)
    if abs(math.remainder(heading, math.pi / 2)) > UPRIGHT:
        raise reader.error(
            f"is turned by hdg='{heading:g}': a zone lies along the road (0) or across it (1.5708), "
            "so give one or several such boxes"
        )
    return abs(math.remainder(heading, math.pi)) > UPRIGHT


def _repeated(reader: Reader, element: ET.Element, repeat: ET.Element) -> Iterator[_Box]:
    """Make the boxes of one <repeat>; the object's values fill missing ones."""
    start = reader.number(repeat, "s", reader.number(element, "s"))
    reach, distance = reader.number(repeat, "length"), reader.number(repeat, "distance")
    if reach < 0 or distance < 0:
        raise reader.error("its <repeat> has a negative length or distance")
    if repeat.get("detachFromReferenceLine", "false").lower() in ("true", "1"):
        raise reader.error("its <repeat> has detachFromReferenceLine='true': only what follows the road is read")
    ends = {name: [_end(reader, element, repeat, name, end) for end in ("Start", "End")] for name in _Box._fields[1:]}
    if distance == 0:
        if any(first != last for first, last in (ends["t"], ends["width"])):
            raise reader.error("its continuous <repeat> changes its t or width: give several boxes")
        yield _Box(start + reach / 2, ends["t"][0], reach, ends["width"][0])
        return
    for i in range(1 + math.floor(reach / distance + 1e-9)):
        share = i * distance / reach if reach else 0.0
        yield _Box(start + i * distance, *(first + share * (last - first) for first, last in ends.values()))


def _end(reader: Reader, element: ET.Element, repeat: ET.Element, name: str, end: str) -> float:
    """Read a quantity at one end of a repetition; the object's own may be missing if nothing needs it."""
    if name + end in repeat.attrib:
        return reader.number(repeat, name + end)
    if name == "length" and reader.number(repeat, "distance") == 0:
        return 0.0
    return reader.number(element, name)


def _patch(reader: Reader, box: _Box, across: bool, length: float, name: str) -> Patch:
    along, sideways = (box.width, box.length) if across else (box.length, box.width)
    if along <= 0 or sideways <= 0:
        raise reader.error("length and width must be positive")
    if not 0 <= box.s <= length:
        raise reader.error(f"lies at s={box.s:g}, beyond the ends of its road of {length:g} m")
    return Patch(box.s - along / 2, box.s + along / 2, box.t - sideways / 2, box.t + sideways / 2, name)
