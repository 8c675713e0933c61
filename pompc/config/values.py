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
    """Read ``inf``, ``.inf``, ``+inf``, ``-inf`` or ``infinity``; to YAML all but the second are words. Else ``None``."""
    match = _INFINITY.fullmatch(text.strip())
    return None if match is None else math.copysign(math.inf, -1.0 if match[1] == "-" else 1.0)


def is_number(value: Any) -> bool:
    """Say whether a value is a number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def plain(value: Any) -> Any:
    """Turn a config value into plain containers: dataclasses into dicts, tuples into lists, paths into text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: plain(getattr(value, entry.name)) for entry in fields(value) if entry.init}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def flatten(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key of nested values, with dots, and its value; nodes come before their leaves."""
    for name, value in node.items():
        yield join(prefix, name), value
        if isinstance(value, Mapping):
            yield from flatten(value, join(prefix, name))


def join(prefix: str, key: Any) -> str:
    """Join ``("algo", "rate")`` to ``"algo.rate"``."""
    return f"{prefix}.{key}" if prefix else str(key)


def show(value: Any) -> str:
    """Write a value for a message."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(plain(value))


def unknown_key(key: str, known: Iterable[str]) -> UserError:
    """Make the error for a key that is not there; it names the nearest: the same name elsewhere, a sibling, a spelling."""
    known = list(known)
    parent, _, tail = key.rpartition(".")
    siblings = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == parent}
    tails = {name.rpartition(".")[2]: name for name in reversed(known)}
    elsewhere = [name for name in known if name.rpartition(".")[2] == tail]
    if elsewhere:
        guesses = [nearest(key, elsewhere) or elsewhere[0]] if parent else elsewhere
    else:
        guess = siblings.get(nearest(tail, siblings) or "")
        if guess is None and not siblings:
            guess = nearest(key, known)
        guesses = [guess or tails.get(nearest(tail, tails) or "")]
    hint = " or ".join(repr(guess) for guess in guesses if guess)
    hint = f"did you mean {hint}?" if hint else "`pompc show` prints the ones there are"
    return UserError(f"unknown key {key!r}; {hint}")
