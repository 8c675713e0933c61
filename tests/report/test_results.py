"""The tables in results/ are what the stored files of the runs give."""

import csv
from pathlib import Path

import pytest

from pompc.report.compare import compare

RESULTS = Path(__file__).parents[2] / "results"
PUBLISHED = RESULTS / "dmc" / "published.csv"
NAMES = ("environment", "algorithm", "published", "place")
TASKS = [table.stem for table in sorted(RESULTS.glob("dmc/*.csv")) if table != PUBLISHED]


def check(table, runs, published, tmp_path):
    compare(sorted(runs), tmp_path / "again.png", published)
    found, stored = rows(tmp_path / "again.csv"), rows(table)
    assert found.keys() == stored.keys()
    for names in stored:
        assert found[names] == pytest.approx(stored[names], rel=1e-9, nan_ok=True)


def rows(table):
    """``{names: numbers}`` of a table."""
    with open(table, newline="", encoding="utf-8") as file:
        return {
            tuple(row[name] for name in NAMES if name in row): [float(row[key]) for key in row if key not in NAMES]
            for row in csv.DictReader(file)
        }


def test_racing(tmp_path):
    check(RESULTS / "carla_racing/comparison.csv", RESULTS.glob("carla_racing/[amp]*/seed*/"), None, tmp_path)


@pytest.mark.parametrize("task", TASKS)
def test_control_suite(task, tmp_path):
    check(RESULTS / f"dmc/{task}.csv", RESULTS.glob(f"dmc/{task}/*/seed*/"), PUBLISHED, tmp_path)
