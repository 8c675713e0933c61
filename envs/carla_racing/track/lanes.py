"""The driving surface of a road: the driving lanes beside the reference line.

Every lane between the reference line and the driving lanes counts with its width, whatever its type. The driving lanes
are one surface, so nothing else may lie between them.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.interpolate import PPoly

from . import cubics
from .cubics import SNAP, Cubic
from .xodr import Reader

DRIVING = "driving"


class Section(NamedTuple):
    """A lane section: its start [m], and the widths that lie between the reference line and either edge.

    Each is a list of lanes with the sign that their width has in t, the coordinate to the left.
    """

    start: float
    left: list[tuple[int, list[Cubic]]]
    right: list[tuple[int, list[Cubic]]]


def surface(reader: Reader, road: ET.Element, length: float, tolerance: float) -> tuple[PPoly, PPoly]:
    """Middle (t) and half width [m] of the driving lanes, as piecewise cubics of s.

    Args:
        reader: for the errors.
        road: the <road>.
        length: of the road [m].
        tolerance: error [m] allowed for a width.

    Raises:
        UserError: a missing element, a strip between driving lanes, or a width that is negative.
    """
    lanes = reader.child(road, "lanes")
    offset = cubics.read(reader, lanes.findall("laneOffset"), "s")
    sections = list(_sections(reader, lanes, length, tolerance))
    starts = [section.start for section in sections]
    widths = [widths for section in sections for side in (section.left, section.right) for _, widths in side]
    wanted = sorted(s for s in {0.0, *starts, *(r.start for group in (offset, *widths) for r in group)} if s >= 0)
    knots = [0.0]
    for s in wanted:
        if knots[-1] + SNAP < s < length - SNAP:
            knots.append(s)
    middle, half = [], []
    for s in knots:
        section = sections[int(np.searchsorted(starts, s + SNAP, side="right")) - 1]
        base = cubics.about(offset, s)
        left, right = (
            sum((sign * cubics.about(widths, s) for sign, widths in side), base)
            for side in (section.left, section.right)
        )
        middle.append((left + right) / 2)
        half.append((left - right) / 2)
    for s, end, coefficients in zip(knots, [*knots[1:], length], half, strict=True):
        if min(value for _, value in cubics.extremes(coefficients, end - s)) <= 0:
            raise reader.error(f"the lanes of type='{DRIVING}' have no width at all within s={s:g}..{end:g}")
    x = [*knots, length]
    return PPoly(np.transpose(middle)[::-1], x), PPoly(np.transpose(half)[::-1], x)


def _sections(reader: Reader, lanes: ET.Element, length: float, tolerance: float) -> Iterator[Section]:
    """Read the lane sections in the order of their start; one that begins at the road's end is left out."""
    elements = [(reader.number(element, "s"), element) for element in lanes.findall("laneSection")]
    if not elements:
        raise reader.error("<lanes> has no <laneSection>")
    elements.sort(key=lambda pair: pair[0])
    if abs(elements[0][0]) > tolerance:
        raise reader.error(f"its first <laneSection> starts at s={elements[0][0]:g}: it must start at 0")
    for (s, _), (following, _) in pairwise(elements):
        if following - s <= SNAP:
            raise reader.error(f"two <laneSection> start at s={s:g}")
    elements = [(s, element) for s, element in elements if s < length - SNAP]
    ends = [*(s for s, _ in elements[1:]), length]
    for (start, element), end in zip(elements, ends, strict=True):
        yield _section(Reader(f"{reader.where}: <laneSection> at s={start:g}"), element, start, end, tolerance)


def _section(reader: Reader, element: ET.Element, start: float, end: float, tolerance: float) -> Section:
    if element.find("center/lane") is None:
        raise reader.error("has no <center> with a <lane>")
    if element.get("singleSide", "false").lower() in ("true", "1"):
        raise reader.error("singleSide='true' is not read: give sections that hold for both sides")
    lanes = _by_number(reader, element)
    driving = [number for number, lane in lanes.items() if lane.get("type") == DRIVING]
    if not driving:
        raise reader.error(f"has no lane of type='{DRIVING}'")
    lowest, highest = min(driving), max(driving)
    inside = sorted(number for number in lanes if min(lowest, 0) <= number <= max(highest, 0))
    widths = {number: _widths(reader, number, lanes[number], start, end, tolerance) for number in inside}
    for number in inside:
        kind = lanes[number].get("type", "")
        if kind != DRIVING and lowest < number < highest and _widest(widths[number], end) > tolerance:
            raise reader.error(
                f"lane {number} of type='{kind}' lies between the driving lanes: they must lie side by side"
            )
    left = [number for number in inside if (0 < number <= highest if highest > 0 else highest < number < 0)]
    right = [number for number in inside if (lowest <= number < 0 if lowest < 0 else 0 < number < lowest)]
    return Section(start, *([(int(np.sign(n)), widths[n]) for n in side] for side in (left, right)))


def _by_number(reader: Reader, element: ET.Element) -> dict[int, ET.Element]:
    """The lanes of a section by their id, which grows to the left."""
    found: dict[int, ET.Element] = {}
    for side, sign in (("left", 1), ("right", -1)):
        for lane in element.findall(f"{side}/lane"):
            text = reader.attribute(lane, "id")
            try:
                number = int(text)
            except ValueError:
                number = 0
            if number * sign <= 0:
                raise reader.error(
                    f"<{side}> has a lane with id='{text}': ids are positive on the left, negative right"
                )
            if number in found:
                raise reader.error(f"two lanes have the id {number}")
            found[number] = lane
    return found


def _widths(reader: Reader, number: int, lane: ET.Element, start: float, end: float, tolerance: float) -> list[Cubic]:
    """The widths of a lane, from the start of its section to its end."""
    found = cubics.read(reader, lane.findall("width"), "sOffset", start)
    if not found:
        raise reader.error(f"lane {number} has no <width>")
    if found[0].start > start + tolerance:
        raise reader.error(f"lane {number} has no <width> before sOffset={found[0].start - start:g}")
    found[0] = Cubic(start, cubics.about(found[:1], max(start, found[0].start)))
    for record, length in cubics.pieces(found, end):
        h, least = min(cubics.extremes(record.coefficients, length), key=lambda pair: pair[1])
        if least < -tolerance:
            raise reader.error(
                f"lane {number} is {least:.3f} m wide at s={record.start + h:g}: widths are not negative"
            )
    return found


def _widest(widths: list[Cubic], end: float) -> float:
    """The greatest width [m]."""
    return max(
        value
        for record, length in cubics.pieces(widths, end)
        for _, value in cubics.extremes(record.coefficients, length)
    )
