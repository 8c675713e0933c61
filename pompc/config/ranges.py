"""The range of a number, from the marks of ``annotated_types`` and in words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt

from pompc.config.values import show
from pompc.errors import UserError

_BOUNDS = {Gt: "gt", Ge: "ge", Lt: "lt", Le: "le"}


@dataclass(frozen=True)
class Range:
    """Bounds of a number; ``None`` does not bound it, and an infinite open bound only asks for a finite number.

    Attributes:
        gt: the number is greater than this.
        ge: the number is at least this.
        lt: the number is less than this.
        le: the number is at most this.
    """

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None

    @classmethod
    def of(cls, marks: Iterable[Any]) -> Range:
        """Read the range that the marks of an ``Annotated`` ask for; other marks are ignored."""
        parts = [part for mark in marks for part in (mark if isinstance(mark, GroupedMetadata) else (mark,))]
        bounds = {name: getattr(part, name) for part in parts for kind, name in _BOUNDS.items() if type(part) is kind}
        return cls(**bounds)

    @property
    def words(self) -> str:
        """``positive``, ``at least 2``, ``in [0, 1)``; empty without a bound."""
        low, high = self.ge if self.gt is None else self.gt, self.lt if self.le is None else self.le
        least, most = (f"{bound:g}" if isinstance(bound, float) else str(bound) for bound in (low, high))
        if low is None and high is None:
            return ""
        if low in (None, -math.inf) and high in (None, math.inf):
            return "finite"
        if high in (None, math.inf):
            return "positive" if self.gt == 0 else f"at least {least}" if self.gt is None else f"above {least}"
        if low in (None, -math.inf):
            return f"below {most}" if self.le is None else f"at most {most}"
        return f"in {'[' if self.gt is None else '('}{least}, {most}{')' if self.le is None else ']'}"

    def require(self, value: float, key: str) -> None:
        """Refuse a number outside; nan lies outside of every bound.

        Raises:
            UserError: the number lies outside.
        """
        above = (self.gt is None or value > self.gt) and (self.ge is None or value >= self.ge)
        if not (above and (self.lt is None or value < self.lt) and (self.le is None or value <= self.le)):
            words = self.words
            raise UserError(f"{key} must {'lie' if words.startswith('in ') else 'be'} {words}, not {show(value)}")


FREE = Range()
"""Without bounds."""
