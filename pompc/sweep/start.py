"""Start or continue a sweep that was read, and say how it went."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pompc.handlers import flush
from pompc.sweep.board import Board
from pompc.sweep.execute import Sweep, execute
from pompc.sweep.folder import SweepFolder
from pompc.sweep.launchers import Launcher
from pompc.sweep.options import SweepConfig
from pompc.sweep.runs import Runs
from pompc.sweep.task import INTERRUPTED
from pompc.sweep.words import Request
from pompc.training.stopping import StopRequest

DONE, FAILED = 0, 1


def show(runs: Runs, folder: SweepFolder) -> int:
    """Print what would be run."""
    flush("\n".join([f"{folder.path}: {runs.title()}", *runs.lines(), ""]))
    return DONE


def start(
    request: Request,
    runs: Runs,
    folder: SweepFolder,
    launcher: Callable[[SweepConfig, Path], Launcher],
    jobs: int | None,
) -> int:
    """Start or continue a sweep.

    Args:
        request: the words of the command.
        runs: what to run, checked.
        folder: of the sweep.
        launcher: makes the launcher.
        jobs: runs at a time; ``None`` for as many as the launcher has room for.

    Returns:
        0 when all runs are done, 1 if some failed, 130 if a signal stopped it.

    Raises:
        UserError: the sweep is running, or the launcher cannot work; nothing has started.
    """
    with folder.locked():
        place = launcher(request.options, folder.path)
        try:
            sweep = Sweep(folder, Board(), place, StopRequest())
            work = runs.work(sweep)
            jobs = max(1, min(jobs or min(place.jobs, runs.most_jobs or place.jobs), len(work)))
            done = len(sweep.board.in_state("done"))
            known = f"; {done} are finished" if done else ""
            flush(f"{folder.path}: {runs.title()}, {jobs} at a time{known}\n")
            execute(sweep, jobs, work)
        finally:
            place.close()
        return _say_end(sweep, runs)


def _say_end(sweep: Sweep, runs: Runs) -> int:
    """Say how the runs ended, which failed, and what to type next; return the exit code."""
    board, folder = sweep.board, sweep.folder
    lines = [f"{folder.path}: {board.counts() or 'no runs'}"]
    for entry in board.in_state("failed"):
        how = "not run" if entry.code is None else f"exit code {entry.code}"
        lines.append(f"failed: {entry.planned.label} ({how}; log {entry.log}): {entry.last_words()}")
    lines += [f"failed: {problem}" for problem in board.problems]
    failed = len(lines) > 1
    lines += runs.result()
    stopped = sweep.stop.received or bool(board.in_state("stopped"))
    if stopped or failed:
        lines.append("run the same command to continue" + (" and to try the failed runs again" if failed else ""))
    if any(entry.score == entry.score for entry in board.entries):
        lines.append(f"pompc compare {folder.path}")
    flush("\n".join([*lines, ""]))
    return INTERRUPTED if stopped else FAILED if failed else DONE
