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

FORMAT = "pompc-checkpoint"
VERSION = 1
_CONVERT = "`pompc convert` reads the weights that TD-MPC2, TD-M(PC)^2 and BMPC have released"
_PRIMITIVES = (type(None), bool, int, float, str, bytes)
# What zipfile, pickle and torch raise on bytes that are not what they expect.
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
    """A file of the run could not be written; what was there before is kept.

    Args:
        path: the file.
        error: what the operating system said.
    """

    def __init__(self, path: Path, error: OSError) -> None:
        reason = error.strerror or str(error)
        super().__init__(
            f"cannot write {path} ({reason}); the previous checkpoint is kept: make room there and run the same command "
            "to continue"
        )


def manifest(*, algo: str, env: str, seed: int, step: int, config_hash: str) -> dict[str, Any]:
    """What a checkpoint says about itself; ``step`` counts environment steps."""
    versions = {name: package_version(name) for name in ("torch", "torchrl", "tensordict")}
    return {
        "format": FORMAT,
        "version": VERSION,
        "algo": algo,
        "env": env,
        "seed": seed,
        "step": step,
        "config_hash": config_hash,
        "versions": {"pompc": pompc.__version__, **versions},
    }


def _check_content(value: Any, path: str) -> None:
    """Only what ``torch.load(weights_only=True)`` gives back: found while saving, not at the resume that needs it."""
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
    """Replace ``path`` by a checkpoint, as :func:`write_atomic` does; its bytes go to the disk as they are made.

    Raises:
        TypeError: something in ``state`` is neither a tensor nor a primitive; the message names its path.
        WriteError: the disk is full or unwritable; nothing has changed.
    """
    _check_content(state, "checkpoint")
    _replace(path, lambda file: torch.save(state, file))


def write_atomic(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``: a kill or a power cut at any moment leaves the old file or the new one.

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
    """A block in which torch's own error about a write that failed becomes the operating system's."""
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
        fix: what to do about a file of this library that cannot be read; a foreign one is somebody's, and stays.

    Raises:
        UserError: missing, unreadable, truncated, not a checkpoint of this library, or of another version.
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
    header = state.get("manifest") if isinstance(state, dict) else None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint of pompc: {_CONVERT}")
    if header.get("version") != VERSION:
        writer = header.get("versions", {}).get("pompc", "that wrote it")
        raise UserError(
            f"{path} has checkpoint version {header.get('version')}, this pompc reads {VERSION}: use pompc {writer}"
        )
    return state
