"""Plain containers -> typed, frozen dataclasses, with one-line errors; and the way back.

The annotations of a config dataclass are its schema. Supported are nested dataclasses, ``bool``, ``int``, ``float``,
``str``, ``Path``, ``Literal``, ``tuple``, ``dict``, ``Any``, and unions of these.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pompc.errors import UserError
from pompc.registry import nearest

T = TypeVar("T")

MISSING = "???"

_INFINITY = re.compile(r"([+-]?)\.?inf(inity)?", re.IGNORECASE)

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    type(None): "null",
}


def build(cls: type[T], node: Mapping[str, Any], prefix: str = "", top: Collection[str] = ()) -> T:
    """Make a dataclass from a mapping of plain values: lists become tuples, mappings nested dataclasses.

    Args:
        cls: the dataclass.
        node: its fields.
        prefix: where the node lies in the configuration, for messages (``"env"``).
        top: fields that lie at the top of the configuration and not under ``prefix``.

    Raises:
        UserError: an unknown key, a key without a value, or a value of the wrong type.
    """
    hints = _hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    keys = {name: name if name in top else _join(prefix, name) for name in (*fields, *node)}
    for name in node:
        if name not in fields:
            raise unknown_key(keys[name], [keys[known] for known in fields])
    for name, field in fields.items():
        given = name in node and node[name] != MISSING
        if not given and (name in node or _required(field)):
            raise UserError(f"{keys[name]} has no value: give {keys[name]}=...")
    return cls(**{name: _convert(hints[name], value, keys[name]) for name, value in node.items()})


def defaults(cls: type) -> dict[str, Any]:
    """The defaults of a dataclass as plain containers; ``"???"`` where a field has none."""
    hints = _hints(cls)
    return {f.name: _default(f, hints[f.name]) for f in dataclasses.fields(cls) if f.init}


def plain(value: Any) -> Any:
    """A config value as plain containers: dataclasses become dicts, tuples lists, paths text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def infinity(text: str) -> float | None:
    """What ``inf``, ``.inf``, ``+inf``, ``-inf`` and ``infinity`` say; to YAML all but the second are words. Else none."""
    match = _INFINITY.fullmatch(text.strip())
    return None if match is None else math.copysign(math.inf, -1.0 if match[1] == "-" else 1.0)


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


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _join(prefix: str, key: Any) -> str:
    return f"{prefix}.{key}" if prefix else str(key)


def _required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _default(field: dataclasses.Field, hint: Any) -> Any:
    if field.default is not dataclasses.MISSING:
        return plain(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return plain(field.default_factory())
    return defaults(hint) if dataclasses.is_dataclass(hint) and isinstance(hint, type) else MISSING


def _convert(hint: Any, value: Any, key: str) -> Any:
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(get_args(hint), value, key)
    if origin is Literal:
        return _require(value in get_args(hint), value, value, hint, key)
    if origin is tuple:
        return _convert_tuple(get_args(hint), value, key, hint)
    if origin in (dict, Mapping):
        _require(isinstance(value, Mapping), value, value, hint, key)
        return {k: _convert(get_args(hint)[1], v, _join(key, k)) for k, v in value.items()}
    if dataclasses.is_dataclass(hint):
        _require(isinstance(value, Mapping), value, value, hint, key)
        return build(hint, value, key)  # type: ignore[arg-type]
    return _convert_scalar(hint, value, key)


def _convert_scalar(hint: Any, value: Any, key: str) -> Any:
    if hint is float and isinstance(value, str) and (endless := infinity(value)) is not None:
        value = endless
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is float:
        number = number and not math.isnan(value)
        return _require(number, value, float(value) if number else value, hint, key)
    if hint is int:
        whole = number and float(value).is_integer()
        return _require(whole, value, int(value) if whole else value, hint, key)
    if hint is Path:
        return _require(isinstance(value, (str, Path)), value, Path(str(value)), hint, key)
    if hint in (bool, str, type(None)):
        return _require(isinstance(value, hint), value, value, hint, key)
    raise TypeError(f"the config field {key} has an annotation that is not supported: {hint}")


def _convert_tuple(args: tuple, value: Any, key: str, hint: Any) -> tuple:
    _require(isinstance(value, (list, tuple)), value, value, hint, key)
    inner = args[:1] * len(value) if args[1:] == (...,) else args
    _require(len(inner) == len(value), value, value, hint, key)
    return tuple(_convert(kind, item, f"{key}[{i}]") for i, (kind, item) in enumerate(zip(inner, value, strict=True)))


def _convert_union(options: tuple, value: Any, key: str) -> Any:
    """Try every option in order; a mapping goes to the only dataclass there is, whose error says more."""
    structured = [option for option in options if dataclasses.is_dataclass(option)]
    if isinstance(value, Mapping) and len(structured) == 1:
        return build(structured[0], value, key)  # type: ignore[arg-type]
    for option in options:
        try:
            return _convert(option, value, key)
        except UserError:
            continue
    raise UserError(f"{key} must be {' or '.join(_words(option) for option in options)}, not {_show(value)}")


def _require(holds: bool, value: Any, result: Any, hint: Any, key: str) -> Any:
    if not holds:
        raise UserError(f"{key} must be {_words(hint)}, not {_show(value)}")
    return result


def _words(hint: Any) -> str:
    """What an annotation asks for, in words."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin is tuple:
        count = "" if args[1:] == (...,) else f"{len(args)} of "
        return f"a list of {count}{_words(args[0])}"
    if origin in (dict, Mapping) or dataclasses.is_dataclass(hint):
        return "a mapping {key: value}"
    return _WORDS.get(hint, str(hint))


def _show(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(plain(value))
