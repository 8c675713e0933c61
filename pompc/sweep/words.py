"""The words of a sweep: its own options, and the dimensions of its runs. Torch-free."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pompc.config import overrides as texts
from pompc.config.dimensions import Dimension, dimension
from pompc.config.schema import build, group
from pompc.config.schema_file import without_classes
from pompc.errors import UserError
from pompc.sweep.options import SweepConfig

SEED = "seed"
WHOLE = ("algo", "env")
"""A search takes one of each."""


@dataclass(frozen=True)
class Request:
    """What a command asks for.

    Attributes:
        options: of the sweep.
        dimensions: of its runs, one per key.
        words: the command's words, for people.
    """

    options: SweepConfig
    dimensions: tuple[Dimension, ...]
    words: tuple[str, ...]

    @property
    def code(self) -> str:
        """Eight hex digits of what is run; where, how many at a time and how long a search is do not count."""
        search = self.options.search is not None
        sought = [self.options.objective, self.options.search_seed] if search else []
        spans = {one.key: asdict(one.span) for one in self.dimensions if search and one.span is not None}
        parts = [[one.key, sorted(set(one.values)), spans.get(one.key)] for one in self.dimensions]
        return hashlib.sha256(json.dumps([sought, sorted(parts, key=str)]).encode()).hexdigest()[:8]

    @property
    def seeds(self) -> Dimension:
        """The seeds of the runs."""
        return next((one for one in self.dimensions if one.key == SEED), Dimension(SEED, ("0",)))

    def combinations(self) -> list[list[str]]:
        """List the words of every combination: all of a seed before the next seed, else the last key changes first."""
        ordered = sorted(self.dimensions, key=lambda one: one.key != SEED)
        pairs = [[(one.key, value) for value in one.values] for one in ordered]
        places = {one.key: place for place, one in enumerate(self.dimensions)}
        return [
            [f"{key}={value}" for key, value in sorted(chosen, key=lambda pair: places[pair[0]])]
            for chosen in itertools.product(*pairs)
        ]

    def trials_to_check(self) -> list[list[str]]:
        """List the words of runs in which each value and each end of a range comes once, the others being first ones."""
        first = {one.key: one.ends[0] for one in self.dimensions}
        lines = [first, *({**first, one.key: value} for one in self.dimensions for value in one.ends[1:])]
        return [[f"{key}={value}" for key, value in line.items()] for line in lines]

    def label(self, words: Sequence[str]) -> str:
        """Name a run by the words in which the runs differ; by its algorithm and environment if there are none."""
        varying = {one.key: one for one in self.dimensions if one.varies}
        pairs = [texts.split(word) for word in words]
        chosen = [f"{key}={_short(varying[key], value)}" for key, value in pairs if key in varying]
        return " ".join(chosen or [f"{key}={value}" for key, value in pairs if key in WHOLE])


def _short(one: Dimension, value: str) -> str:
    """Write a value; a number that was drawn from an interval with four digits."""
    return value if one.values else f"{float(value):.4g}"


def read(words: Sequence[str]) -> Request:
    """Read the words of a command; a later one of the same key counts.

    Raises:
        UserError: a word that cannot be read, a wrong option of the sweep, or a range without a search.
    """
    layout = without_classes(group(SweepConfig))
    own = [word for word in words if texts.split(word)[0].partition(".")[0] in layout.options]
    values = layout.defaults()
    texts.apply(values, texts.parse(own, layout), layout)
    options = build(SweepConfig, values)
    found = {one.key: one for one in (dimension(word) for word in words if word not in own)}
    request = Request(options, tuple(found.values()), tuple(words))
    (_require_lists if options.search is None else _require_one_task)(request)
    return request


def _require_lists(request: Request) -> None:
    for one in request.dimensions:
        if not one.values:
            raise UserError(
                f"{one.key} is an interval: search it with search=TRIALS, or name its values, {one.key}=a,b"
            )


def _require_one_task(request: Request) -> None:
    for one in request.dimensions:
        if one.key in WHOLE and one.varies:
            raise UserError(f"search= takes one {one.key}: start a sweep for each of {', '.join(one.values)}")
    if not request.seeds.values:
        raise UserError("a search takes a list of seeds, whose mean return is the value of a trial: seed=0,1")
    if not any(one.varies for one in request.dimensions if one.key != SEED):
        raise UserError("search= has nothing to search: give a key several values, an interval(LOW,HIGH) or a range()")
