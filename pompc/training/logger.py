"""Log numbers to append-only CSV files that can be cut back."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

from pompc.errors import UserError
from pompc.training.checkpoint import WriteError, write_atomic

Scalar = int | float | str


class CSVLog:
    """One CSV file: rows are written whole, a new column may come with any row, and the end can be restored.

    A quantity that a row does not have is an empty cell. Floats have all their digits (``repr``): equal files mean equal
    runs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: io.FileIO | None = None
        self._columns: list[str] = []
        self._rows = 0

    def truncate(self, rows: int) -> None:
        """Cut the file after so many rows and append from there; 0 starts it again.

        Raises:
            UserError: the file has fewer rows.
        """
        self.close()
        lines = self._lines()
        there = max(len(lines) - 1, 0)
        if there < rows:
            raise UserError(
                f"{self.path} has {there} rows, the checkpoint knows {rows}: restore it, or give another run_dir="
            )
        kept = lines[: rows + 1] if rows else []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered, so that a row that failed is not written later; closed in close().
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115
        self._file.truncate(sum(map(len, kept)))
        self._rows = rows
        self._columns = next(csv.reader([kept[0].decode()])) if kept else []

    def last_step(self) -> int:
        """Read the environment step of the last whole row; -1 without one."""
        head, *rows = self._lines() or [b""]
        columns = next(csv.reader([head.decode()]), [])
        return int(next(csv.reader([rows[-1].decode()]))[columns.index("step")]) if rows else -1

    def write(self, row: Mapping[str, Scalar]) -> None:
        """Append one row; columns that the file does not have yet are added to it.

        Raises:
            WriteError: the disk is full; the file is as before.
        """
        if self._file is None:
            self.truncate(max(len(self._lines()) - 1, 0))
        new = [name for name in row if name not in self._columns]
        if new and self._columns:
            self._widen(new)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        columns = self._columns or new
        if not self._columns:
            writer.writerow(columns)
        values = (row.get(name, "") for name in columns)
        writer.writerow(repr(value) if isinstance(value, float) else value for value in values)
        self._append(text.getvalue().encode())
        self._columns, self._rows = columns, self._rows + 1

    def _lines(self) -> list[bytes]:
        """Whole lines of the file; half a row, as a kill leaves it, does not count."""
        content = self.path.read_bytes() if self.path.exists() else b""
        return [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]

    def _widen(self, new: list[str]) -> None:
        """Write the file again with further columns, which are empty so far."""
        head = io.StringIO()
        csv.writer(head, lineterminator="\n").writerow([*self._columns, *new])
        _, *rows = self._lines()
        wider = [row[:-1] + b"," * len(new) + b"\n" for row in rows]
        write_atomic(self.path, b"".join([head.getvalue().encode(), *wider]))
        self.close()
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115
        self._columns = [*self._columns, *new]

    def _append(self, content: bytes) -> None:
        assert self._file is not None
        end = os.fstat(self._file.fileno()).st_size
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(end)
            raise WriteError(self.path, error) from error

    def position(self) -> int:
        """Return the number of rows that are safely on disk: call it when a checkpoint is written.

        Raises:
            WriteError: they could not be brought there.
        """
        if self._file is None:
            return 0
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise WriteError(self.path, error) from error
        return self._rows

    def close(self) -> None:
        """Close the file; a later ``write`` appends."""
        if self._file is not None:
            self._file.close()
            self._file = None
