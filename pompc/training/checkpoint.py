"""Checkpoints: one file of tensors and primitives, replaced atomically, refused clearly."""

from __future__ import annotations

import contextlib
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import version as package_version
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

import pompc
from pompc.errors import UserError
from pompc.system.process import is_out_of_memory

FORMAT = 2
"""Number of the layout of checkpoints. Raise it when a change makes older ones unreadable."""
_CONVERT = "`pompc convert` reads the weights that TD-MPC2, TD-M(PC)^2, BMPC and BOOM have released"
_PRIMITIVES = (type(None), bool, int, float, str, bytes)
# Errors of zipfile, pickle and torch on bytes that they do not expect.
_UNREADABLE = (
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
)


class WriteError(RuntimeError):
    """A file of the run could not be written; the previous file is kept.

    Args:
        path: the file.
        error: the error of the operating system.
    """

    def __init__(self, path: Path, error: OSError) -> None:
        reason = error.strerror or str(error)
        super().__init__(
            f"cannot write {path} ({reason}); the previous checkpoint is kept: make room there and run the same command "
            "to continue"
        )


def manifest(*, algo: str, env: str, seed: int, step: int, config_hash: str) -> dict[str, Any]:
    """Describe a checkpoint: its format, its run, and the versions of the libraries that write it.

    Args:
        algo: name of the algorithm.
        env: name of the environment.
        seed: seed of the run.
        step: environment steps so far.
        config_hash: hash of the configuration.
    """
    versions = {name: package_version(name) for name in ("torch", "torchrl", "tensordict")}
    return {
        "format": FORMAT,
        "algo": algo,
        "env": env,
        "seed": seed,
        "step": step,
        "config_hash": config_hash,
        "versions": {"pompc": pompc.__version__, **versions},
    }


def _check_content(value: Any, path: str) -> None:
    """Refuse a value that ``torch.load(weights_only=True)`` does not give back, while saving rather than at a resume."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_content(key, f"{path} key")
            _check_content(item, f"{path}.{key}")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            _check_content(item, f"{path}[{index}]")
    elif not (type(value) in _PRIMITIVES or isinstance(value, Tensor)):
        raise TypeError(f"{path} is a {type(value).__name__}: a checkpoint holds tensors and python primitives only")


def save(path: Path, state: dict[str, Any]) -> None:
    """Replace ``path`` by a checkpoint, as :func:`write_atomic` does; its bytes are not gathered in memory.

    Raises:
        TypeError: something in ``state`` is neither a tensor nor a primitive; the message names its path.
        WriteError: the disk is full or unwritable; nothing has changed.
    """
    _check_content(state, "checkpoint")
    _replace(path, lambda file: torch.save(state, file))


def write_atomic(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``. A kill or a power cut at any moment leaves the old file or the new one.

    Raises:
        WriteError: the disk is full or unwritable; nothing has changed.
    """
    _replace(path, lambda file: file.write(content))


def _replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _os_errors(), open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # the rename itself must survive a power cut
        finally:
            os.close(directory)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise WriteError(path, error) from error
        raise


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    """Raise the operating system's error instead of torch's when a write fails in this block."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def load(path: Path, *, fix: str = "give another, or restore a copy") -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Args:
        path: the file.
        fix: what to do about a file of this library that cannot be read; a foreign file is never to be deleted.

    Raises:
        UserError: it is missing, unreadable, truncated, not a checkpoint of this library, or of another format.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # torch itself does not compare checksums
                raise UserError(f"{path} is damaged ({damaged}): {fix}")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no checkpoint {path}") from None
    except IsADirectoryError:
        raise UserError(f"cannot read {path}, a folder: give a run directory or a .pt file") from None
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error}): {fix}") from error
    except (*_UNREADABLE, MemoryError) as error:
        if is_out_of_memory(error):
            raise UserError(f"{path} does not fit into the memory: free some, it is unharmed") from error
        raise UserError(f"{path} is truncated or not a checkpoint of pompc: {fix}; {_CONVERT}") from error
    writer = writer_version(state)
    if writer is None:
        raise UserError(f"{path} is not a checkpoint of pompc: {_CONVERT}")
    number = state["manifest"].get("format")
    if number != FORMAT:
        number = number if isinstance(number, int) else 1  # the first format had no number
        raise UserError(
            f"{path} has checkpoint format {number}, this pompc reads format {FORMAT}: finish its run with pompc {writer}, "
            "or start again with another run_dir="
        )
    return state


def writer_version(state: object) -> str | None:
    """Find the version of pompc that wrote a checkpoint; ``None`` if ``state`` is no checkpoint of pompc."""
    header = state.get("manifest") if isinstance(state, dict) else None
    versions = header.get("versions") if isinstance(header, dict) else None
    return versions.get("pompc") if isinstance(versions, dict) else None
