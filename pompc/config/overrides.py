"""``key=value`` texts applied to the values of a configuration, with its layout as the schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pompc.config.kinds import Choice, Either, Group, Kind, Scalar, Table
from pompc.config.values import infinity, is_number, join, unknown_key
from pompc.errors import UserError


def split(text: str) -> tuple[str, str]:
    """Split ``"planner.horizon=5"`` into ``("planner.horizon", "5")``.

    Raises:
        UserError: the text is no ``key=value``, or it adds or removes a key.
    """
    key, equals, value = text.partition("=")
    if key[:1] in ("+", "~"):
        raise UserError(f"{text!r}: keys cannot be added or removed, write {key.lstrip('+~')}=value")
    if not equals or not re.fullmatch(r"\w+(\.\w+)*", key):
        raise UserError(f"{text!r} is not key=value")
    return key, value


def keys(texts: Sequence[str]) -> set[str]:
    """Collect the keys that texts set."""
    return {split(text)[0] for text in texts}


@dataclass(frozen=True)
class Override:
    """One ``key=value`` text, read.

    Attributes:
        key: its key.
        value: its value, plain.
    """

    key: str
    value: Any


def parse(texts: Sequence[str], layout: Group) -> list[Override]:
    """Read ``key=value`` texts and check what can be checked without the other values: keys, types, ranges.

    Raises:
        UserError: an unknown key (with the nearest one), a text that cannot be read, a wrong type, a value out of range.
    """
    found = []
    for text in texts:
        key, raw = split(text)
        kind = kind_of(key, layout)
        value = _read(key, raw, kind)
        _check(kind, value, key)
        found.append(Override(key, value))
    return found


def kind_of(key: str, layout: Group) -> Kind:
    """Find what a key takes.

    Raises:
        UserError: the key is unknown (with the nearest one).
    """
    kind: Kind | None = layout
    for part in key.split("."):
        kind = None if kind is None else _within(kind, part)
    if kind is None:
        raise unknown_key(key, flatten(layout))
    return kind


def apply(values: dict[str, Any], overrides: Sequence[Override], layout: Group) -> None:
    """Set keys of nested values in place.

    Raises:
        UserError: a key lies in a mapping, and a number stands there.
    """
    for override in overrides:
        *path, last = override.key.split(".")
        node, kind = values, cast(Kind, layout)
        for depth, part in enumerate(path):
            kind = cast(Kind, _within(kind, part))
            group = _group(kind)
            if group is not None and not isinstance(node[part], Mapping):
                parent = ".".join(path[: depth + 1])
                example = ", ".join(f"{name}: {option.default}" for name, option in [*group.options.items()][:2])
                raise UserError(
                    f"{override.key}: {parent} is a number here; give all of the mapping, as {parent}='{{{example}}}'"
                )
            node = node[part]
        _set(node, last, cast(Kind, _within(kind, last)), override.value)


def flatten(layout: Group, prefix: str = "") -> Iterator[str]:
    """Yield every key of a layout, groups before their options."""
    for name, option in layout.options.items():
        yield join(prefix, name)
        inner = _group(option.kind)
        if inner is not None:
            yield from flatten(inner, join(prefix, name))


def _group(kind: Kind) -> Group | None:
    if isinstance(kind, Either):
        return kind.group
    return kind if isinstance(kind, Group) else None


def _within(kind: Kind, name: str) -> Kind | None:
    """Find the kind of a name in a group or a table; ``None`` if it is unknown."""
    if isinstance(kind, Table):
        return kind.values
    group = _group(kind)
    return group.options[name].kind if group is not None and name in group.options else None


def _read(key: str, text: str, kind: Kind) -> Any:
    """Read a value: YAML with OmegaConf's numbers (``1e6``); an option of text keeps its text (``7``, ``off``)."""
    if " #" in text and text.lstrip()[:1] not in ("'", '"', "[", "{"):
        return text.strip()  # to YAML, the rest would be a comment
    try:
        value = OmegaConf.to_container(OmegaConf.create(f"value: {text}"))["value"]  # type: ignore[index,call-overload]
    except (yaml.YAMLError, OmegaConfBaseException):
        raise UserError(f"cannot read the value of {text!r} for {key}: put it in quotes") from None
    if _is_text(kind):
        return value if value is None or isinstance(value, str) else text.strip()
    endless = infinity(value) if isinstance(value, str) else None
    return value if endless is None else endless


def _is_text(kind: Kind) -> bool:
    """Say whether a kind takes text, and nothing else but null."""
    if isinstance(kind, Either):
        return all(_is_text(inner) or inner == Scalar("null") for inner in kind.kinds)
    return kind == Scalar("str") or (isinstance(kind, Choice) and all(isinstance(name, str) for name in kind.values))


def _check(kind: Kind, value: Any, key: str) -> None:
    """Check a value by its kind; of a mapping every entry that it has."""
    group = _group(kind)
    if isinstance(value, str) and "${" in value:
        return  # an interpolation: its value is still to come
    if group is None or not isinstance(value, dict):
        kind.read(value, key)
        return
    for name, item in value.items():
        if name not in group.options:
            raise unknown_key(join(key, name), [join(key, known) for known in group.options])
        _check(group.options[name].kind, item, join(key, name))


def _set(node: dict[str, Any], name: str, kind: Kind, value: Any) -> None:
    """Set a value; a mapping changes those keys of a group that it has."""
    group = _group(kind)
    if group is None or not isinstance(value, dict):
        node[name] = value
        return
    if not isinstance(node.get(name), dict):
        node[name] = _start(group, node.get(name))
    for inner, item in value.items():
        _set(node[name], inner, group.options[inner].kind, item)


def _start(group: Group, value: Any) -> dict[str, Any]:
    """Keep the number that a group replaces as the start of a schedule, unless it is 0."""
    return {group.number: float(value)} if group.number and is_number(value) and value > 0 else {}
