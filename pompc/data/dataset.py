"""Episodes in a folder of Minari's format: written by ``pompc collect``, read by ``data=FOLDER``."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from gymnasium import spaces

from pompc.errors import UserError

PACKAGES = ("minari", "h5py")
INNER = "data"
"""The folder in a dataset in which Minari looks for its files."""
_METADATA = "metadata.json"
# Errors of minari, h5py and json on folders that they do not expect.
_UNREADABLE = (OSError, ValueError, KeyError, AssertionError, TypeError, ImportError)


@dataclass(frozen=True)
class Episode:
    """One episode of T steps.

    Attributes:
        observations: ``[T + 1, *observation]``, the final one included.
        actions: ``[T, action]``.
        rewards: ``[T]``.
        terminations: whether a step ended the episode by its task, bool ``[T]``.
        truncations: whether a step was the last one for another reason, bool ``[T]``.
        infos: further numbers by name ``[T + 1, ...]``; entry t belongs to observation t.
        seed: the seed of the environment's reset; ``None`` if it has none.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminations: np.ndarray
    truncations: np.ndarray
    infos: Mapping[str, np.ndarray] = field(default_factory=dict)
    seed: int | None = None

    def __len__(self) -> int:
        """Count the steps."""
        return len(self.rewards)

    @property
    def total_reward(self) -> float:
        """The return, summed in double precision."""
        return float(self.rewards.sum(dtype=np.float64))


def require_minari() -> None:
    """Refuse to work with datasets without the packages for them.

    Raises:
        UserError: one is not installed.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise UserError(f"a dataset needs {', '.join(missing)}: pip install 'pompc[minari]'")


def require_new(folder: Path) -> None:
    """Refuse to write into a folder that has something in it.

    Raises:
        UserError: it is a file, or a folder that is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already: name another folder, or delete it")


class DatasetWriter:
    """Write a dataset episode by episode; the folder appears when all are written.

    ``minari.load_dataset`` finds it by its path below ``MINARI_DATASETS_PATH``. Pictures are stored without loss.

    Args:
        folder: new, or empty.
        observation_space: of one observation.
        action_space: of one action.
        metadata: further entries of Minari's metadata, such as ``algorithm_name``.

    Raises:
        UserError: the folder is not empty or cannot be written, or a package is missing.
    """

    def __init__(
        self, folder: Path, observation_space: spaces.Space, action_space: spaces.Space, metadata: Mapping[str, Any]
    ) -> None:
        require_minari()
        require_new(folder)
        from minari.dataset.minari_storage import MinariStorage  # pyright: ignore[reportMissingImports]

        self._folder = folder.expanduser().absolute()  # Minari loses its way below a relative one
        self._partial = self._folder.with_name(f"{folder.name}.tmp")
        try:
            shutil.rmtree(self._partial, ignore_errors=True)
            self._partial.mkdir(parents=True)
            self._storage = MinariStorage.new(
                self._partial / INNER,
                observation_space=observation_space,
                action_space=action_space,
                jpeg_encoding=False,
            )
        except OSError as error:
            raise UserError(f"cannot write {folder} ({error.strerror or error}): name another folder") from error
        self._storage.update_metadata({"minari_version": _version(), **metadata})

    def add(self, episode: Episode) -> None:
        """Append an episode."""
        from minari.data_collector import EpisodeBuffer  # pyright: ignore[reportMissingImports]

        names = ("observations", "actions", "rewards", "terminations", "truncations")
        columns = {name: np.asarray(vars(episode)[name]) for name in names}
        self._storage.update_episodes([EpisodeBuffer(seed=episode.seed, infos=dict(episode.infos), **columns)])

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        """Put the folder in its place; after an error, remove it."""
        if error is not None:
            shutil.rmtree(self._partial, ignore_errors=True)
            return
        if self._folder.is_dir():  # empty
            self._folder.rmdir()
        self._partial.rename(self._folder)


def dataset_id(*names: str) -> str:
    """Make a name of Minari's form, ``pompc/<names>-v0``."""
    return f"pompc/{re.sub(r'[^A-Za-z0-9_-]+', '-', '-'.join(names))}-v0"


def _version() -> str:
    from minari import __version__  # pyright: ignore[reportMissingImports]

    return __version__


@dataclass(frozen=True)
class Dataset:
    """A dataset that can be read.

    Attributes:
        folder: with Minari's files.
        observation_space: of one observation.
        action_space: of one action.
        metadata: Minari's metadata.
    """

    folder: Path
    observation_space: spaces.Space
    action_space: spaces.Space
    metadata: Mapping[str, Any]

    def __iter__(self) -> Iterator[Episode]:
        """Read the episodes, one at a time."""
        from minari.dataset.minari_storage import MinariStorage  # pyright: ignore[reportMissingImports]

        storage = MinariStorage.read(self.folder)
        names = ("observations", "actions", "rewards", "terminations", "truncations")
        for read in storage.get_episodes(range(storage.total_episodes)):
            yield Episode(**{name: read[name] for name in names}, infos=read["infos"] or {})


def open_dataset(folder: Path) -> Dataset:
    """Open a dataset of ``pompc collect``, or another one in Minari's format.

    Args:
        folder: of the dataset, or the folder ``data`` in it.

    Raises:
        UserError: there is none, it cannot be read, or a package is missing.
    """
    require_minari()
    from minari.dataset.minari_storage import MinariStorage  # pyright: ignore[reportMissingImports]

    found = [place for place in (folder, folder / INNER) if (place / _METADATA).is_file()]
    if not found:
        raise UserError(f"no dataset in {folder}: give a folder of `pompc collect`, or another one of Minari")
    try:
        storage = MinariStorage.read(found[0])
    except _UNREADABLE as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"cannot read the dataset {folder}: {said}") from error
    return Dataset(found[0], storage.observation_space, storage.action_space, storage.metadata)
