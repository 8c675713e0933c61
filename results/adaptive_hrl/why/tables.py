"""Tables of measurements: rows of a CSV file, their means over seeds and ranges."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


class Table:
    """A CSV file that grows.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.is_file():
            with path.open(newline="") as file:
                self.rows = list(csv.DictReader(file))

    def has(self, **key: Any) -> bool:
        """Whether there is a row with these entries."""
        return any(all(row[name] == written(value) for name, value in key.items()) for row in self.rows)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows and write the file."""
        self.rows += [{key: written(x) for key, x in row.items()} for row in rows]
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)

    def by_seed(self, column: str, chosen: Callable[[Mapping[str, str]], bool]) -> np.ndarray:
        """Average a column over the chosen rows of every seed: ``[seed]``."""
        found: dict[str, list[float]] = {}
        for row in self.rows:
            if row.get(column) and chosen(row):
                found.setdefault(row["seed"], []).append(float(row[column]))
        return np.array([np.mean(values) for _, values in sorted(found.items())])


def written(value: Any) -> str:
    """Write an entry of a table."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def cell(values: np.ndarray, digits: int = 2) -> str:
    """Write a mean over seeds and their range."""
    if not len(values):
        return ""
    low, mean, high = (f"{x:.{digits}f}" for x in (values.min(), values.mean(), values.max()))
    return f"{mean} ({low} to {high})"


def markdown(columns: Sequence[str], cells: Mapping[str, Sequence[str]]) -> str:
    """Write a Markdown table.

    Args:
        columns: names of the columns after the first.
        cells: the cells of every line by its name.
    """
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return "\n".join(lines + [f"| {name} | {' | '.join(line)} |" for name, line in cells.items()])
