"""Open a checkpoint: find it, rebuild the agent and the environment that it names, and load the weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pompc.config.compose import with_overrides
from pompc.config.spec import RunSpec, hash_values, resolve
from pompc.errors import UserError
from pompc.training import checkpoint
from pompc.training.assemble import Assembly, assemble
from pompc.training.directory import RunDirectory


@dataclass(frozen=True)
class Opened:
    """A checkpoint that is ready to play.

    Attributes:
        file: the checkpoint.
        state: what the file holds.
        spec: the configuration, changes included.
        parts: environment and agent; the agent has the weights.
    """

    file: Path
    state: dict[str, Any]
    spec: RunSpec
    parts: Assembly


def find_checkpoint(path: Path, *, best: bool = False) -> Path:
    """Find the checkpoint to play: a ``.pt`` file itself, or the last or the selected one of a run directory.

    Without a last checkpoint the selected one is taken.

    Args:
        path: a file or a run directory.
        best: take the one that evaluations selected.

    Raises:
        UserError: it is not there.
    """
    if path.is_file():
        if best:
            raise UserError(
                f"--best chooses a checkpoint of a run directory, and {path} is a file: give one of the two"
            )
        return path
    directory = RunDirectory(path)
    for file in (directory.best,) if best else (directory.last, directory.best):
        if file.is_file():
            return file
    if best and directory.last.is_file():
        raise UserError(f"{path} has no best checkpoint, for it was not evaluated yet: leave out --best")
    raise UserError(f"no checkpoint in {path}: give a run directory or a .pt file")


def open_checkpoint(file: Path, overrides: Sequence[str] = (), state: dict[str, Any] | None = None) -> Opened:
    """Read a checkpoint and put it into an agent.

    Args:
        file: see :func:`find_checkpoint`.
        overrides: ``key=value`` changes to the run's configuration.
        state: what the file holds, if it was read already.

    Raises:
        UserError: no usable checkpoint, a wrong override, or weights that do not fit the changed configuration.
    """
    state = checkpoint.load(file) if state is None else state
    spec = resolve(with_overrides(state["config"], overrides))
    if not overrides:
        _warn_of_changed_files(file, spec, state)
    parts = assemble(spec, playing=True)
    _load(file, state, parts)
    return Opened(file, state, spec, parts)


def _warn_of_changed_files(file: Path, spec: RunSpec, state: dict[str, Any]) -> None:
    """Warn if a file that the environment reads has changed since training; options that are newer do not count."""
    if spec.files and hash_values(state["config"], spec.files) != state["manifest"]["config_hash"]:
        keys = ", ".join(f"env.{key}" for key in spec.files)
        warnings.warn(f"{file} was trained with another content of {keys} than is there now: this is another task")


def _load(file: Path, state: dict[str, Any], parts: Assembly) -> None:
    """Load a checkpoint into an agent, without the replay, which is large and fits only one number of environments."""
    try:
        parts.agent.load_state_dict(_without_parts_that_are_off(state["agent"], parts.agent))
    except RuntimeError as error:
        said = str(error).splitlines()[-1].strip()
        raise UserError(f"{file} does not fit the changed configuration: {said}") from error
    parts.agent.load_training_state({key: value for key, value in state["training"].items() if key != "replay"})


def _without_parts_that_are_off(saved: Mapping[str, Any], agent: torch.nn.Module) -> dict[str, Any]:
    """Leave out learned parts of the explicit model that the changed configuration does not have."""
    has = agent.state_dict().keys()
    return {name: value for name, value in saved.items() if not name.startswith("learned_parts.") or name in has}
