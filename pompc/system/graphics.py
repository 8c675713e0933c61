"""Packages that load OpenGL when they are imported, whether or not a picture will be asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

VARIABLE = "MUJOCO_GL"


def import_with_or_without_gl(name: str) -> ModuleType:
    """Import a package of MuJoCo's, as ``MUJOCO_GL`` says, or, where that back-end cannot be loaded, with none.

    Then only what renders fails. The variable stays as it is.

    Args:
        name: of the module.

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
    with _none():
        return import_module(name)


@contextmanager
def _none() -> Iterator[None]:
    """A block in which no back-end is chosen."""
    chosen = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "disable"
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if chosen is not None:
            os.environ[VARIABLE] = chosen
