"""Lock files for one process at a time; a lock ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InUse(Exception):
    """Another process holds the file.

    Args:
        pid: number of that process; ``unknown`` before it has written it.
    """

    def __init__(self, pid: str) -> None:
        super().__init__(f"in use by process {pid}")
        self.pid = pid


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold ``path`` inside the block, so that no other block of this or another process can; create it if it is missing.

    Raises:
        InUse: another block holds it.
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
