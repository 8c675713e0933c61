"""Read ``key=value`` texts that stand for several values, in Hydra's grammar of sweeps. Torch-free.

``key=a,b``, ``key=choice(a,b)`` and ``key=range(1,4)`` list values. ``key=interval(0,1)`` and
``key=tag(log,interval(1e-4,1e-2))`` are ranges to draw from. Lists ``[a,b]``, mappings ``{a: 1}`` and quoted texts are
single values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pompc.config.overrides import split
from pompc.errors import UserError


@dataclass(frozen=True)
class Span:
    """Numbers from ``low`` to ``high``, both included.

    Attributes:
        low: the least.
        high: the largest.
        step: distance between them; ``None`` for all numbers.
        log: draw their logarithms evenly.
        whole: whole numbers.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Dimension:
    """A key and the values that it takes.

    Attributes:
        key: the key.
        values: texts as in ``key=value``, in the order of the user; empty for an interval.
        span: the numbers of a range or an interval.
    """

    key: str
    values: tuple[str, ...]
    span: Span | None = None

    @property
    def varies(self) -> bool:
        """Whether there is more than one value."""
        return len(self.values) != 1

    @property
    def ends(self) -> tuple[str, ...]:
        """The values, of an interval both ends."""
        if self.values or self.span is None:
            return self.values
        return number_text(self.span.low), number_text(self.span.high)


def number_text(number: float) -> str:
    """Write a number so that reading it gives the same number."""
    return str(int(number)) if isinstance(number, int) else repr(float(number))


def dimension(text: str) -> Dimension:
    """Read a ``key=value`` text.

    Raises:
        UserError: the text is no ``key=value``, or a sweep that cannot be read or has no values.
    """
    key, value = split(text)
    parsed = _parsed(key, value)
    if parsed is None or not parsed.is_sweep_override():
        return Dimension(key, (value.strip(),))
    if parsed.is_interval_sweep():
        return Dimension(key, (), _interval(key, parsed.value()))
    from hydra.core.override_parser.types import RangeSweep
    from hydra.errors import HydraException

    try:
        items = list(parsed.sweep_iterator())
    except (HydraException, ValueError) as error:
        reason = (
            f" ({error})" if isinstance(error, ValueError) else ""
        )  # Hydra's is about glob(), and about its insides
        raise UserError(f"{text} lists no values{reason}: name them, {key}=a,b") from None
    if not items:
        raise UserError(f"{text} has no values: range(start,stop,step) ends before stop")
    values = tuple(_written(key, item) for item in items)
    swept = parsed.value()
    return Dimension(key, values, _range(key, swept, items) if isinstance(swept, RangeSweep) else None)


def _parsed(key: str, value: str) -> Any:
    """Let Hydra read a value; ``None`` if it is plain and only pompc reads it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(f"{key}={value}")
    except HydraException as error:
        start = value.lstrip()[:1]
        if start in ("'", '"', "[", "{") or not (re.match(r"\s*\w+\(", value) or "," in value):
            return None
        reason = str(error).splitlines()[0].partition(" expecting")[0]
        raise UserError(f"cannot read {key}={value} as several values ({reason}): put one value in quotes") from None


def _written(key: str, item: Any) -> str:
    """Write a value as pompc reads it."""
    from hydra.core.override_parser.types import QuotedString, Sweep

    match item:
        case Sweep():
            raise UserError(f"{key}: a list of values cannot hold a range: give {key} either")
        case QuotedString():
            return item.with_quotes()
        case None:
            return "null"
        case bool():
            return str(item).lower()
        case float():
            return number_text(_rounded(item))
        case list():
            return f"[{', '.join(_written(key, inner) for inner in item)}]"
        case dict():
            return f"{{{', '.join(f'{name}: {_written(key, inner)}' for name, inner in item.items())}}}"
    return str(item)


def _rounded(number: float) -> float:
    """Take the rounding of sums off: ``range(0,1,0.1)`` has 0.7, as typed."""
    return float(f"{number:.12g}")


def _interval(key: str, found: Any) -> Span:
    low, high = found.start, found.end
    if not low < high:
        raise UserError(f"{key}=interval({low},{high}): the first number must be the smaller one")
    whole = "int" in found.tags
    return _span(key, found.tags, *((int(low), int(high)) if whole else (low, high)), None, whole)


def _range(key: str, found: Any, items: list[float]) -> Span | None:
    """Describe a rising range as numbers; ``None`` for another one, whose values are just names."""
    if found.step <= 0 or found.shuffle:
        return None
    whole = all(isinstance(item, int) for item in items)
    low, high = (items[0], items[-1]) if whole else (_rounded(items[0]), _rounded(items[-1]))
    return _span(key, found.tags, low, high, found.step, whole)


def _span(key: str, tags: set[str], low: float, high: float, step: float | None, whole: bool) -> Span:
    unknown = tags - {"log", "int"}
    if unknown:
        raise UserError(f"{key}: unknown tag {min(unknown)}; there are: log, int")
    log = "log" in tags
    if log and low <= 0:
        raise UserError(f"{key}: a logarithmic range begins above 0, not at {low}")
    if log and step not in (None, 1):
        raise UserError(f"{key}: a logarithmic range has no step")
    return Span(low, high, step, log, whole)
