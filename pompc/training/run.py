"""``pompc run``: start, continue or refuse a run, and end it properly."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from omegaconf import DictConfig
from rich.console import Console

from pompc.config import run_config, run_directory, with_absolute_files
from pompc.errors import Unavailable
from pompc.process import prepare
from pompc.training import checkpoint
from pompc.training.directory import RunDirectory
from pompc.training.loop import train
from pompc.training.progress import RunConsole, RunProgress
from pompc.training.session import Session, identity
from pompc.training.video import record_episode

DONE, INTERRUPTED = 0, 130


class StopRequest:
    """SIGINT or SIGTERM ask for a stop after the current iteration; a second SIGINT stops at once."""

    def __init__(self) -> None:
        self.received = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle both signals inside the block; outside the main thread, where that is impossible, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = True


def run(cfg: DictConfig) -> int:
    """Train, evaluate, plot and film what ``cfg`` says, continuing from the checkpoint of an earlier start.

    Returns:
        0 when the run is done (or was already), 130 when a signal stopped it.

    Raises:
        UserError: the run directory is in use, or belongs to another configuration, or its checkpoint is unusable.
        Unavailable: what the environment depends on is gone; the run is saved.
        NonFiniteError: a number stopped the training.
    """
    options, cfg = run_config(cfg), with_absolute_files(cfg)
    prepare(options.threads)
    console = RunConsole()
    directory = RunDirectory(run_directory(cfg))
    with directory.locked():
        directory.claim(identity(cfg))
        known = directory.status()
        if known.get("status") == "finished" and known["step"] >= options.steps:
            console.print(f"{directory.path} is finished ({known['step']:,} steps)", highlight=False, soft_wrap=True)
            return DONE
        stop = StopRequest()
        with stop.listening():
            session = Session(cfg, directory)
            try:
                return _work(session, stop, console)
            except Unavailable:
                session.save()
                _write_status(session, "interrupted")
                raise
            except BaseException:
                with suppress(checkpoint.WriteError):  # the disk may be what failed
                    _write_status(session, "failed")
                raise
            finally:
                session.close()


def _work(session: Session, stop: StopRequest, console: Console) -> int:
    directory, counters = session.directory, session.counters
    _write_status(session, "running")
    begun = f"continues at step {counters.step:,}" if counters.step else "starts"
    console.print(f"{session.title} {begun} in {directory.path}", highlight=False, soft_wrap=True)
    if session.set_aside is not None:
        where = f"there is no checkpoint: the files of an earlier start are in {session.set_aside}"
        console.print(where, highlight=False, soft_wrap=True)
    with RunProgress(session.options.steps, counters.step, console) as progress:
        for record in train(session):
            stopping = stop.received and record.step < session.options.steps
            if stopping:  # before anything is shown, which may fail
                session.save()
                _write_status(session, "interrupted")
            progress.update(record)
            if stopping:
                console.print(f"interrupted at step {record.step:,}; run the same command to continue", highlight=False)
                return INTERRUPTED
    if session.options.eval.video:
        _film(session)
    _write_status(session, "finished")
    console.print(f"finished: {directory / 'eval.csv'}", highlight=False, soft_wrap=True)
    return DONE


def _film(session: Session) -> None:
    """One episode of what was learned; a machine that cannot render costs the film, not the run."""
    path = session.directory / "video.mp4"
    try:
        record_episode(session.agent, session.family, path, seed=session.options.eval.seed, device=session.device)
    except Exception as error:  # renderers fail in as many ways as there are drivers
        warnings.warn(f"no video ({type(error).__name__}: {error}); everything else is written")
        return
    session.wandb.media("video", session.counters.step, path)


def _write_status(session: Session, status: str) -> None:
    who = session.identity
    header = checkpoint.manifest(**who, step=session.counters.step)
    session.directory.write_status(status, **who, step=session.counters.step, versions=header["versions"])
