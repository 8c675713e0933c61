"""The run directory: its paths, its lock and its status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from pompc.errors import UserError
from pompc.system.locking import InUse, exclusive
from pompc.training.checkpoint import write_atomic


class RunDirectory:
    """Paths and status of one run.

    Files: config.yaml, metrics.csv, eval.csv, eval_episodes.csv, timing.csv, curve.png, video.mp4, run.json,
    checkpoints/last.pt, checkpoints/best.pt, crash/, wandb/ and tensorboard/.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def last(self) -> Path:
        """The checkpoint the run continues from."""
        return self.path / "checkpoints" / "last.pt"

    @property
    def best(self) -> Path:
        """The checkpoint with the best evaluation."""
        return self.path / "checkpoints" / "best.pt"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory; the lock goes with the process, however it ends.

        Raises:
            UserError: another process holds it, or the directory cannot be made.
        """
        with ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(exclusive(self.path / ".lock"))
            except InUse as error:
                raise UserError(
                    f"{self.path} is in use: already running (pid {error.pid}); wait for it, or give another run_dir="
                ) from None
            except OSError as error:
                raise UserError(f"cannot write {self.path} ({error.strerror}): give another run_dir=") from error
            yield

    def status(self) -> dict[str, Any]:
        """``run.json``, empty before the first start."""
        try:
            return json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            raise UserError(
                f"{self.path / 'run.json'} is damaged: move it away, the checkpoint has all that matters"
            ) from None

    def write_status(self, status: str, **entries: Any) -> None:
        """Replace ``run.json``; ``status`` is running, finished, interrupted or failed."""
        text = json.dumps({"status": status, **entries}, indent=2) + "\n"
        write_atomic(self.path / "run.json", text.encode())

    def claim(self, identity: dict[str, Any]) -> None:
        """Refuse a directory that belongs to another configuration.

        Args:
            identity: ``algo``, ``env``, ``seed`` and ``config_hash``.

        Raises:
            UserError: the directory's run differs in one of them, or its files are not of a run.
        """
        known = self.status()
        foreign = not known and not self.last.exists()
        if foreign and any(map(_holds_something, (self / "metrics.csv", self / "eval.csv"))):
            raise UserError(
                f"{self.path} holds files of something else, which a run would replace: give another run_dir="
            )
        self.require_same(self / "run.json", known, identity)

    def set_aside(self, files: list[Path]) -> Path | None:
        """Move the files of an earlier start that left no checkpoint out of the way of a new one.

        The same command makes again whatever such a start has left.

        Returns:
            The folder they are in now; ``None`` without such files.
        """
        files = [file for file in files if _holds_something(file)]
        if not (files and self.status().get("step", 0) > 0):
            return None
        folder = next(folder for n in count(1) if not (folder := self.path / f"earlier-{n}").exists())
        folder.mkdir()
        for file in files:
            file.rename(folder / file.name)
        return folder

    def require_same(self, file: Path, known: dict[str, Any], identity: dict[str, Any]) -> None:
        """Refuse ``file`` if its own words, ``known``, contradict ``identity``.

        Raises:
            UserError: they differ.
        """
        for key, value in identity.items():
            if key in known and known[key] != value:
                raise UserError(
                    f"{file} is of a run with another configuration ({key} {known[key]}, now {value}): "
                    "give another run_dir="
                )


def _holds_something(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0
