"""What the records of runs say of their origin: versions, commits, how far they got."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pompc.report.html.words import counted, listed

if TYPE_CHECKING:
    from pompc.report.comparison import EnvironmentComparison
    from pompc.report.runs import Run

RECORDS = ("run.json", "cost.json")
"""Files of a run that may name versions of packages and a commit."""


def facts(environments: Sequence[EnvironmentComparison], methods: int) -> list[str]:
    """Sum up what is compared: numbers of runs, methods and environments, then versions and commits."""
    runs = [run for entry in environments for run in entry.runs]
    words = [
        counted(len(runs), "run"),
        counted(methods, "method"),
        counted(len(environments), "environment"),
    ]
    records = [_record(run) for run in runs]
    packages = dict.fromkeys(name for record in records for name in record.get("versions", {}))
    for package in packages:
        versions = {str(record["versions"][package]) for record in records if package in record.get("versions", {})}
        words.append(f"{package} {listed(sorted(versions))}")
    commits = dict.fromkeys(str(record["commit"]) for record in records if record.get("commit"))
    if commits:
        words.append(f"commit {listed(commits)}")
    return words


def reached(run: Run) -> float:
    """Find the last environment step that a run's files know."""
    return max(float(table["step"].max()) for table in (run.eval, run.metrics, run.timing) if len(table.get("step", ())))


def _record(run: Run) -> dict[str, Any]:
    files = [run.path / name for name in RECORDS]
    found: dict[str, Any] = {}
    for file in files:
        if file.exists():
            found |= json.loads(file.read_text(encoding="utf-8"))
    return found
