"""The runs of a sweep, composed and checked before the first one starts. Resolving them imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pompc.config.compose import compose_each
from pompc.config.overrides import keys
from pompc.config.spec import RunSpec, resolve
from pompc.errors import UserError
from pompc.sweep.words import Request
from pompc.system.graphics import prepare_graphics


@dataclass(frozen=True)
class Planned:
    """One run.

    Attributes:
        words: arguments of ``pompc run``.
        label: the words in which it differs from the other runs.
        directory: where it writes.
        steps: its length in environment steps.
        identity: tells it from all other runs, as ``run.json`` does.
    """

    words: tuple[str, ...]
    label: str
    directory: Path
    steps: int
    identity: dict[str, Any]


def plan(request: Request, lines: Sequence[Sequence[str]]) -> list[Planned]:
    """Plan a run per line of words; lines that mean the same run are planned once.

    All lines are composed before torch is imported for the checks that need the algorithm's class.

    Raises:
        UserError: a wrong name or value in any line, or two runs that would write to the same directory.
    """
    values = list(_composed(request, lines))
    prepare_graphics()
    found: dict[Path, tuple[Planned, RunSpec]] = {}
    for line, composed in zip(lines, values, strict=True):
        label = request.label(line)
        try:
            spec = resolve(composed, fit_num_envs="num_envs" not in keys(line))
        except UserError as error:
            raise _placed(error, label) from error
        before = found.get(spec.directory)
        if before is None:
            found[spec.directory] = Planned(tuple(line), label, spec.directory, spec.options.steps, spec.identity), spec
        elif before[1].values != spec.values:
            raise UserError(
                f"the runs {before[0].label!r} and {label!r} would write to the same directory {spec.directory}: "
                "leave one out, or start a sweep for each"
            )
    return [planned for planned, _ in found.values()]


def _composed(request: Request, lines: Sequence[Sequence[str]]) -> Iterator[dict[str, Any]]:
    """Compose the values of each line; an error names its run."""
    composed = compose_each(lines)
    for line in lines:
        try:
            yield next(composed)
        except UserError as error:
            raise _placed(error, request.label(line)) from error


def _placed(error: UserError, label: str) -> UserError:
    """Say in which run the error is."""
    return UserError(f"{error} (in {label})" if label else str(error))
