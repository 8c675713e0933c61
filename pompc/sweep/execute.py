"""Run what a sweep has planned: some runs at a time in a pool, watched by a table, stopped by Ctrl-C."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from pompc.sweep.board import Board, Entry
from pompc.sweep.folder import SweepFolder
from pompc.sweep.launchers import Launcher
from pompc.sweep.plan import Planned
from pompc.sweep.table import View
from pompc.sweep.task import INTERRUPTED, Task
from pompc.sweep.words import Request
from pompc.training.stopping import Phase, StopRequest

DONE = 0
WORKING = Phase(
    "stopping all runs where nothing is lost; waiting runs do not start",
    "Ctrl-C again stops them now, and they go back to their last checkpoints",
)
LOOK_EVERY_S, WRITE_EVERY_S = 1.0, 5.0


@dataclass(frozen=True)
class Sweep:
    """What the parts of a running sweep share.

    Attributes:
        folder: its folder, locked.
        board: its runs.
        launcher: runs them.
        stop: request to stop.
    """

    folder: SweepFolder
    board: Board
    launcher: Launcher
    stop: StopRequest

    def enter(self, planned: Planned) -> Entry:
        """Enter a run on the board; one that is finished is done at once."""
        entry = self.board.add(Entry(planned, self.folder.log(planned.directory)))
        entry.look()
        if entry.state != "running" and entry.is_finished():
            entry.state, entry.code = "done", DONE
        return entry

    def describe(self, request: Request) -> None:
        """Write what the sweep is, with the directories of its runs."""
        self.folder.describe(request.words, [entry.planned.directory for entry in self.board.entries])

    def perform(self, entry: Entry) -> None:
        """Run a run of the board to its end, unless it is done; its state says how it went."""
        with entry.doing:
            self._perform(entry)

    def _perform(self, entry: Entry) -> None:
        if entry.state == "done":
            return
        if self.stop.received:
            entry.state = "stopped"
            return
        entry.state, entry.code = "running", None
        log = entry.log.absolute()
        task = Task(entry.planned.words, Path.cwd(), entry.planned.directory, log, self.folder.stop.absolute())
        try:
            entry.code = self.launcher.run(task)
        except Exception:  # of a cluster's library; the other runs go on
            with open(log, "a", encoding="utf-8") as file:
                file.write(traceback.format_exc())
        entry.look()
        if entry.code == DONE:
            entry.state = "done"
        else:
            entry.state = "stopped" if self.stop.received or entry.code == INTERRUPTED else "failed"


def execute(sweep: Sweep, jobs: int, work: Sequence[Callable[[], None]]) -> None:
    """Do pieces of work, ``jobs`` at a time, until all are done or a stop was asked for.

    Args:
        sweep: the sweep that they belong to.
        jobs: how many at a time.
        work: each runs one run or one trial.
    """
    with sweep.stop.listening(), sweep.stop.during(WORKING), View(sweep.board) as view:
        pool = ThreadPoolExecutor(jobs, thread_name_prefix="sweep")
        try:
            _watch(sweep, view, {pool.submit(piece) for piece in work})
        except BaseException:  # the pool waits for its runs
            sweep.folder.ask_to_stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            _write(sweep)


def _watch(sweep: Sweep, view: View, pending: set[Future]) -> None:
    """Show and write the state until all futures are done."""
    written, asked = 0.0, 0
    while pending:
        try:
            done, pending = wait(pending, LOOK_EVERY_S, FIRST_COMPLETED)
            if sweep.stop.received and not asked:
                asked += 1
                sweep.folder.ask_to_stop()
                pending = {future for future in pending if not future.cancel()}
            for entry in sweep.board.in_state("running"):
                entry.look()
            view.show()
            if done or time.monotonic() - written > WRITE_EVERY_S:
                _write(sweep)
                written = time.monotonic()
            for future in done:
                future.result()  # a bug keeps its traceback
        except KeyboardInterrupt:  # the second one and further ones
            sweep.folder.ask_to_stop()
    view.show()


def _write(sweep: Sweep) -> None:
    sweep.folder.write_status([entry.row() for entry in list(sweep.board.entries)])
