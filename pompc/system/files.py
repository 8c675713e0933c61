"""Files that a command is asked to write."""

from __future__ import annotations

import os
from pathlib import Path

from pompc.errors import UserError


def require_writable(file: Path) -> None:
    """Make the folder of a file and see that it can be written: before the work whose result goes there.

    Raises:
        UserError: it cannot.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        if not os.access(file if file.exists() else file.parent, os.W_OK):
            raise PermissionError(None, "no permission")
    except OSError as error:
        raise UserError(f"cannot write {file} ({error.strerror}): name another file") from error
