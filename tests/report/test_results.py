"""The tables in results/ and the numbers in the pages follow from the stored files of the runs."""

import csv
from pathlib import Path

import pytest

from pompc.report.compare import compare
from pompc.report.comparison import CompareOptions
from pompc.report.statistics import RANGE

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
PUBLISHED = RESULTS / "dmc" / "published.csv"
NAMES = ("environment", "algorithm", "published", "place", "extent", "points")
RUNS = sorted(RESULTS.glob("dmc/*/*/seed*/"))
TASKS = [table.stem for table in sorted(RESULTS.glob("dmc/*.csv")) if table != PUBLISHED]


def check(table, runs, published, tmp_path):
    compare(sorted(runs), tmp_path / "again.png", CompareOptions(published=published))
    stored = rows(table)
    found = rows(tmp_path / "again.csv", columns=read(table)[0])  # a stored table may have fewer
    assert found.keys() == stored.keys()
    for names in stored:
        assert found[names] == pytest.approx(stored[names], rel=1e-9, nan_ok=True)


def read(table):
    with open(RESULTS / table, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def rows(table, columns=None):
    """``{names: numbers}`` of a table, of some columns or of all."""
    return {
        tuple(row[name] for name in NAMES if name in row): [
            float(row[key]) for key in columns or row if key not in NAMES
        ]
        for row in read(table)
    }


def test_racing(tmp_path):
    check(RESULTS / "carla_racing/comparison.csv", RESULTS.glob("carla_racing/[amp]*/seed*/"), None, tmp_path)


def test_the_page_of_results_has_the_table_of_racing():
    """The failure prints the lines to paste."""
    found = read("carla_racing/comparison.csv")
    extents = {row["extent"] for row in found}
    assert len(extents) == 1, "as many runs of every method, so that one heading fits"
    heading = "each run" if extents == {RANGE} else "interquartile mean of the runs [95 % interval]"
    lines = [f"| | return (mean ± std of the runs) | {heading} | episodes with a clean lap | violations per episode |"]
    lines += ["|---|---|---|---|---|"]
    for row in found:
        mean, std, iqm, low, high, success, cost = (
            float(row[key]) for key in ("return", "std", "iqm", "low", "high", "success", "cost")
        )
        points = ", ".join(f"{float(point):.0f}" for point in row["points"].split())
        scores = points if row["extent"] == RANGE else f"{iqm:.0f} [{low:.0f}, {high:.0f}]"
        lines.append(
            f"| `{row['algorithm']}` | {mean:.0f} ± {std:.0f} | {scores} | {100 * success:.0f} % | {cost:.2f} |"
        )
    lines = "\n".join(lines)
    assert lines in (ROOT / "docs/results.md").read_text(encoding="utf-8"), (
        f"docs/results.md lacks this table:\n{lines}"
    )


def test_the_page_of_results_has_the_scores_of_the_control_suite():
    """Every run's, rounded, in the table on the suite."""
    page = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    for task in TASKS:
        for row in read(f"dmc/{task}.csv"):
            points = ", ".join(f"{float(point):.0f}" for point in row["points"].split())
            assert f"| {task} | `{row['algorithm']}` | {points} |" in page


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
