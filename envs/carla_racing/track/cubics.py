"""OpenDRIVE's records: cubics, each valid from its start to the start of the next."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .xodr import Reader

SNAP = 1e-3
"""Starts that are this near to each other [m] are one."""


class Cubic(NamedTuple):
    """``a + b h + c h^2 + d h^3`` of ``h = s - start``; ``coefficients`` are a, b, c, d ``[4]``."""

    start: float
    coefficients: np.ndarray


def read(
    reader: Reader, elements: Sequence[ET.Element], key: str, start: float = 0.0, default: float | None = None
) -> list[Cubic]:
    """Read records and sort them by their start: the attribute ``key``, counted from ``start`` [m].

    Args:
        reader: for the errors.
        elements: one per record.
        key: ``s`` or ``sOffset``.
        start: zero of the key [m].
        default: of a missing attribute; ``None`` refuses a missing one.

    Raises:
        UserError: an attribute is missing or no number.
    """
    found = [
        Cubic(
            start + reader.number(element, key, default),
            np.array([reader.number(element, name, default) for name in "abcd"]),
        )
        for element in elements
    ]
    return sorted(found, key=lambda cubic: cubic.start)


def about(records: Sequence[Cubic], s: float) -> np.ndarray:
    """Coefficients ``[4]`` about ``s`` of the record that is valid there; zero before the first."""
    held = [record for record in records if record.start <= s + SNAP]
    if not held:
        return np.zeros(4)
    start, (a, b, c, d) = held[-1]
    h = s - start
    return np.array([a + h * (b + h * (c + h * d)), b + h * (2 * c + 3 * h * d), c + 3 * h * d, d])


def pieces(records: Sequence[Cubic], end: float) -> Iterator[tuple[Cubic, float]]:
    """Yield every record that is valid before ``end`` with its length [m]."""
    ends = [*(record.start for record in records), end][1:]
    for record, following in zip(records, ends, strict=True):
        length = min(following, end) - record.start
        if length > 0:
            yield record, length


def extremes(coefficients: np.ndarray, length: float) -> list[tuple[float, float]]:
    """Yield ``(h, value)`` at every place at which a polynomial in rising powers can be extreme on [0, ``length``]."""
    polynomial = np.polynomial.Polynomial(coefficients)
    turning = [float(root.real) for root in polynomial.deriv().roots() if abs(root.imag) < 1e-9]
    places = [0.0, length, *(h for h in turning if 0 < h < length)]
    return [(h, float(polynomial(h))) for h in places]
