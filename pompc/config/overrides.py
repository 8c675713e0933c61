"""``key=value`` texts applied to a composed configuration, with the composed values as the schema.

Nothing of the configured classes is imported: a wrong key is one that was not composed, a wrong type is one that the
default does not have. What only an annotation knows (``float | None``, the fields of a schedule) is left to
``pompc.config.schema.build``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pompc.config.schema import MISSING, infinity, unknown_key
from pompc.errors import UserError

OPEN = ("env.kwargs",)
"""Keys of mappings that take any key: their names are another package's."""
DIALS = ("kl_weight", "virtual_ratio")
"""Keys that take a number or a schedule node, whichever of them the default is."""


def split(text: str) -> tuple[str, str]:
    """``"planner.horizon=5"`` -> ``("planner.horizon", "5")``.

    Raises:
        UserError: the text is no ``key=value``, or it adds or removes a key.
    """
    key, equals, value = text.partition("=")
    if key[:1] in ("+", "~"):
        raise UserError(f"{text!r}: keys cannot be added or removed, write {key.lstrip('+~')}=value")
    if not equals or not re.fullmatch(r"\w+(\.\w+)*", key):
        raise UserError(f"{text!r} is not key=value")
    return key, value


def apply(values: dict[str, Any], texts: Sequence[str]) -> None:
    """Set keys of a nested dictionary in place.

    Raises:
        UserError: an unknown key (with the nearest one), a value that cannot be read or has the wrong type.
    """
    for text in texts:
        key, raw = split(text)
        *path, last = key.split(".")
        if path and path[0] in DIALS and _number(values.get(path[0])):
            example = "{schedule: exp, initial: 1.0, decay: 0.9999}"
            raise UserError(
                f"{key}: {path[0]} is a number here; for a schedule give all of it, as {path[0]}='{example}'"
            )
        node = _find(values, path, key)
        _set(node, last, key, _read(key, raw, node.get(last)))


def _find(values: dict[str, Any], path: list[str], key: str) -> dict[str, Any]:
    """The dictionary that holds ``key``, which must exist unless that dictionary takes any key."""
    node: Any = values
    for part in path:
        node = node.get(part) if isinstance(node, dict) else None
    last = key.rpartition(".")[2]
    if not isinstance(node, dict) or (node and last not in node and ".".join(path) not in OPEN):
        raise unknown_key(key, [name for name, _ in flatten(values)])
    return node


def flatten(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a configuration with its value, nodes before their leaves, with dots."""
    for name, value in node.items():
        yield f"{prefix}{name}", value
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")


def _read(key: str, text: str, default: Any) -> Any:
    """A value from its text: YAML with OmegaConf's numbers (``1e6``); ``wandb.mode=off`` stays text."""
    if " #" in text and text.lstrip()[:1] not in ("'", '"', "[", "{"):
        return text.strip()  # to YAML, the rest would be a comment
    try:
        value = OmegaConf.to_container(OmegaConf.create(f"value: {text}"))["value"]  # type: ignore[index,call-overload]
    except (yaml.YAMLError, OmegaConfBaseException):
        raise UserError(f"cannot read the value of {text!r} for {key}: put it in quotes") from None
    if isinstance(default, str) and default != MISSING and value is not None and not isinstance(value, str):
        return text.strip()
    return value


def _set(node: dict[str, Any], name: str, key: str, value: Any) -> None:
    default = node.get(name)
    if key in DIALS and isinstance(value, dict):
        node[name] = {**_start(default), **value}
    elif isinstance(value, dict) and isinstance(default, dict) and default and key not in OPEN:
        for inner, item in value.items():
            if inner not in default:
                raise unknown_key(f"{key}.{inner}", [f"{key}.{known}" for known in default])
            _set(default, inner, f"{key}.{inner}", item)
    else:
        node[name] = _checked(key, value, default)


def _start(dial: Any) -> dict[str, Any]:
    """What a schedule keeps of the dial it replaces: the keys of a schedule, or a number as its beginning."""
    if isinstance(dial, dict):
        return dial
    return {"initial": float(dial)} if _number(dial) and dial > 0 else {}


def _checked(key: str, value: Any, default: Any) -> Any:
    """Compare a value with the default it replaces; a whole number for a decimal one is converted."""
    if value is None or default is None or any(isinstance(item, str) and _open(item) for item in (value, default)):
        return value
    if isinstance(value, str) and not isinstance(default, str) and (endless := infinity(value)) is not None:
        value = endless
    if key in DIALS and all(isinstance(item, dict) or _number(item) for item in (value, default)):
        return float(value) if _number(value) else value
    if _number(default):
        return _checked_number(key, value, default)
    words = {bool: "true or false", str: "text", list: "a list", dict: "a mapping {key: value}"}
    if not isinstance(value, type(default)) and not (isinstance(default, list) and _number(value)):
        raise UserError(f"{key} must be {words[type(default)]}, not {value!r}")
    return value


def _checked_number(key: str, value: Any, default: float) -> Any:
    if isinstance(value, list) and all(map(_number, value)):
        return value  # one number per dimension, where the annotation allows it
    if isinstance(value, list) or not _number(value):
        raise UserError(f"{key} must be a number, not {value!r}")
    number = float(value)
    if isinstance(default, int) and not number.is_integer():
        raise UserError(f"{key} must be a whole number, not {value!r}")
    return int(number) if isinstance(default, int) else number


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _open(text: str) -> bool:
    """Whether a text is a value still to come: missing, or an interpolation."""
    return text == MISSING or "${" in text
