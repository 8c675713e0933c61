"""The folder of a sweep: what it is, where its runs are and how far they are."""

from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import pompc
from pompc.errors import UserError
from pompc.system.locking import InUse, exclusive
from pompc.training.checkpoint import write_atomic

SWEEPS = Path("sweeps")


class SweepFolder:
    """Paths, lock and files of a sweep.

    Files: ``sweep.yaml`` (what it is: words, code, versions, run directories), ``status.csv`` (a row per run), ``logs/``
    (the output of each run), ``search.journal`` (Optuna's trials), ``stop`` (while its runs are asked to stop).

    Args:
        name: of the folder.
        code: of what is run, see :attr:`pompc.sweep.words.Request.code`.
    """

    def __init__(self, name: str, code: str) -> None:
        self.path = SWEEPS / name
        self.code = code

    @property
    def stop(self) -> Path:
        """The file that asks the runs to stop."""
        return self.path / "stop"

    @property
    def journal(self) -> Path:
        """Optuna's file."""
        return self.path / "search.journal"

    def log(self, directory: Path) -> Path:
        """Name the file for the output of a run."""
        parts = directory.parts[1:] if directory.parts[:1] == ("runs",) else directory.parts
        return self.path / "logs" / f"{'-'.join(part for part in parts if part != directory.anchor)}.log"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; the lock goes with the process, however it ends.

        Raises:
            UserError: the sweep is running, or the folder is another sweep's or cannot be written.
        """
        with ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(exclusive(self.path / ".lock"))
            except InUse as error:
                raise UserError(f"{self.path} is running (pid {error.pid}): wait for it, or stop it first") from None
            except OSError as error:
                raise UserError(f"cannot write {self.path}: {error.strerror}") from error
            known = self._known().get("code", self.code)
            if known != self.code:
                raise UserError(
                    f"{self.path} is another sweep, see its sweep.yaml: give another --name; "
                    "runs that both have are not run again"
                )
            self.stop.unlink(missing_ok=True)
            yield
            self.stop.unlink(missing_ok=True)

    def describe(self, words: Sequence[str], runs: Sequence[Path]) -> None:
        """Write ``sweep.yaml``. Versions of earlier starts stay."""
        here = f"{pompc.__version__} {commit() or ''}".strip()
        versions = list(dict.fromkeys([*self._known().get("versions", []), here]))
        content = {"words": list(words), "code": self.code, "versions": versions, "runs": [str(run) for run in runs]}
        write_atomic(self.path / "sweep.yaml", yaml.safe_dump(content, sort_keys=False, width=1000).encode())

    def write_status(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write ``status.csv``."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomic(self.path / "status.csv", text.getvalue().encode())

    def ask_to_stop(self) -> None:
        """Ask all runs to stop at the next safe point; another time, at once."""
        with open(self.stop, "ab") as file:
            file.write(b"!")

    def _known(self) -> dict[str, Any]:
        try:
            return yaml.safe_load((self.path / "sweep.yaml").read_text(encoding="utf-8")) or {}
        except FileNotFoundError:
            return {}
        except yaml.YAMLError:
            raise UserError(f"{self.path / 'sweep.yaml'} is damaged: move it away") from None


@cache
def commit() -> str | None:
    """Describe the commit of pompc's own source; ``None`` if it is not in a git repository."""
    source = Path(pompc.__file__)
    git = ["git", "-C", str(source.parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", source.name], capture_output=True, check=True)
        done = subprocess.run([*git, "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
