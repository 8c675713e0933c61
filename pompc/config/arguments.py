"""Arguments that several sub-commands have. Nothing here imports torch."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from pompc.errors import UserError


def whole_number(lowest: int, below: int | None = None) -> Callable[[str], int]:
    """Make the ``type`` of an argument that is a whole number.

    Args:
        lowest: the smallest one.
        below: every one is smaller than this; ``None`` for no limit.
    """
    bounds = f"at least {lowest}" if below is None else f"at least {lowest} and below {below}"

    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < lowest or (below is not None and int(text) >= below):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {bounds}")
        return int(text)

    return convert


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add ``path``, a run directory or a checkpoint file; :func:`require_checkpoint` looks whether it is there."""
    parser.add_argument("path", metavar="RUN_DIR_OR_CHECKPOINT", type=Path, help="a run directory, or a .pt file")


def require_checkpoint(path: Path) -> None:
    """Refuse a path that is not there.

    Raises:
        UserError: it is neither a directory nor a file.
    """
    if not path.exists():
        raise UserError(f"there is no {path}: give a run directory or a checkpoint file")
