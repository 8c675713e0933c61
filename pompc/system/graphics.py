"""Import packages that load OpenGL, on machines with and without it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import ModuleType

VARIABLE = "MUJOCO_GL"


def import_with_or_without_gl(name: str) -> ModuleType:
    """Import a package of MuJoCo with the back-end of ``MUJOCO_GL``, or without one if that cannot be loaded.

    Without a back-end only rendering fails. The variable stays as it is.

    Args:
        name: name of the module.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == name.partition(".")[0]:
            raise
    except Exception:  # OpenGL fails in as many ways as there are drivers
        pass
    with _no_back_end():
        return import_module(name)


@contextmanager
def _no_back_end() -> Iterator[None]:
    """Choose no back-end inside the block."""
    chosen = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "disable"
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if chosen is not None:
            os.environ[VARIABLE] = chosen


def prepare_graphics() -> None:
    """Import MuJoCo before TorchRL does, so that a missing graphics back-end costs pictures and not the command."""
    if VARIABLE in os.environ:
        with suppress(ModuleNotFoundError):
            import_with_or_without_gl("mujoco")
