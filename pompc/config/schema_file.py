"""``configs/schema.json``: the options of the built-in algorithms and environments, read without importing them.

``python -m pompc.config.schema_file`` writes it from the dataclasses. Every entry has the digest of its source
(:mod:`pompc.config.sources`). If that differs or an entry is missing (a new algorithm, another package), the
dataclass itself is imported: an option is never read from a stale entry.
"""

from __future__ import annotations

import json
import math
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pompc.config.kinds import Anything, Choice, Either, Group, Kind, Option, Scalar, Sequence, Table
from pompc.config.ranges import FREE, Range
from pompc.config.schema import first_sentence, group
from pompc.config.sources import digest
from pompc.config.values import plain
from pompc.registry import ALGORITHMS, ENVIRONMENTS, Registry

COMMAND = "python -m pompc.config.schema_file"


def path() -> Path:
    """Locate the file."""
    return Path(str(files("pompc.configs"))) / "schema.json"


def options_of(registry: Registry, name: str) -> Group:
    """Find the options of an algorithm or an environment family: in the file, unless that is stale.

    Raises:
        UserError: there is no such name.
    """
    entry = registry[name]
    if entry is registry.builtin.get(name):
        known = _stored().get(registry.group, {}).get(entry.base or name)
        if known is not None and known["digest"] == digest(known["class"]):
            return _load_group(known)
    return without_classes(group(registry.resolve(name).Config))


def without_classes(options: Group) -> Group:
    """Copy options as the file has them: they read values into plain containers, and make no dataclass."""
    return _load_group(_dump_group(options))


def text() -> str:
    """Write what the file should say: a line per option."""
    tables = []
    for registry in (ALGORITHMS, ENVIRONMENTS):
        entries = [_entry(name, registry.resolve(name).Config) for name in registry.classes]
        tables.append(f" {_line(registry.group)}: {{\n{f',{chr(10)}'.join(entries)}\n }}")
    return f"{{\n{f',{chr(10)}'.join(tables)}\n}}\n"


def _entry(name: str, cls: type) -> str:
    where = f"{cls.__module__}:{cls.__qualname__}"
    head = {"class": where, "digest": digest(where), **_dump_group(group(cls))}
    options = [f"    {_line(key)}: {_line(option)}" for key, option in head.pop("options").items()]
    opening = "".join(f"   {_line(key)}: {_line(value)},\n" for key, value in head.items())
    return f'  {_line(name)}: {{\n{opening}   "options": {{\n{f",{chr(10)}".join(options)}\n   }}\n  }}'


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


@cache
def _stored() -> dict[str, Any]:
    try:
        return json.loads(path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


# -- options -> plain values -------------------------------------------------------------------------------------------


def _dump_group(options: Group) -> dict[str, Any]:
    number = {"number": options.number} if options.number else {}
    return {**number, "options": {name: _dump_option(option) for name, option in options.options.items()}}


def _dump_option(option: Option) -> dict[str, Any]:
    mark = {"top": True} if option.top else {}
    default = _finite(plain(option.default))
    return {"type": _dump(option.kind), "default": default, "text": first_sentence(option.text), **mark}


def _dump(kind: Kind) -> Any:
    """Write a kind as ``"bool"``, ``{"int": {"gt": 0}}``, ``{"one of": [...]}``, ``{"list of": ...}`` and so on."""
    match kind:
        case Anything():
            return "any"
        case Scalar(name, bounds):
            return {name: _dump_range(bounds)} if bounds != FREE else name
        case Choice(values):
            return {"one of": list(values)}
        case Sequence(items, repeated, length):
            what = {"list of": _dump(items[0])} if repeated else {"list": [_dump(item) for item in items]}
            return {**what, "length": _dump_range(length)} if length != FREE else what
        case Table(values):
            return {"mapping to": _dump(values)}
        case Either(kinds):
            return {"either": [_dump(inner) for inner in kinds]}
        case Group():
            return {"group": _dump_group(kind)}
    raise TypeError(f"the schema file has no form for {kind}")


def _dump_range(bounds: Range) -> dict[str, Any]:
    return {name: _finite(bound) for name, bound in vars(bounds).items() if bound is not None}


def _finite(value: Any) -> Any:
    """Write infinite numbers as texts: JSON has none."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return f"{value}" if isinstance(value, float) and math.isinf(value) else value


# -- and back ----------------------------------------------------------------------------------------------------------


def _load_group(node: dict[str, Any]) -> Group:
    return Group({name: _load_option(name, option) for name, option in node["options"].items()}, node.get("number"))


def _load_option(name: str, node: dict[str, Any]) -> Option:
    kind = _load(node["type"])
    default = node["default"]
    if "inf" in str(default):
        default = plain(kind.read(default, name))
    return Option(name, kind, default, node["text"], node.get("top", False))


def _load(node: Any) -> Kind:
    if isinstance(node, str):
        return Anything() if node == "any" else Scalar(node)
    (name, value), *rest = node.items()
    length = _load_range(rest[0][1]) if rest else FREE
    loaders = {
        "one of": lambda: Choice(tuple(value)),
        "list of": lambda: Sequence((_load(value),), True, length),
        "list": lambda: Sequence(tuple(map(_load, value)), False, length),
        "mapping to": lambda: Table(_load(value)),
        "either": lambda: Either(tuple(map(_load, value))),
        "group": lambda: _load_group(value),
    }
    return loaders[name]() if name in loaders else Scalar(name, _load_range(value))


def _load_range(node: dict[str, Any]) -> Range:
    return Range(**{name: float(bound) if isinstance(bound, str) else bound for name, bound in node.items()})


if __name__ == "__main__":
    path().write_text(text(), encoding="utf-8")
    print(f"written: {path()}")
