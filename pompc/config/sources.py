"""A digest of the source of a dataclass's options, made without importing it."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pompc


def digest(where: str) -> str:
    """Digest, in twelve hex digits, everything that decides the options of a dataclass of this package.

    That is its fields and docstring, and in turn every name they use: bases, nested dataclasses, aliases of ranges,
    functions that make defaults. Methods do not count.

    Args:
        where: ``"module:Class"``.

    Returns:
        The digest; empty if the source is not found.
    """
    module, _, name = where.partition(":")
    parts: dict[tuple[str, str], str] = {}
    open_names = [(module, name)]
    while open_names:
        place = open_names.pop()
        if place in parts:
            continue
        statement = _statements(place[0]).get(place[1])
        if statement is None:
            continue
        parts[place] = _text(place[0], statement)
        open_names += _uses(place[0], place[1], statement)
    if (module, name) not in parts:
        return ""
    text = "\n".join(f"{place} {part}" for place, part in sorted(parts.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def find(module: str) -> Path | None:
    """Find the file of a module of this package; ``None`` if it is missing."""
    package, _, inner = module.partition(".")
    if package != pompc.__name__:
        return None
    for root in pompc.__path__:
        stem = Path(root, *inner.split("."))
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                return path
    return None


@cache
def _lines(module: str) -> list[str]:
    path = find(module)
    return [] if path is None else path.read_text(encoding="utf-8").splitlines()


@cache
def _statements(module: str) -> dict[str, ast.stmt]:
    """Map each name at the top of a module, ``Class.method`` included, to the statement that defines it."""
    found: dict[str, ast.stmt] = {}
    for statement in _flat(ast.parse("\n".join(_lines(module))).body):
        for name in _defined(statement):
            found[name] = statement
        if isinstance(statement, ast.ClassDef):
            inner = [part for part in statement.body if isinstance(part, ast.FunctionDef)]
            found |= {f"{statement.name}.{part.name}": part for part in inner}
    return found


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements, with those inside ``if`` (``TYPE_CHECKING``) and ``try``."""
    for statement in body:
        match statement:
            case ast.If():
                yield from _flat([*statement.body, *statement.orelse])
            case ast.Try():
                handlers = [inner for handler in statement.handlers for inner in handler.body]
                yield from _flat([*statement.body, *handlers, *statement.orelse])
            case _:
                yield statement


def _defined(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            names = (node for target in targets for node in ast.walk(target))
            yield from (node.id for node in names if isinstance(node, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.ImportFrom(names=names) | ast.Import(names=names):
            yield from (alias.asname or alias.name for alias in names)


def _text(module: str, statement: ast.stmt) -> str:
    """Write the source of a statement: a class without its methods, an import without its module."""
    if isinstance(statement, ast.ImportFrom | ast.Import):
        return ""
    lines = _lines(module)
    return "\n".join(line for part in _parts(statement) for line in lines[part.lineno - 1 : part.end_lineno])


def _parts(statement: ast.stmt) -> list[ast.stmt | ast.expr | ast.keyword]:
    """Split a class into decorators, bases and fields; any other statement is one part."""
    if not isinstance(statement, ast.ClassDef):
        return [statement]
    fields = [part for part in statement.body if not isinstance(part, ast.FunctionDef)]
    return [*statement.decorator_list, *statement.bases, *statement.keywords, *fields]


def _uses(module: str, name: str, statement: ast.stmt) -> Iterator[tuple[str, str]]:
    """Yield the names that a statement uses, with the modules in which to look for them."""
    if isinstance(statement, ast.ImportFrom):
        original = next(alias.name for alias in statement.names if (alias.asname or alias.name) == name)
        yield _absolute(module, statement), original
        return
    for node in (node for part in _parts(statement) for node in ast.walk(part)):
        if isinstance(node, ast.Name):
            yield module, node.id
        elif isinstance(node, ast.Attribute):
            yield from _attribute(module, node)


def _attribute(module: str, node: ast.Attribute) -> Iterator[tuple[str, str]]:
    """Where ``a.b`` may lie: in a class ``a`` of the module or of another one, or in a module ``a``."""
    first, _, rest = ast.unparse(node).partition(".")
    yield module, f"{first}.{rest}"
    target = f"{first}.{rest}"
    match _statements(module).get(first):
        case ast.ImportFrom() as statement:
            original = next(alias.name for alias in statement.names if (alias.asname or alias.name) == first)
            yield _absolute(module, statement), f"{original}.{rest}"
            target = f"{_absolute(module, statement)}.{original}.{rest}"
        case ast.Import() as statement:
            original = next(alias.name for alias in statement.names if (alias.asname or alias.name) == first)
            target = f"{original}.{rest}"
    place, _, name = target.rpartition(".")
    yield place, name


def _absolute(module: str, statement: ast.ImportFrom) -> str:
    """Find the module that a statement imports from, relative ones included."""
    if not statement.level:
        return statement.module or ""
    path = find(module)
    package = module.split(".") if path is not None and path.name == "__init__.py" else module.split(".")[:-1]
    base = package[: len(package) - statement.level + 1]
    return ".".join([*base, statement.module] if statement.module else base)
