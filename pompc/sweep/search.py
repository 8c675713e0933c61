"""A search over the keys of a sweep by Optuna: which runs to do next, and what their returns say."""

from __future__ import annotations

import csv
import math
import shlex
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna  # pyright: ignore[reportMissingImports]
from optuna.distributions import (  # pyright: ignore[reportMissingImports]
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage  # pyright: ignore[reportMissingImports]
from optuna.storages.journal import JournalFileBackend  # pyright: ignore[reportMissingImports]
from optuna.trial import FrozenTrial, TrialState  # pyright: ignore[reportMissingImports]

from pompc.config.dimensions import Dimension, number_text
from pompc.config.kinds import Either, Kind, Scalar
from pompc.config.layout import layout
from pompc.config.overrides import kind_of, split
from pompc.errors import UserError
from pompc.registry import parse_environment
from pompc.sweep.board import Entry
from pompc.sweep.plan import Planned, plan
from pompc.sweep.words import SEED, Request

if TYPE_CHECKING:
    from pompc.sweep.execute import Sweep


DIRECTIONS: dict[str, Callable[[list[float]], float]] = {"last": lambda returns: returns[-1], "best": max}
"""The value of a run by the option ``objective``, from the mean returns of its evaluations."""


class Search:
    """A study of Optuna whose trials are runs, one per seed; their mean return is the value of a trial.

    Args:
        request: the words of the sweep.

    Raises:
        UserError: something is wrong with a value, or with an end of a range.
    """

    most_jobs: int | None = 8  # a search learns from the trials that have ended

    def __init__(self, request: Request) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._request = request
        self._lock = threading.Lock()
        plan(request, request.trials_to_check())
        self._distributions = distributions(request)
        self._study: optuna.Study = optuna.create_study()

    def title(self) -> str:
        """Say how many trials there are."""
        seeds = len(self._request.seeds.values)
        return f"{self._request.options.search} trials of {seeds} run{'s' * (seeds != 1)} each"

    def lines(self) -> list[str]:
        """Say what is searched, and what is the same in all trials."""
        fixed = [f"{one.key}={one.values[0]}" for one in self._request.dimensions if not one.varies]
        searched = [word for word in self._request.words if split(word)[0] in self._distributions]
        return [f"searched: {shlex.join(searched)}", f"in all: {shlex.join(fixed)}"]

    def result(self) -> list[str]:
        """Name the best trial and the commands of its runs."""
        if not self._in_state(TrialState.COMPLETE):
            return []
        best = self._study.best_trial
        runs = (f"  pompc run {shlex.join(run.words)}  # {run.directory}" for run in self._plan(best.params))
        return [f"best: {best.value:.6g} in trial {best.number}", *runs]

    def _open(self, journal: Path) -> None:
        """Continue the study in a file, or begin it there."""
        storage = JournalStorage(JournalFileBackend(str(journal)))
        name = self._request.code
        self._study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        # Each start draws from another seed: the same one would repeat the first trials.
        seed = (self._request.options.search_seed + len(self._study.trials)) % 2**32
        self._study.sampler = optuna.samplers.TPESampler(seed=seed)

    def work(self, sweep: Sweep) -> list[Callable[[], None]]:
        """List the trials to make: those that were stopped, those that failed, then new ones.

        The trials that are complete go to the board.
        """
        self._open(sweep.folder.journal)
        for trial in self._in_state(TrialState.COMPLETE):
            for planned in self._plan(trial.params):
                sweep.enter(planned)
        stopped = self._stopped()
        left = (self._request.options.search or 0) - len(self._in_state(TrialState.COMPLETE)) - len(stopped)
        for trial in self._failed()[: max(left, 0)]:
            self._study.enqueue_trial(trial.params)
        again = [partial(self._perform, sweep, trial.number, trial.params) for trial in stopped]
        return [*again, *(partial(self._next, sweep) for _ in range(left))]

    def words(self, params: Mapping[str, Any], seed: str) -> list[str]:
        """Write the words of a run of a trial."""
        fixed = {one.key: one.values[0] for one in self._request.dimensions if not one.varies}
        drawn = {key: value if isinstance(value, str) else number_text(value) for key, value in params.items()}
        return [f"{key}={value}" for key, value in {**fixed, **drawn, SEED: seed}.items()]

    def _next(self, sweep: Sweep) -> None:
        if not sweep.stop.received:
            trial = self._study.ask(self._distributions)
            self._perform(sweep, trial.number, trial.params)

    def _perform(self, sweep: Sweep, number: int, params: Mapping[str, Any]) -> None:
        """Do the runs of a trial and tell Optuna; a stopped one stays open, and the next start continues it."""
        try:
            entries = [sweep.enter(planned) for planned in self._plan(params)]
        except UserError as error:
            self._study.tell(number, state=TrialState.FAIL)
            sweep.board.problems.append(f"trial {number}: {error}")
            return
        with self._lock:
            sweep.describe(self._request)
        for entry in entries:
            sweep.perform(entry)
        if any(entry.state == "stopped" for entry in entries):
            return
        ended = [entry for entry in entries if entry.state == "done"]
        values = [self._value(entry) for entry in ended]
        for entry, value in zip(ended, values, strict=True):
            if not math.isfinite(value):
                sweep.board.problems.append(f"trial {number}: {entry.planned.directory} has no return that is a number")
        if len(values) < len(entries) or not all(map(math.isfinite, values)):
            self._study.tell(number, state=TrialState.FAIL)
        else:
            self._study.tell(number, sum(values) / len(values))

    def _plan(self, params: Mapping[str, Any]) -> list[Planned]:
        lines = [self.words(params, seed) for seed in self._request.seeds.values]
        with self._lock:  # Hydra composes one configuration at a time
            return plan(self._request, lines)

    def _value(self, entry: Entry) -> float:
        returns = read_returns(entry.planned.directory / "eval.csv")
        return DIRECTIONS[self._request.options.objective](returns) if returns else math.nan

    def _in_state(self, state: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(state,))

    def _stopped(self) -> list[FrozenTrial]:
        """Find the trials that an earlier start has left open; one without all its values, as a kill leaves it, fails."""
        found = []
        for trial in self._in_state(TrialState.RUNNING):
            if trial.params.keys() == self._distributions.keys():
                found.append(trial)
            else:
                self._study.tell(trial.number, state=TrialState.FAIL)
        return found

    def _failed(self) -> list[FrozenTrial]:
        """Find the failed trials that no later trial repeats."""
        trials = self._study.get_trials(deepcopy=False)
        latest = {
            repr(sorted((trial.system_attrs.get("fixed_params") or trial.params).items())): trial for trial in trials
        }
        return [trial for trial in latest.values() if trial.state == TrialState.FAIL]


def distributions(request: Request) -> dict[str, BaseDistribution]:
    """Describe the searched keys for Optuna: every key with several values but the seed."""
    fixed = {one.key: one.values[0] for one in request.dimensions if not one.varies}
    family, _ = parse_environment(fixed.get("env", ""))
    options = layout(fixed.get("algo", ""), family)
    searched = [one for one in request.dimensions if one.varies and one.key != SEED]
    return {
        one.key: _distribution(one, whole=one.key != "preset" and _is_whole(kind_of(one.key, options)))
        for one in searched
    }


def _distribution(one: Dimension, *, whole: bool) -> BaseDistribution:
    span = one.span
    if span is None:
        return CategoricalDistribution(one.values)
    if span.whole or (whole and span.step is None):
        return IntDistribution(round(span.low), round(span.high), log=span.log, step=int(span.step or 1))
    return FloatDistribution(span.low, span.high, log=span.log, step=None if span.log else span.step)


def _is_whole(kind: Kind) -> bool:
    """Say whether an option takes whole numbers, and no others."""
    kinds = kind.kinds if isinstance(kind, Either) else (kind,)
    names = {one.name for one in kinds if isinstance(one, Scalar)}
    return "int" in names and "float" not in names


def read_returns(path: Path) -> list[float]:
    """Read the mean returns of all evaluations of a run; those that are no numbers are left out."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            values = [float(row["reward"] or "nan") for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []
    return [value for value in values if math.isfinite(value)]
