"""Banking and climbs of a road, which the plane racing task ignores."""

from __future__ import annotations

import math
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator

import numpy as np

from . import cubics
from .xodr import Reader

NOTICED = math.radians(1.0)
"""From this slope [rad] on, a word is due: it pulls at a car with 0.17 m/s^2."""
REFUSED = math.radians(45.0)
"""The slope [rad] from which on no car stands."""


def steepest(reader: Reader, road: ET.Element, length: float) -> tuple[float, float]:
    """The steepest banking and climb [rad] of a road of that ``length`` [m].

    Raises:
        UserError: a record whose entries are no numbers, or a slope too steep for a car.
    """

    def records(path: str) -> Iterator[tuple[cubics.Cubic, float]]:
        return cubics.pieces(cubics.read(reader, road.findall(path), "s", default=0.0), length)

    banks = [
        abs(value)
        for tag in ("superelevation", "crossfall")
        for record, reach in records(f"lateralProfile/{tag}")
        for _, value in cubics.extremes(record.coefficients, reach)
    ]
    banks += [math.atan(abs(reader.number(shape, "b", 0.0))) for shape in road.findall("lateralProfile/shape")]
    climbs = [
        math.atan(abs(value))
        for record, reach in records("elevationProfile/elevation")
        for _, value in cubics.extremes(np.array([1, 2, 3]) * record.coefficients[1:], reach)
    ]
    bank, climb = max(banks, default=0.0), max(climbs, default=0.0)
    for name, slope in (("is banked", bank), ("climbs", climb)):
        if slope >= REFUSED:
            raise reader.error(f"{name} by up to {math.degrees(slope):.1f} degrees: that is no flat road to race on")
    return bank, climb


def warn(where: str, slopes: Iterable[tuple[float, float]]) -> None:
    """Warn once of the roads' ``slopes``, their banking and climb [rad], if any is noticeable."""
    bank, climb = (max(values) for values in zip(*slopes, strict=True))
    words = [
        f"{name} by up to {math.degrees(slope):.1f} degrees"
        for name, slope in (("are banked", bank), ("climb", climb))
        if slope >= NOTICED
    ]
    if words:
        warnings.warn(f"{where}: its roads {' and '.join(words)}, and are driven as if they were flat (env.track)")
