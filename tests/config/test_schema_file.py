"""The schema file agrees with the dataclasses; a stale entry is not read."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pompc.config import schema_file, sources
from pompc.config.compose import compose
from pompc.config.layout import layout
from pompc.config.schema import group
from pompc.config.values import flatten
from pompc.registry import ALGORITHMS, ENVIRONMENTS

REGISTRIES = [(registry, name) for registry in (ALGORITHMS, ENVIRONMENTS) for name in registry.builtin]
CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_file_is_what_the_dataclasses_say():
    assert schema_file.path().read_text(encoding="utf-8") == schema_file.text(), f"run {schema_file.COMMAND}"


@pytest.mark.parametrize(("registry", "name"), REGISTRIES, ids=[name for _, name in REGISTRIES])
def test_options_from_the_file_are_those_of_the_dataclass(registry, name):
    stored, own = schema_file.options_of(registry, name), group(registry.resolve(name).Config)
    assert stored == schema_file.without_classes(own)
    assert stored.defaults() == own.defaults()
    assert all(option.text for option in own.options.values()), "every option says what it is"


def test_the_file_spares_the_import():
    code = (
        "import sys; from pompc.config.layout import layout; from pompc.registry import ALGORITHMS, ENVIRONMENTS\n"
        "for algo in ALGORITHMS.builtin:\n    for env in ENVIRONMENTS.builtin:\n        layout(algo, env)\n"
        "import pompc.planner.config, pompc.offpolicy.config, pompc.onpolicy.config, pompc.models.config\n"
        "sys.exit(' '.join({'torch', 'gymnasium', 'hydra', 'numpy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr.strip() == ""


@pytest.fixture
def stored(monkeypatch):
    """The entries of the file, to be changed."""
    entries = {group: dict(table) for group, table in schema_file._stored().items()}
    monkeypatch.setattr(schema_file, "_stored", lambda: entries)
    return entries


def test_a_stale_entry_is_not_used(stored):
    entry = stored["pompc.algorithms"]["ppo"]
    stored["pompc.algorithms"]["ppo"] = {**entry, "digest": "of another day", "options": {}}
    assert "clip_epsilon" in layout("ppo", "acrobot").options["algo"].kind.options
    stored["pompc.algorithms"]["ppo"] = {**entry, "options": {}}
    assert "clip_epsilon" not in layout("ppo", "acrobot").options["algo"].kind.options, "with its digest it is believed"


def test_an_algorithm_without_an_entry_needs_none(stored):
    del stored["pompc.algorithms"]["ppo"]
    assert compose("ppo", "acrobot", ["algo.clip_epsilon=0.3"])["algo"]["clip_epsilon"] == 0.3


SOURCE = '''
from dataclasses import dataclass, field
from typing import Annotated
from .widths import Width

Rate = float

def start() -> int:
    return 3

@dataclass(frozen=True, kw_only=True)
class Config:
    """Options.

    Attributes:
        rate: of Adam.
    """

    rate: Rate = 0.1
    width: Width = field(default_factory=start)

    def method(self) -> int:
        return 1

UNUSED = 1
'''


@pytest.fixture
def source(tmp_path, monkeypatch):
    """The digest of a small module, by a function that replaces something in it."""
    monkeypatch.setattr(sources.pompc, "__path__", [str(tmp_path)])

    def digest(old="", new="", *, widths="Width = int", where="pompc.small:Config"):
        (tmp_path / "small.py").write_text(SOURCE.replace(old, new) if old else SOURCE)
        (tmp_path / "widths.py").write_text(widths)
        sources._lines.cache_clear()
        sources._statements.cache_clear()
        return sources.digest(where)

    yield digest
    sources._lines.cache_clear()
    sources._statements.cache_clear()


@pytest.mark.parametrize(
    ("old", "new"),
    [("= 0.1", "= 0.2"), ("of Adam", "of SGD"), ("Rate = float", "Rate = int"), ("return 3", "return 4"),
     ("    rate: Rate", "    more: int = 1\n    rate: Rate"), ("class Config:", "class Config(dict):")],
)  # fmt: skip
def test_a_digest_sees_what_decides_the_options(source, old, new):
    assert source(old, new) != source()


@pytest.mark.parametrize(
    ("imported", "rate", "old", "new"),
    [
        ("from . import widths", "widths.Width", "Width = int", "Width = float"),
        ("from pompc import widths as other", "other.Width", "Width = int", "Width = float"),
        ("import pompc.widths as other", "other.Width", "Width = int", "Width = float"),
        ("import pompc.widths", "pompc.widths.Width", "Width = int", "Width = float"),
        ("from .widths import Rate", "Rate", "LOW, HIGH = 0, 1", "LOW, HIGH = 0, 2"),
        ("from .widths import Either", "Either", "Either = float", "Either = str"),
        ("from .widths import Made", "Made.small()", "return 5", "return 6"),
    ],
)
def test_a_digest_follows_attributes_and_every_way_to_define_a_name(source, imported, rate, old, new):
    widths = """
Width = int
LOW, HIGH = 0, 1
Rate = Interval(LOW, HIGH)
if sys.version_info > (3,):
    try:
        Either = int
    except ImportError:
        Either = float
class Made:
    def small():
        return 5
"""
    own = ("from .widths import Width\n\nRate = float", f"from .widths import Width\n{imported}\nRate = {rate}")
    if imported.endswith(" Rate"):
        own = (own[0], f"from .widths import Width\n{imported}")
    assert source(*own, widths=widths) != source(*own, widths=widths.replace(old, new))


def test_a_digest_follows_imports_and_leaves_out_methods_and_the_rest(source):
    assert source(widths="Width = float") != source() != ""
    for old, new in (("return 1", "return 2"), ("UNUSED = 1", "UNUSED = 2"), ("from typing", "from __future__")):
        assert source(old, new) == source()
    assert source(where="pompc.small:Nothing") == source(where="elsewhere:Config") == ""


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_yaml_file_holds_only_what_differs(path):
    algo = path.stem if path.parent.name == "algo" else "ppo"
    families = [path.stem] if path.parent.name == "env" else ["acrobot", "carla_racing"]  # a preset may be for either
    said = {key: value for key, value in flatten(OmegaConf.to_container(OmegaConf.load(path))) if key != "defaults"}
    leaves = {key: value for key, value in said.items() if not isinstance(value, dict)}
    assert leaves
    everything = (dict(flatten(layout(algo, family).defaults())) for family in families)
    defaults = next(known for known in everything if leaves.keys() <= known.keys())
    assert all(defaults[key] != value for key, value in leaves.items())
