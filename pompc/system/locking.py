"""Files that one process at a time holds; a lock goes with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InUse(Exception):
    """Another holds the file.

    Args:
        pid: of its process; ``unknown`` where it has not said so yet.
    """

    def __init__(self, pid: str) -> None:
        super().__init__(f"in use by process {pid}")
        self.pid = pid


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """A block in which no other block, of this or another process, holds ``path``; the file is made where there is none.

    Raises:
        InUse: one does.
        OSError: the file cannot be written.
    """
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InUse(file.read().strip() or "unknown") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
