"""The shape of the code: imports, lengths of files and functions, places of names, lengths of reading paths."""

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

from pompc.registry import ALGORITHMS, ENVIRONMENTS

ROOT = Path(__file__).parent.parent
FOLDERS = {"pompc": "pompc", "algorithms": "pompc.algorithms", "envs": "pompc.envs"}
LAYERS = [
    "pompc errors",
    "system",
    "registry config",
    "dial dials schedules least_error term_dials metrics",
    "networks models planner",
    "agent filter problem environment data model_learning",
    "onpolicy offpolicy parametric",
    "training convert report",
    "cli handlers listing __main__ testing sweep",
    "algorithms envs",
]
"""The parts of ``pompc``, from the bottom to the top: a module imports from its line and from earlier lines."""
APART = [("onpolicy", "offpolicy"), ("algorithms", "envs")]
"""Parts of one line that do not import each other."""
ABOVE = ("algorithms", "envs")
"""Found by their names in the registry, never imported by the library."""
FILE_LINES, FUNCTION_LINES = 300, 50


@dataclass(frozen=True)
class Module:
    """A module and the path of its file."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"))

    @property
    def part(self) -> str:
        """Return the part of ``pompc`` that a module belongs to."""
        return self.name.split(".")[1] if "." in self.name else "pompc"

    def imports(self, known, *, at_import_only: bool) -> set[str]:
        """Find the known modules that a module imports; ``at_import_only`` skips functions and ``TYPE_CHECKING``."""
        nodes = _run_at_import(self.tree) if at_import_only else ast.walk(self.tree)
        return {target for node in nodes for target, _ in self.targets(node, known)} - {self.name}

    def targets(self, node, known) -> Iterator[tuple[str, str]]:
        """Find the known modules that a node imports, each with the imported name."""
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                is_package = self.path.name == "__init__.py"
                own = self.name.split(".")
                source = ".".join([*own[: len(own) - node.level + is_package], *filter(None, [source])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                if inner in known or source in known:
                    yield (inner, "") if inner in known else (source, alias.name)


def _run_at_import(node) -> Iterator[ast.AST]:
    """Yield the nodes that run when a module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from (inner for other in child.orelse for inner in (other, *_run_at_import(other)))
            continue
        yield child
        yield from _run_at_import(child)


def modules(root=ROOT) -> dict[str, Module]:
    """Find all modules of the library by their import names."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((root / folder).rglob("*.py")):
            inner = path.relative_to(root / folder).with_suffix("").parts
            name = ".".join([package, *(part for part in inner if part != "__init__")])
            found[name] = Module(name, path)
    return found


def layer(part: str) -> int:
    found = [line for line, names in enumerate(LAYERS) if part in names.split()]
    assert found, f"pompc.{part} stands in no line of LAYERS: enter it"
    return found[0]


def circle(found: dict[str, Module]) -> list[str]:
    """Find a circle of imports; empty if there is none."""
    try:
        list(TopologicalSorter({m.name: m.imports(found, at_import_only=True) for m in found.values()}).static_order())
    except CycleError as error:
        return error.args[1]
    return []


def upward(found: dict[str, Module]) -> list[str]:
    pairs = [(m, found[t]) for m in found.values() for t in sorted(m.imports(found, at_import_only=False))]
    return [f"{m.name} -> {t.name}" for m, t in pairs if layer(t.part) > layer(m.part) or _apart(m.part, t.part)]


def _apart(one: str, other: str) -> bool:
    return (one, other) in APART or (other, one) in APART


def documented(tree) -> Iterator[ast.AST]:
    """Yield the module, its public classes and functions, and their public methods."""
    yield tree
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                methods = (n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
                yield from (method for method in methods if not method.name.startswith("_"))


def length(function) -> int:
    """Count the lines of a function without its docstring."""
    docstring = function.body[0] if ast.get_docstring(function) is not None else None
    return function.end_lineno - function.lineno + 1 - (docstring.end_lineno - docstring.lineno + 1 if docstring else 0)


def constants(tree) -> Iterator[ast.Constant]:
    """Find the strings in the code, without docstrings and without the texts after constants."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    yield from (node for node in strings if id(node) not in prose)


# -- imports ---------------------------------------------------------------------------------------------------------


def test_no_modules_import_each_other_in_a_circle():
    assert circle(modules()) == []


def test_imports_only_point_down():
    assert upward(modules()) == []


def test_the_core_imports_neither_algorithms_nor_environments():
    found = modules()
    wrong = [
        f"{m.name} -> {target}"
        for m in found.values()
        for target in sorted(m.imports(found, at_import_only=False))
        if m.part not in ABOVE and found[target].part in ABOVE
    ]
    assert wrong == []


PLANTED = {
    "a circle": ({"pompc/system/a.py": "import pompc.system.b", "pompc/system/b.py": "from . import a"}, circle),
    "an upward import": ({"pompc/system/a.py": "def f():\n    from pompc.data import x", "pompc/data.py": ""}, upward),
    "an upward type": (
        {"pompc/models.py": "if TYPE_CHECKING:\n    from pompc.agent import A", "pompc/agent.py": ""},
        upward,
    ),
    "another wing": ({"pompc/onpolicy.py": "from pompc.offpolicy import x", "pompc/offpolicy.py": ""}, upward),
}


@pytest.mark.parametrize(("files", "check"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_found(files, check, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert check(modules(tmp_path))


@pytest.mark.parametrize("line", ["def f():", "if TYPE_CHECKING:"])
def test_an_import_that_does_not_run_at_import_closes_no_circle(line, tmp_path):
    (tmp_path / "pompc").mkdir()
    (tmp_path / "pompc/agent.py").write_text("import pompc.data")
    (tmp_path / "pompc/data.py").write_text(f"{line}\n    import pompc.agent")
    assert circle(modules(tmp_path)) == []


# -- names, lengths and docstrings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("registry", [ALGORITHMS, ENVIRONMENTS], ids=["algorithms", "environments"])
def test_a_registered_name_stands_in_the_registry_only(registry):
    names = [name for name in registry.builtin if name != "pompc"]  # the package's own name
    word = re.compile(rf"(?<![\w./])({'|'.join(names)})(?!\w)")
    found = [
        f"{m.path.relative_to(ROOT)}:{node.lineno}: {match[1]}"
        for m in modules().values()
        if m.part not in (*ABOVE, "registry")
        for node in constants(m.tree)
        if (match := word.search(str(node.value)))
    ]
    assert found == []


def test_no_file_is_too_long():
    sources = [p for p in ROOT.rglob("*.py") if not {*p.relative_to(ROOT).parts[:-1]} & {"tests", ".venv", "build"}]
    lines = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in sources}
    assert lines["pompc/agent.py"] > 0
    assert {name: count for name, count in lines.items() if count > FILE_LINES} == {}


def test_no_two_modules_of_the_tests_share_a_name():
    """Pytest imports them by their names alone."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)


def test_no_function_is_too_long():
    functions = {
        f"{m.path.relative_to(ROOT)}:{node.name}": length(node)
        for m in modules().values()
        for node in ast.walk(m.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in functions.items() if lines > FUNCTION_LINES} == {}


def test_what_is_public_has_a_docstring():
    missing = [
        f"{m.path.relative_to(ROOT)}:{getattr(node, 'name', 'module')}"
        for m in modules().values()
        for node in documented(m.tree)
        if ast.get_docstring(node) is None and not (isinstance(node, ast.Module) and not node.body)  # pyright: ignore
    ]
    assert missing == []


# -- reading paths ---------------------------------------------------------------------------------------------------

PATHS = {
    "One update of TD-MPC2": (6, 900),
    "One PPO update": (4, None),
    "One plan": (3, None),
}
"""Titles of the reading paths at the top of docs/index.md, with the most files and lines that each may have."""
NOT_COUNTED = ("pompc/networks", "pompc/data")
INDEX = ROOT / "docs" / "index.md"


def reading_path(title: str) -> list[Path]:
    """List the files that a line of the form ``title: [a](../pompc/a.py) -> [b](../pompc/b.py)`` links, in order."""
    top = INDEX.read_text(encoding="utf-8").split("\n## ")[0]
    line = re.search(rf"^\W*{re.escape(title)}\W*:(.*)$", top, re.M)
    assert line, f"docs/index.md has no line '{title}: [file](../path/file.py) -> ...' above its first section"
    return [(INDEX.parent / link).resolve().relative_to(ROOT) for link in re.findall(r"\]\(([^)#]+\.py)", line[1])]


def imported_files(module: Module, found: dict[str, Module]) -> set[Path]:
    """Find the files that a module imports; a name that a package passes on counts for its defining file."""
    files = set()
    for node in ast.walk(module.tree):
        for target, name in module.targets(node, found):
            origin = getattr(getattr(importlib.import_module(target), name, None), "__module__", None) if name else None
            files |= {found[one].path.relative_to(ROOT) for one in (target, origin) if one in found}
    return files


@pytest.mark.parametrize("title", PATHS)
def test_a_reading_path_is_short_and_each_of_its_files_is_imported_by_an_earlier_one(title):
    most_files, most_lines = PATHS[title]
    path, found = reading_path(title), modules()
    by_file = {m.path.relative_to(ROOT): m for m in found.values()}
    assert len(path) > 1, f"{title}: no links to files of the library"
    assert [file for file in path if file not in by_file] == [], "a link to no module of the library"
    reachable = imported_files(by_file[path[0]], found)
    for before, file in pairwise(path):
        assert file in reachable, f"{title}: neither {before} nor a file before it imports {file}"
        reachable |= imported_files(by_file[file], found)
    counted = [file for file in path if not file.as_posix().startswith(NOT_COUNTED)]
    lines = sum(len((ROOT / file).read_text(encoding="utf-8").splitlines()) for file in counted)
    assert len(counted) <= most_files
    assert most_lines is None or lines <= most_lines, f"{title}: {lines} lines"
