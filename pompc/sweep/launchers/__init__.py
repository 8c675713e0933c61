"""Where the runs of a sweep run: a launcher per file. Torch-free."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from pompc.errors import UserError
from pompc.sweep.options import SweepConfig
from pompc.sweep.task import Task


class Launcher(Protocol):
    """Runs tasks somewhere; its methods are called from several threads."""

    @property
    def jobs(self) -> int:
        """How many tasks at a time without ``--jobs``."""
        ...

    def run(self, task: Task) -> int:
        """Run a task to its end and return the exit code of its run.

        Raises:
            Exception: the task could not be run there; the libraries of clusters have no common error.
        """
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


LAUNCHERS: dict[str, tuple[str, str | None]] = {
    "local": ("pompc.sweep.launchers.local:LocalLauncher", None),
    "slurm": ("pompc.sweep.launchers.slurm:SlurmLauncher", "submitit"),
    "ray": ("pompc.sweep.launchers.ray:RayLauncher", "ray"),
}
"""The class of a launcher, made from the options of a sweep and its folder, and the package that it needs."""


def find(name: str) -> Callable[[SweepConfig, Path], Launcher]:
    """Import the class of a launcher.

    Raises:
        UserError: its package is not installed.
    """
    target, package = LAUNCHERS[name]
    if package is not None:
        require(package, f"launcher={name}", name)
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


def require(package: str, what: str, extra: str) -> None:
    """Check that a package is installed.

    Raises:
        UserError: it is not.
    """
    if find_spec(package) is None:
        raise UserError(f"{what} needs pip install 'pompc[{extra}]'")
