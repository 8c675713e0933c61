"""Documentation made from options and commands: the comments of `pompc show`, the tables of ``docs/``. Torch-free."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import yaml

from pompc.config import schema_file
from pompc.config.kinds import Anything, Choice, Either, Group, Kind, Option, Scalar, Sequence, Table
from pompc.config.layout import layout
from pompc.config.schema import first_sentence, group
from pompc.config.values import MISSING, join
from pompc.registry import ALGORITHMS, ENVIRONMENTS

WIDTH = 36  # columns before a comment
_MARKED = re.compile(r"(<!-- options: ([^\n]+?) -->\n).*?(<!-- /options -->)", re.S)


def explained(values: Mapping[str, Any]) -> str:
    """Write the values of a configuration as YAML, every key with the first sentence of its text as a comment."""
    return "\n".join(_lines(values, layout(values["algo"]["name"], values["env"]["name"]))) + "\n"


def _lines(values: Mapping[str, Any], options: Group, indent: str = "") -> Iterator[str]:
    for name, value in values.items():
        option = options.options[name]
        inner = option.kind.group if isinstance(option.kind, Either) else option.kind
        comment = first_sentence(_prose(option.text, code=""))
        if isinstance(option.kind, Choice):
            comment += f" ({', '.join(map(str, option.kind.values))})"
        if isinstance(inner, Group) and isinstance(value, Mapping):
            yield _commented(f"{indent}{name}:", comment)
            yield from _lines(value, inner, f"{indent}  ")
        else:
            yield _commented(f"{indent}{name}: {_flow(value)}", comment)


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf).removesuffix("...\n").strip()


def _commented(line: str, comment: str) -> str:
    return f"{line:<{WIDTH}}  # {comment}" if comment else line


def with_tables(text: str) -> str:
    """Replace the tables of options in a page by those of today.

    A table stands between ``<!-- options: NAME -->`` and ``<!-- /options -->``. The name is that of an algorithm, of an
    environment family, or ``module:Class`` of a config dataclass. ``NAME beside OTHER`` has the options that ``OTHER``
    lacks or has with another default or text.
    """
    return _MARKED.sub(lambda found: f"{found[1]}{table(found[2])}{found[3]}", text)


def table(name: str) -> str:
    """Write the table of a config's options: key, default, what it takes, and its text; see :func:`with_tables`."""
    own, _, other = name.partition(" beside ")
    rows, known = dict(_rows(own)), dict(_rows(other)) if other else {}
    lines = [row for key, row in rows.items() if known.get(key) != row]
    return "\n".join(["| key | default | takes | meaning |", "|---|---|---|---|", *lines, ""])


def _rows(name: str) -> Iterator[tuple[str, str]]:
    options, section = _options(name)
    for option in options.options.values():
        yield from _option_rows(option, option.key(section))


def _options(name: str) -> tuple[Group, str]:
    """Find the options behind the name of a table, and where they lie."""
    if ":" in name:
        module, _, attribute = name.partition(":")
        cls = getattr(import_module(module), attribute)
        return schema_file.without_classes(group(cls)), cls.section
    registry, section = (ALGORITHMS, "algo") if name in ALGORITHMS else (ENVIRONMENTS, "env")
    return schema_file.options_of(registry, name), section


def _option_rows(option: Option, key: str) -> Iterator[tuple[str, str]]:
    """Write the row of an option; of nested options only those that differ from their own defaults, of a schedule all."""
    kind = option.kind
    inner = kind.group if isinstance(kind, Either) else kind
    if not isinstance(inner, Group) or not isinstance(option.default, Mapping):
        yield key, f"| `{key}` | {_printed(option.default)} | {takes(kind)} | {_cell(option.text)} |"
        return
    if isinstance(kind, Either):
        yield key, f"| `{key}` | below | {takes(kind)} | {_cell(option.text)} |"
    for name, nested in inner.options.items():
        if isinstance(kind, Either) or option.default[name] != nested.default:
            changed = Option(name, nested.kind, option.default[name], nested.text)
            yield from _option_rows(changed, join(key, name))


def takes(kind: Kind) -> str:
    """Say what a kind takes, for a table."""
    match kind:
        case Scalar(name, bounds):
            words = bounds.words
            return f"{_NOUNS[name]}, {words}" if words and words != "finite" else _NOUNS[name]
        case Choice(values):
            return ", ".join(f"`{value}`" for value in values)
        case Sequence(items, repeated):
            return f"list ({takes(items[0])})" if repeated else f"list of {len(items)} ({takes(items[0])})"
        case Either(kinds):
            return " or ".join(map(takes, kinds))
        case Group():
            return "schedule" if kind.number else "mapping"
        case Table() | Anything():
            return "mapping" if isinstance(kind, Table) else "anything"
    raise TypeError(f"no words for {kind}")


_NOUNS = {
    "bool": "true, false",
    "int": "whole number",
    "float": "number",
    "str": "text",
    "path": "path",
    "null": "null",
}


def _printed(value: Any) -> str:
    """Print a default as YAML does."""
    if value == MISSING:
        return "to be given"
    return ".inf" if value == math.inf else json.dumps(value).strip('"')


def _cell(text: str) -> str:
    return _escaped(_prose(text, code="`").removesuffix("."))


def _escaped(text: str) -> str:
    """Text that stays as it is in a cell of a table: outside of code, ``<name>`` is no tag."""
    parts = text.replace("|", r"\|").split("`")
    return "`".join(part if i % 2 else part.replace("<", r"\<") for i, part in enumerate(parts))


def _prose(text: str, *, code: str) -> str:
    """Text of a docstring: ``x``, :meth:`x` and :class:`~a.b.x` become x in the quotes of code."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"``\1``", text)
    return re.sub(r"``(.+?)``", rf"{code}\1{code}", text)


# -- commands ----------------------------------------------------------------------------------------------------------


def command_line(parser: argparse.ArgumentParser) -> str:
    """Write the sections of a page on a command line: every command with its arguments."""
    return "\n".join(section for name, command in _commands(parser) for section in _command(name, command))


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Collect all commands by the words that call them, commands of commands included."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                getattr(inner, "fill", lambda: None)()  # the arguments of a contributed command come with its first use
                yield inner.prog, inner
                yield from _commands(inner)


def _command(name: str, command: argparse.ArgumentParser) -> Iterator[str]:
    shown = [action for action in command._actions if not isinstance(action, argparse._HelpAction)]
    shown = [action for action in shown if not isinstance(action, argparse._SubParsersAction)]
    yield f"## `{name}`\n\n{command.description}\n"
    if shown:
        yield "| argument | meaning |\n|---|---|"
        yield from (f"| `{_form(action)}` | {_escaped(action.help or '')} |" for action in shown)
        yield ""


def _form(action: argparse.Action) -> str:
    """Write an argument as it is typed."""
    value = "" if action.nargs == 0 else str(action.metavar or "|".join(map(str, action.choices or [action.dest])))
    return " ".join(filter(None, [", ".join(action.option_strings), value.replace("|", " or ")]))
