"""Log numbers to append-only CSV files that can be cut back, and to a wandb run that can never stop a training."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import netrc
import os
import uuid
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

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


def _logged_in() -> bool:
    """Say whether wandb finds a key without asking, in its environment variable or a netrc entry."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    candidates = (
        [Path(os.environ["NETRC"])] if "NETRC" in os.environ else [Path.home() / ".netrc", Path.home() / "_netrc"]
    )
    for path in candidates:
        try:
            if netrc.netrc(path).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def _run_id(file: Path, is_new: bool) -> str:
    """Read or create the id of the directory's wandb run: two directories of one configuration are two runs."""
    if is_new or not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
    return file.read_text(encoding="utf-8")


def wandb_mode(requested: str) -> str:
    """Resolve ``auto`` to WANDB_MODE if set, else to ``online`` with a login and ``offline`` without; keep other modes."""
    if requested != "auto":
        return requested
    return os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")


class WandbLog:
    """Log to wandb until its first failure, which is reported once and never ends the training.

    Args:
        directory: the run directory; the files go to ``<directory>/wandb``.
        name: name of the run.
        options: the ``wandb`` node: ``mode`` (auto, online, offline, disabled), ``project``, ``group``, ``tags``.
        config: the resolved configuration.
        is_new: the training starts; otherwise the wandb run of the directory continues.
    """

    def __init__(
        self, directory: Path, name: str, options: Mapping[str, Any], config: Mapping[str, Any], *, is_new: bool = True
    ) -> None:
        self._run: Any = None
        self._wandb: Any = None
        mode: Any = wandb_mode(options["mode"])
        if mode == "disabled":
            return
        try:
            import wandb

            self._wandb = wandb
            self._run = wandb.init(
                mode=mode,
                dir=str(directory),
                id=_run_id(directory / "wandb" / "run_id", is_new),
                name=name,
                resume="allow",
                project=options["project"],
                group=options["group"],
                tags=list(options["tags"] or []),
                config=dict(config),
                settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
            )
            self._run.define_metric("env_step")
            self._run.define_metric("*", step_metric="env_step")
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._run = None
        warnings.warn(
            f"wandb stopped ({type(error).__name__}: {error}); the training continues, the CSV files are complete"
        )

    def log(self, group: str, step: int, row: Mapping[str, Scalar]) -> None:
        """Log the finite numbers of ``row`` as ``group/name`` at environment step ``step``."""
        numbers = {k: v for k, v in row.items() if k != "step" and isinstance(v, int | float) and math.isfinite(v)}
        self._try(lambda: self._run.log({"env_step": step, **{f"{group}/{k}": v for k, v in numbers.items()}}))

    def media(self, name: str, step: int, path: Path) -> None:
        """Log a picture (.png) or a video (.mp4)."""
        kinds = {
            ".png": lambda: self._wandb.Image(str(path)),
            ".mp4": lambda: self._wandb.Video(str(path), format="mp4"),
        }
        self._try(lambda: self._run.log({"env_step": step, name: kinds[path.suffix]()}))

    def close(self) -> None:
        """Finish the run."""
        self._try(lambda: self._run.finish())
        self._run = None

    def _try(self, action: Any) -> None:
        if self._run is None:
            return
        try:
            action()
        except Exception as error:  # no error of wandb or its service may cost a training
            self._give_up(error)
