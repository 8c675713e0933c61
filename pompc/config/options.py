"""The base class of every config dataclass: an option is a typed field, its range and its text stand beside it.

    @dataclass(frozen=True, kw_only=True)
    class MyConfig(Options):
        \"\"\"Options of :class:`My`.

        Attributes:
            rate: learning rate of Adam.
            mode: how it is done.
        \"\"\"

        section = "algo"
        rate: PositiveFloat = 1e-3
        mode: Literal["fast", "exact"] = "exact"
        width: PositiveInt | None = None

Schema, error messages, ``pompc show`` and the tables of the docs are made from that. A subclass that only changes the
default of an option inherits its range, its place and its text. Nothing here imports torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Interval, Lt

from pompc.config.schema import Top, settle

__all__ = [
    "Finite",
    "NonNegativeFloat",
    "NonNegativeInt",
    "Options",
    "PositiveFloat",
    "PositiveInt",
    "PositiveShare",
    "Share",
    "ShareBelowOne",
    "Top",
]

PositiveInt = Annotated[int, Gt(0)]
NonNegativeInt = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0), Lt(math.inf)]
NonNegativeFloat = Annotated[float, Ge(0), Lt(math.inf)]
Finite = Annotated[float, Gt(-math.inf), Lt(math.inf)]
Share = Annotated[float, Interval(ge=0, le=1)]
PositiveShare = Annotated[float, Interval(gt=0, le=1)]
ShareBelowOne = Annotated[float, Interval(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class Options:
    """A frozen dataclass whose values are checked and converted by its annotations when it is made.

    A subclass that has checks across fields overrides ``__post_init__`` and calls this one first. ``Annotated`` takes the
    ranges of ``annotated_types`` and :class:`Top`.

    Attributes:
        section: where the options lie in a configuration (``"algo"``, ``"planner"``), for messages.
        plain_number: the field that a number stands for, if the configuration may have one in the place of these options.

    Raises:
        UserError: a value has the wrong type or is out of its range.
    """

    section: ClassVar[str] = ""
    plain_number: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        settle(self, self.section)
