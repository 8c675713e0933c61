"""The tables of the pages and the comments of `pompc show` say what the code says."""

import argparse
import importlib.util
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from omegaconf import OmegaConf

from pompc.config.documentation import command_line, explained, table, takes, with_tables
from pompc.config.options import Options, PositiveInt, Share, Top
from pompc.config.schema import kind_of
from pompc.config.spec import configure

DOCS = Path(__file__).parents[2] / "docs"


def generator():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = generator().pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_says_what_the_code_says(page):
    assert page.read_text(encoding="utf-8") == PAGES[page], "run python docs/generate.py"


def test_pages_have_tables():
    marks = [mark for text in PAGES.values() for mark in re.findall(r"<!-- options: (.*) -->\n\| key", text)]
    assert {"ppo", "tdmpc2", "carla_racing", "bmpc beside tdmpc2"} <= set(marks)


@dataclass(frozen=True, kw_only=True)
class Inner(Options):
    """Options.

    Attributes:
        depth: how deep. More of it.
    """

    depth: int = 3


@dataclass(frozen=True, kw_only=True)
class Example(Options):
    """Options.

    Attributes:
        rate: a ``rate``, see :meth:`~pompc.agent.MPPIRL.act`. A second sentence.
        mode: a|b or <c>.
        inner: the options inside.
        twice: the options that differ.
    """

    section = "algo"

    rate: Annotated[Share, Top()] = 0.5
    mode: Literal["a", "b"] = "a"
    inner: Inner = field(default_factory=Inner)
    twice: Inner = field(default_factory=lambda: Inner(depth=4))


def test_a_table_has_a_row_per_option_and_of_nested_ones_what_differs():
    assert table(f"{__name__}:Example").splitlines() == [
        "| key | default | takes | meaning |",
        "|---|---|---|---|",
        "| `rate` | 0.5 | number, in [0, 1] | a `rate`, see `act` |",
        r"| `algo.mode` | a | `a`, `b` | a\|b or \<c> |",
        "| `algo.twice.depth` | 4 | whole number | how deep |",
    ]


def test_beside_another_a_table_has_what_differs():
    rows = table("bmpc beside tdmpc2")
    assert "| `algo.reanalyze_interval` | 10 |" in rows
    assert "| `kl_weight` | .inf |" in rows
    assert "algo.learning_rate" not in rows
    assert len(table("ppo beside ppo").splitlines()) == 2


def test_only_what_is_between_the_marks_is_replaced():
    page = "before\n<!-- options: mppi -->\nold\n<!-- /options -->\nafter\n"
    text = with_tables(page)
    assert text.startswith("before\n<!-- options: mppi -->\n| key |")
    assert text.endswith("|\n<!-- /options -->\nafter\n")
    assert "old" not in text
    assert with_tables(text) == text


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (PositiveInt | None, "whole number, positive or null"),
        (tuple[Share, ...], "list (number, in [0, 1])"),
        (tuple[float, float], "list of 2 (number)"),
        (dict[str, Any], "mapping"),
        (bool, "true, false"),
        (Any, "anything"),
    ],
)
def test_what_an_option_takes_in_words(annotation, words):
    assert takes(kind_of(annotation)) == words


def test_a_shown_configuration_explains_every_key_and_is_the_configuration():
    spec = configure("adaptive_pompc", "carla_racing", ["env.servers=[a:1]", "wandb.tags=[x, 'y z']"])
    text = explained(spec.values)
    assert OmegaConf.to_container(OmegaConf.create(text)) == spec.values
    unexplained = [line for line in text.splitlines() if "#" not in line]
    assert unexplained == ["algo:", "  name: adaptive_pompc", "env:", "  name: carla_racing"]
    assert re.search(r"^  noise: white +# .*\(white, coloured, spline, integrated\)$", text, re.M)


def test_a_command_line_page_has_every_command_and_argument():
    parser = argparse.ArgumentParser(prog="tool")
    inner = parser.add_subparsers().add_parser("do", description="Do it.")
    inner.add_argument("--fast", action="store_true", help="at <speed>")
    inner.add_argument("what", choices=["a", "b"])
    deeper = inner.add_subparsers().add_parser("more", description="Do more.")
    deeper.add_argument("--n", "-n", metavar="N", help="how often")
    text = command_line(parser)
    assert "## `tool do`\n\nDo it.\n" in text
    assert "| `--fast` | at \\<speed> |\n| `a or b` |  |" in text
    assert "Do more." in text
    assert "| `--n, -n N` | how often |" in text
