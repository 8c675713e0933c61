"""One version everywhere, and a citation that tools can read."""

import re
import tomllib
from pathlib import Path

import yaml

import pompc

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_version_is_the_same_everywhere():
    newest = re.search(r"^## \[([\d.]+)\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest
    assert pompc.__version__ == PROJECT["version"] == CITATION["version"] == newest[1]
    assert str(CITATION["date-released"]) == newest[2]


def test_the_citation_has_what_its_format_needs():
    """CFF 1.2.0 requires these; an author is a person or an entity with a name."""
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= CITATION.keys()
    assert CITATION["type"] == "software"
    assert all(author.keys() & {"name", "family-names"} for author in CITATION["authors"])
    assert CITATION["license"] == PROJECT["license"]
