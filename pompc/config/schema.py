"""Read the options of a config dataclass (key, kind, range, default, place, text), and make one from plain values.

The annotations of the dataclass say what its options take: nested dataclasses, ``bool``, ``int``, ``float``, ``str``,
``Path``, ``Literal``, ``tuple``, ``dict``, ``Any``, unions of these, and ``Annotated`` with :class:`Top` and the ranges of
``annotated_types``. Its docstring's ``Attributes`` say what they mean. A subclass that only changes a default inherits the
rest.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Len

from pompc.config.kinds import Anything, Choice, Either, Group, Kind, Option, Scalar, Sequence, Table
from pompc.config.ranges import FREE, Range
from pompc.config.values import MISSING, plain

T = TypeVar("T")

_SCALARS = {bool: "bool", int: "int", float: "float", str: "str", Path: "path", type(None): "null"}


@dataclasses.dataclass(frozen=True)
class Top:
    """Marks an option that lies at the top of the configuration: its key is its name alone (``planner``)."""


@cache
def group(cls: type) -> Group:
    """Read the options of a config dataclass.

    Raises:
        TypeError: a field has no annotation, or one that is not supported; that is a bug of the dataclass.
    """
    _require_annotations(cls)
    hints, texts = _hints(cls), _texts(cls)
    options = {}
    for entry in dataclasses.fields(cls):
        if entry.init:
            options[entry.name] = Option(
                name=entry.name,
                kind=kind_of(hints[entry.name], f"{cls.__name__}.{entry.name}"),
                default=_default(entry, hints[entry.name]),
                text=texts.get(entry.name, ""),
                top=any(isinstance(mark, Top) for mark in _marks(hints[entry.name])),
            )
    return Group(options, getattr(cls, "plain_number", None), cls)


def build(cls: type[T], node: Mapping[str, Any], prefix: str = "") -> T:
    """Make a dataclass from a mapping of plain values: lists become tuples, mappings nested dataclasses.

    Args:
        cls: the dataclass.
        node: its options.
        prefix: where the node lies in the configuration, for messages (``"env"``).

    Raises:
        UserError: an unknown key, a key without a value, a value of the wrong type or out of range.
    """
    return group(cls).read(node, prefix)


def settle(config: Any, section: str) -> None:
    """Turn the values of a new dataclass into what its annotations say, as :func:`build` does: lists into tuples.

    Raises:
        UserError: a value has the wrong type or is out of range; the key lies in ``section``.
    """
    for name, option in group(type(config)).options.items():
        object.__setattr__(config, name, option.kind.read(getattr(config, name), option.key(section)))  # it is frozen


def kind_of(hint: Any, where: str = "") -> Kind:
    """Read what an annotation takes.

    Args:
        hint: the annotation.
        where: the field, for the error.

    Raises:
        TypeError: the annotation is not supported.
    """
    marks, hint = _marks(hint), _bare(hint)
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return Anything()
    if origin in (Union, types.UnionType):
        return Either(tuple(kind_of(option, where) for option in args))
    if origin is Literal:
        return Choice(args)
    if origin is tuple:
        repeated = args[1:] == (...,)
        return Sequence(
            tuple(kind_of(item, where) for item in (args[:1] if repeated else args)), repeated, _length(marks)
        )
    if origin in (dict, Mapping):
        return Table(kind_of(args[1], where))
    if dataclasses.is_dataclass(hint):
        return group(hint)  # type: ignore[arg-type]
    if hint in _SCALARS:
        return Scalar(_SCALARS[hint], Range.of(marks))
    raise TypeError(f"the config field {where} has an annotation that is not supported: {hint}")


def first_sentence(text: str) -> str:
    """Take the first sentence of a text, without its full stop."""
    return re.split(r"(?<=[^.]\.)\s+(?=[A-Z`]|$)", f"{text} ", maxsplit=1)[0].strip().rstrip(".")


@cache
def _hints(cls: type) -> dict[str, Any]:
    """Collect the annotation of each field; one that only repeats the type of a base has the base's range and place."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        hints = get_type_hints(base, include_extras=True)
        for name in inspect.get_annotations(base):
            own, inherited = hints[name], found.get(name)
            if inherited is None or _stripped(own) != _stripped(inherited):
                kept = [mark for mark in _marks(inherited) if isinstance(mark, Top)]
                own = Annotated[(own, *kept)] if kept else own  # type: ignore[valid-type]
            elif own == _stripped(own):
                own = inherited
            found[name] = own
    return found


def _require_annotations(cls: type) -> None:
    """Refuse a default that a subclass sets without an annotation: a dataclass would ignore it in silence."""
    names = {entry.name for entry in dataclasses.fields(cls)}
    for base in cls.__mro__:
        bare = names & (vars(base).keys() - inspect.get_annotations(base).keys())
        if bare:
            name = min(bare)
            raise TypeError(f"{base.__name__}.{name} has no annotation and would be ignored: write {name}: TYPE = ...")


def _marks(hint: Any) -> tuple[Any, ...]:
    return getattr(hint, "__metadata__", ())


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _stripped(hint: Any) -> Any:
    """Take every ``Annotated`` out of an annotation."""
    probe = type("Probe", (), {"__annotations__": {"hint": hint}})
    return get_type_hints(probe)["hint"]


def _length(marks: tuple[Any, ...]) -> Range:
    bounds = next((mark for mark in marks if isinstance(mark, Len)), None)
    return FREE if bounds is None else Range(ge=bounds.min_length, le=bounds.max_length)


def _default(entry: dataclasses.Field, hint: Any) -> Any:
    if entry.default is not dataclasses.MISSING:
        return plain(entry.default)
    if entry.default_factory is not dataclasses.MISSING:
        return plain(entry.default_factory())
    bare = _bare(hint)
    return group(bare).defaults() if isinstance(bare, type) and dataclasses.is_dataclass(bare) else MISSING


def _texts(cls: type) -> dict[str, str]:
    """Collect the text of each field from the ``Attributes`` of the docstrings, the most derived first."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            found |= _attributes(inspect.cleandoc(base.__doc__ or ""))
    return found


def _attributes(doc: str) -> dict[str, str]:
    """Read the section ``Attributes:`` of a docstring: ``name: text``, continued on deeper lines."""
    _, _, section = doc.partition("Attributes:\n")
    block = re.split(r"^\S", section, maxsplit=1, flags=re.M)[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n(?:     .*|$))*)", block, flags=re.M)
    return {name: " ".join(text.split()) for name, text in entries}
