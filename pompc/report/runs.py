"""Find run directories and read their files."""

from __future__ import annotations

import csv
import glob
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from omegaconf import OmegaConf

from pompc.config.values import flatten
from pompc.errors import UserError

AXES = {"step": "environment steps", "seconds": "seconds of training", "model_steps": "steps of the planner's model"}
"""What curves can be drawn over, and its name for people."""
SWEEP = "sweep.yaml"
"""The file that makes a folder a sweep: its key ``runs`` lists run directories."""
IDENTITY = ("algo", "env", "seed")
_CLOCKS = {"seconds": ("wall_s", "cpu_s"), "model_steps": ("model_steps",)}
"""An axis -> columns of timing.csv and keys of cost.json that hold it."""
_NO_RUNS_BELOW = ("wandb", "checkpoints", "node_modules", "__pycache__")

Columns = Mapping[str, np.ndarray]


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """Read a CSV file as columns ``[row]`` of float64.

    Half a row, as a running or killed run leaves it, does not count. An empty cell and a text are nan. A file that does
    not exist has no columns.
    """
    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8")
    rows = list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))
    return {name: np.array([_number(row[name]) for row in rows]) for name in (rows[0] if rows else ())}


def _number(cell: str | None) -> float:
    try:
        return float(cell or "nan")
    except ValueError:
        return float("nan")


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A run directory; its files are read when they are first asked for.

    Attributes:
        path: the directory.
        algo: name of the algorithm.
        env: label of the environment (``dmc-walker-walk``).
        seed: seed of the run.
        hash: hash of the configuration, the same for all seeds of a method; ``None`` if unknown.
        status: ``running``, ``finished``, ``interrupted`` or ``failed``; empty if unknown.
    """

    path: Path
    algo: str
    env: str
    seed: int
    hash: str | None = None
    status: str = ""

    @property
    def is_running(self) -> bool:
        """Whether the run has not ended: it runs, or its process died without a word."""
        return self.status == "running"

    @property
    def is_unfinished(self) -> bool:
        """Whether the run has not reached its last step, as far as it is known."""
        return self.status in ("running", "interrupted", "failed")

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The resolved options by their dotted names; empty without config.yaml."""
        file = self.path / "config.yaml"
        if not file.exists():
            return {}
        values = flatten(OmegaConf.to_container(OmegaConf.load(file)))  # type: ignore[arg-type]
        return {key: value for key, value in values if not isinstance(value, Mapping)}

    @cached_property
    def eval(self) -> Columns:
        """The columns ``[evaluation]`` of eval.csv."""
        return read_columns(self.path / "eval.csv")

    @cached_property
    def episodes(self) -> Columns:
        """The columns ``[episode]`` of eval_episodes.csv."""
        return read_columns(self.path / "eval_episodes.csv")

    @cached_property
    def metrics(self) -> Columns:
        """The columns ``[row]`` of metrics.csv; empty if it was not kept."""
        return read_columns(self.path / "metrics.csv")

    @cached_property
    def timing(self) -> Columns:
        """The columns ``[row]`` of timing.csv; empty if it was not kept."""
        return read_columns(self.path / "timing.csv")

    @property
    def video(self) -> Path | None:
        """The film of an episode, if there is one."""
        file = self.path / "video.mp4"
        return file if file.exists() else None

    @property
    def is_evaluated(self) -> bool:
        """Whether both files of evaluations have a row."""
        return len(self.eval.get("step", ())) > 0 and len(self.episodes.get("step", ())) > 0

    def axis(self, name: str, steps: np.ndarray) -> np.ndarray:
        """Find the places of environment steps on an axis.

        ``seconds`` and ``model_steps`` are linear between the rows of timing.csv. Without that file they are linear from
        zero to the totals that cost.json names (there, seconds are those of the CPU).

        Args:
            name: one of :data:`AXES`.
            steps: environment steps ``[point]``.

        Returns:
            Places ``[point]``; nan beyond the last known one, or everywhere if the run has no such axis.
        """
        if name == "step":
            return np.asarray(steps, dtype=float)
        known, places = self._clock(_CLOCKS[name])
        return (
            np.interp(steps, [0.0, *known], [0.0, *places], right=np.nan) if len(known) else np.full(len(steps), np.nan)
        )

    def _clock(self, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Read steps and places ``[point]`` of the first of the names that the run knows."""
        for name in names:
            if name in self.timing:
                is_there = np.isfinite(self.timing[name])
                return self.timing["step"][is_there], self.timing[name][is_there]
            if name in self._cost and self.is_evaluated:
                return self.eval["step"][-1:], np.array([float(self._cost[name])])
        return np.array([]), np.array([])

    @cached_property
    def _cost(self) -> Mapping[str, Any]:
        file = self.path / "cost.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


@dataclass(frozen=True, kw_only=True)
class Found:
    """What :func:`search` finds.

    Attributes:
        runs: evaluated runs, in the order of the paths.
        waiting: run directories in the folders that have no evaluation yet.
    """

    runs: Sequence[Run]
    waiting: Sequence[Path]


def find_runs(paths: Sequence[Path]) -> list[Run]:
    """Find the evaluated runs of :func:`search`."""
    return list(search(paths).runs)


def search(paths: Sequence[Path]) -> Found:
    """Find runs in run directories, folders above them, sweep folders, and whatever a glob names.

    A run that several folders contain counts once.

    Args:
        paths: run directories; folders, which are searched to any depth; sweep folders (:data:`SWEEP`); patterns of a
            shell, such as ``runs/**/seed0-*``.

    Raises:
        UserError: a path holds no run, a run directory that was named has no evaluation yet, or a file of it is damaged.
    """
    places = [(path, _matching(path)) for path in paths]
    named = {path.resolve() for path, found in places if found == [path]}
    runs, waiting, seen = [], [], set()
    for path, found in places:
        if not found:
            raise UserError(f"{path} is no run directory, and has none below: give the ones that `pompc run` writes")
        here = [_read(directory) for directory in found]
        if not any(run.is_evaluated for run in here):
            raise UserError(f"{path} has no evaluation yet: wait for its first one")
        for run in here:
            where = run.path.resolve()
            if found != [path] and where in named | seen:
                continue
            seen.add(where)
            if run.is_evaluated:
                runs.append(run)
            else:
                waiting.append(run.path)
    return Found(runs=runs, waiting=waiting)


def _matching(path: Path) -> list[Path]:
    """Find the run directories of a path, or of a pattern of a shell."""
    if path.exists() or not glob.has_magic(str(path)):
        return _directories(path)
    folders = map(Path, sorted(glob.glob(str(path), recursive=True)))
    return list(dict.fromkeys(directory for folder in folders for directory in _directories(folder)))


def _directories(path: Path) -> list[Path]:
    """Find the run directories at and below a path, and those that sweeps there list."""
    found = []
    for folder, below, files in os.walk(path):
        here = Path(folder)
        if "run.json" in files:
            found.append(here)
            below.clear()
            continue
        if SWEEP in files:
            found += _listed(here / SWEEP)
        below[:] = sorted(name for name in below if name not in _NO_RUNS_BELOW and not name.startswith("."))
    return list(dict.fromkeys(found))


def _listed(file: Path) -> list[Path]:
    """Read the run directories that a sweep lists and that have begun.

    A path counts from the folder in which ``sweeps/NAME`` was made, else from here, else from the sweep.
    """
    try:
        listed = [Path(str(name)) for name in yaml.safe_load(file.read_text(encoding="utf-8"))["runs"]]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(f"{file} is no sweep: its key `runs` must list run directories") from error
    bases = (Path(os.path.relpath(file.parent / "../..")), Path(), file.parent)
    places = [[base / name for base in bases] for name in listed]
    found = [[path for path in either if (path / "run.json").exists()] for either in places]
    return [paths[0] for paths in found if paths]


def _read(directory: Path) -> Run:
    file = directory / "run.json"
    try:
        identity = json.loads(file.read_text(encoding="utf-8"))
        algo, env, seed = (identity[key] for key in IDENTITY)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is damaged, or not of a run ({error}): leave {directory} out") from error
    return Run(
        path=directory,
        algo=algo,
        env=env,
        seed=seed,
        hash=identity.get("config_hash"),
        status=identity.get("status", ""),
    )
