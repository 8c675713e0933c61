"""Plain values: how they are read, written and named in messages."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pompc.errors import UserError
from pompc.registry import nearest

MISSING = "???"
"""Stands for a value that is still to be given."""

_INFINITY = re.compile(r"([+-]?)\.?inf(inity)?", re.IGNORECASE)


def infinity(text: str) -> float | None:
    """What ``inf``, ``.inf``, ``+inf``, ``-inf`` and ``infinity`` say; to YAML all but the second are words. Else None."""
    match = _INFINITY.fullmatch(text.strip())
    return None if match is None else math.copysign(math.inf, -1.0 if match[1] == "-" else 1.0)


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def plain(value: Any) -> Any:
    """A config value as plain containers: dataclasses become dicts, tuples lists, paths text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: plain(getattr(value, entry.name)) for entry in fields(value) if entry.init}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def flatten(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of nested values with its value, with dots, nodes before their leaves."""
    for name, value in node.items():
        yield join(prefix, name), value
        if isinstance(value, Mapping):
            yield from flatten(value, join(prefix, name))


def join(prefix: str, key: Any) -> str:
    """``("algo", "rate")`` -> ``"algo.rate"``."""
    return f"{prefix}.{key}" if prefix else str(key)


def show(value: Any) -> str:
    """A value as a message writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(plain(value))


def unknown_key(key: str, known: Iterable[str]) -> UserError:
    """The error for a key that is not there, with the nearest that is: the same name elsewhere, a sibling, a spelling."""
    known = list(known)
    parent, _, tail = key.rpartition(".")
    siblings = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == parent}
    tails = {name.rpartition(".")[2]: name for name in reversed(known)}
    guess = tails.get(tail) or siblings.get(nearest(tail, siblings) or "")
    if guess is None and not siblings:
        guess = nearest(key, known)
    guess = guess or tails.get(nearest(tail, tails) or "")
    hint = f"did you mean {guess!r}?" if guess else "`pompc show` prints the ones there are"
    return UserError(f"unknown key {key!r}; {hint}")
