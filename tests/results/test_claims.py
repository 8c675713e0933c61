"""The tables about the second dial follow from the stored runs."""

import csv
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "results" / "adaptive_hrl"


@pytest.fixture(scope="module")
def judged():
    return runpy.run_path(str(FOLDER / "claims.py"))["judge_all"]()


def test_the_tables_and_the_file_are_of_the_stored_runs(judged):
    lines, tables = judged
    assert f"<!-- claims -->\n{tables}\n<!-- end of claims -->" in (FOLDER / "README.md").read_text(), "run claims.py"
    with open(FOLDER / "claims.csv", newline="") as file:
        stored = list(csv.DictReader(file))
    assert [{key: value for key, value in row.items() if value} for row in stored] == [
        {key: str(value) for key, value in line.items() if str(value)} for line in lines
    ]


def test_a_method_is_never_judged_against_itself_and_few_runs_decide_nothing(judged):
    lines, tables = judged
    assert lines
    for line in lines:
        own = line["method"].partition("/")[2]
        assert f"p_{own}" not in line
        assert (line["runs"] >= 5) == (line["low"] == line["low"])  # an interval, or nan
    assert "nan" not in tables
