"""The tables in results/ and the figures in the pages are what the stored files of the runs give."""

import csv
from pathlib import Path

import pytest

from pompc.report.compare import compare

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
PUBLISHED = RESULTS / "dmc" / "published.csv"
NAMES = ("environment", "algorithm", "published", "place")
RUNS = sorted(RESULTS.glob("dmc/*/*/seed*/"))
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


@pytest.mark.parametrize("run", RUNS, ids=lambda run: str(run.relative_to(RESULTS)))
def test_the_pages_give_the_return_of_the_run(run):
    with open(run / "eval.csv", newline="", encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    score, algorithm, task = f"{float(last['reward']):.1f}", run.parent.name, run.parent.parent.name
    row = f"| {task} | `{algorithm}` | {last['seed']} | **{score}** "
    assert row in (RESULTS / "dmc/README.md").read_text(encoding="utf-8")
    results = (ROOT / f"docs/{algorithm}.md").read_text(encoding="utf-8").split("## Results")[1]
    assert score in results
    assert task in results
