"""What the value of an option may be: a number in a range, a name, a list, a mapping, a group of options.

A kind is made from an annotation (:mod:`pompc.config.schema`), or read from the schema file without importing what it
describes (:mod:`pompc.config.schema_file`). Both check the same values with the same one-line errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pompc.config.ranges import FREE, Range
from pompc.config.values import MISSING, infinity, is_number, join, show, unknown_key
from pompc.errors import UserError


class Kind(Protocol):
    """What a value may be."""

    @property
    def words(self) -> str:
        """The kind in words: ``a whole number``."""
        ...

    def read(self, value: Any, key: str) -> Any:
        """Turn a plain value into the option's.

        Raises:
            UserError: the value has the wrong type or lies out of range; the message begins with ``key``.
        """
        ...


def refuse(kind: Kind, value: Any, key: str) -> UserError:
    """Make the error for a value of another type."""
    return UserError(f"{key} must be {kind.words}, not {show(value)}")


@dataclass(frozen=True)
class Anything:
    """Any plain value."""

    words = "anything"

    def read(self, value: Any, key: str) -> Any:
        """The value."""
        return value


@dataclass(frozen=True)
class Scalar:
    """A single value.

    Attributes:
        name: ``bool``, ``int``, ``float``, ``str``, ``path`` or ``null``.
        range: of a number.
    """

    name: str
    range: Range = FREE

    @property
    def words(self) -> str:
        """See :class:`Kind`."""
        return _SCALARS[self.name][0]

    def read(self, value: Any, key: str) -> Any:
        """See :class:`Kind`; a whole number serves as a decimal one, and ``1e6`` as a whole one."""
        try:
            result = _SCALARS[self.name][1](value)
        except ValueError:
            raise refuse(self, value, key) from None
        if is_number(result):
            self.range.require(result, key)
        return result


def _exactly(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if not isinstance(value, kind):
            raise ValueError
        return value

    return read


def _number(value: Any) -> float:
    if isinstance(value, str) and (endless := infinity(value)) is not None:
        value = endless
    if not is_number(value) or math.isnan(value):
        raise ValueError
    return float(value)


def _whole(value: Any) -> int:
    if not is_number(value) or not float(value).is_integer():
        raise ValueError
    return int(value)


def _path(value: Any) -> Path:
    if not isinstance(value, (str, Path)):
        raise ValueError
    return Path(value)


_SCALARS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "bool": ("true or false", _exactly(bool)),
    "int": ("a whole number", _whole),
    "float": ("a number", _number),
    "str": ("text", _exactly(str)),
    "path": ("a path", _path),
    "null": ("null", _exactly(type(None))),
}


@dataclass(frozen=True)
class Choice:
    """One of several names or numbers.

    Attributes:
        values: the names or numbers.
    """

    values: tuple[Any, ...]

    @property
    def words(self) -> str:
        """See :class:`Kind`."""
        return f"one of {', '.join(map(str, self.values))}"

    def read(self, value: Any, key: str) -> Any:
        """See :class:`Kind`."""
        if not any(value == known and type(value) is type(known) for known in self.values):
            raise refuse(self, value, key)
        return value


@dataclass(frozen=True)
class Sequence:
    """A list, which the option holds as a tuple.

    Attributes:
        items: the kind of each place, or the one kind of all places if ``repeated``.
        repeated: any number of the one kind.
        length: how many there are.
    """

    items: tuple[Kind, ...]
    repeated: bool = False
    length: Range = FREE

    @property
    def words(self) -> str:
        """See :class:`Kind`."""
        count = "" if self.repeated else f" of {len(self.items)}"
        return f"a list{count}, each {self.items[0].words}"

    def read(self, value: Any, key: str) -> tuple[Any, ...]:
        """See :class:`Kind`."""
        fits = isinstance(value, (list, tuple)) and (self.repeated or len(value) == len(self.items))
        if not fits:
            raise refuse(self, value, key)
        self.length.require(len(value), f"the length of {key}")
        kinds = self.items * len(value) if self.repeated else self.items
        return tuple(kind.read(item, f"{key}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))


@dataclass(frozen=True)
class Table:
    """A mapping that takes any key: its names are another package's.

    Attributes:
        values: the kind of every value.
    """

    values: Kind
    words = "a mapping {key: value}"

    def read(self, value: Any, key: str) -> dict[str, Any]:
        """See :class:`Kind`."""
        if not isinstance(value, Mapping):
            raise refuse(self, value, key)
        return {name: self.values.read(item, join(key, name)) for name, item in value.items()}


@dataclass(frozen=True)
class Either:
    """A value of one of several kinds; the first kind that takes it reads it.

    Attributes:
        kinds: the kinds.
    """

    kinds: tuple[Kind, ...]

    @property
    def words(self) -> str:
        """See :class:`Kind`."""
        return " or ".join(kind.words for kind in self.kinds)

    @property
    def group(self) -> Group | None:
        """The group of options among the kinds; ``None`` without one."""
        return next((kind for kind in self.kinds if isinstance(kind, Group)), None)

    def read(self, value: Any, key: str) -> Any:
        """See :class:`Kind`; a value that has the right type for one kind alone is refused with that kind's message."""
        if isinstance(value, Mapping) and self.group is not None:
            return self.group.read(value, key)
        errors = []
        for kind in self.kinds:
            try:
                return kind.read(value, key)
            except UserError as error:
                if str(error) != str(refuse(kind, value, key)):  # the type is right, the range is not
                    errors.append(error)
        raise errors[0] if errors else refuse(self, value, key)


@dataclass(frozen=True)
class Option:
    """One option of a group.

    Attributes:
        name: its field.
        kind: what it takes.
        default: its default as a plain value; ``MISSING`` without one.
        text: its meaning.
        top: it lies at the top of the configuration and not where its group lies.
    """

    name: str
    kind: Kind
    default: Any = MISSING
    text: str = ""
    top: bool = False

    def key(self, prefix: str) -> str:
        """Give its key in a group that lies at ``prefix``."""
        return self.name if self.top else join(prefix, self.name)


@dataclass(frozen=True)
class Group:
    """Options side by side: a mapping with known keys.

    Attributes:
        options: by their name.
        number: the option that a plain number sets, given in the place of the group; ``None`` if no option is.
        make: makes an object of the values; returns the values themselves by default.
    """

    options: Mapping[str, Option]
    number: str | None = None
    make: Callable[..., Any] = field(default=dict, compare=False)
    words = "a mapping {key: value}"

    def read(self, value: Any, key: str) -> Any:
        """See :class:`Kind`; options that are not given have their defaults."""
        if isinstance(self.make, type) and isinstance(value, self.make) and self.make is not dict:
            return value
        if not isinstance(value, Mapping):
            raise refuse(self, value, key)
        keys = {name: option.key(key) for name, option in self.options.items()}
        for name in value:
            if name not in keys:
                raise unknown_key(join(key, name), keys.values())
        for name, option in self.options.items():
            lacking = name not in value and option.default == MISSING
            if lacking or (name in value and value[name] == MISSING):
                raise UserError(f"{keys[name]} has no value: give {keys[name]}=...")
        given = {name: self.options[name].kind.read(item, keys[name]) for name, item in value.items()}
        return self.make(**(self.defaults() | given if self.make is dict else given))

    def defaults(self) -> dict[str, Any]:
        """Collect the default of every option."""
        return {name: option.default for name, option in self.options.items()}
