"""Check the files that a command is to write."""

from __future__ import annotations

import os
from pathlib import Path

from pompc.errors import UserError


def require_writable(file: Path) -> None:
    """Create the folder of a file and check that the file can be written, before the work for it begins.

    Raises:
        UserError: it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        if not os.access(file if file.exists() else file.parent, os.W_OK):
            raise PermissionError(None, "no permission")
    except OSError as error:
        raise UserError(f"cannot write {file} ({error.strerror}): name another file") from error
