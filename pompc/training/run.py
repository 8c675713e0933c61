"""``pompc run``: start, continue or refuse a run, and end it properly."""

from __future__ import annotations

import warnings
from contextlib import suppress

from rich.console import Console

from pompc.config.spec import RunSpec
from pompc.errors import Unavailable
from pompc.system.process import prepare
from pompc.training import checkpoint
from pompc.training.directory import RunDirectory
from pompc.training.loop import train
from pompc.training.progress import RunConsole, RunProgress
from pompc.training.session import Session
from pompc.training.stopping import FILMING, Stopped, StopRequest
from pompc.training.video import record_episode

DONE, INTERRUPTED = 0, 130


def run(spec: RunSpec) -> int:
    """Train, evaluate, plot and film as ``spec`` says; continue from the checkpoint of an earlier start.

    Returns:
        0 when the run is done (or was already), 130 when a signal stopped it.

    Raises:
        UserError: the run directory is in use, or belongs to another configuration, or its checkpoint is unusable.
        Unavailable: something that the environment depends on is gone; the run is saved.
        NonFiniteError: a number stopped the training.
    """
    options = spec.options
    prepare(options.threads)
    console = RunConsole()
    directory = RunDirectory(spec.directory)
    with directory.locked():
        directory.claim(spec.identity)
        known = directory.status()
        if known.get("status") == "finished" and known["step"] >= options.steps:
            console.print(f"{directory.path} is finished ({known['step']:,} steps)", highlight=False, soft_wrap=True)
            return DONE
        stop = StopRequest()
        with stop.listening():
            session = Session(spec, directory, stop)
            try:
                return _work(session, console)
            except (Stopped, KeyboardInterrupt):
                return _interrupted(session, console)
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


def _work(session: Session, console: Console) -> int:
    directory, counters = session.directory, session.counters
    _write_status(session, "running")
    begun = f"continues at step {counters.step:,}" if counters.step else "starts"
    console.print(f"{session.title} {begun} in {directory.path}", highlight=False, soft_wrap=True)
    if session.set_aside is not None:
        where = f"there is no checkpoint: the files of an earlier start are in {session.set_aside}"
        console.print(where, highlight=False, soft_wrap=True)
    for line in (*session.learns_from, *session.transferred):
        console.print(line, highlight=False, soft_wrap=True)
    with RunProgress(session.options.steps, counters.step, console) as progress:
        for record in train(session):
            stopping = session.stop.received and record.step < session.options.steps
            if stopping:  # before anything is shown, which may fail
                session.save()
                _write_status(session, "interrupted")
            progress.update(record)
            if stopping:
                return _say_interrupted(session, console)
    if session.options.eval.video:
        _film(session)
    _write_status(session, "finished")
    idle = session.agent.idle_reason()
    said = "finished" if idle is None else f"finished, but nothing was learned: {idle}"
    console.print(f"{said}: {directory / 'eval.csv'}", highlight=False, soft_wrap=True)
    return DONE


def _interrupted(session: Session, console: Console) -> int:
    """End a run that was stopped between two records: save it if its state is whole, else keep its last checkpoint."""
    if session.whole and session.saved != session.counters:
        session.save()
    _write_status(session, "interrupted")
    return _say_interrupted(session, console)


def _say_interrupted(session: Session, console: Console) -> int:
    """Say in one line where the same command goes on; return the exit code."""
    step, saved = session.counters.step, session.saved
    if saved is None:
        text = "interrupted before the first checkpoint; run the same command to start again"
    elif saved.step < step:
        text = (
            f"interrupted at step {step:,}; run the same command to continue from the checkpoint of step {saved.step:,}"
        )
    else:
        text = f"interrupted at step {step:,}; run the same command to continue"
    console.print(text, highlight=False, soft_wrap=True)
    return INTERRUPTED


def _film(session: Session) -> None:
    """Film one episode; a machine that cannot render costs the film, not the run.

    Raises:
        Stopped: a signal came; there is no film yet.
    """
    path, seed = session.directory / "video.mp4", session.options.eval.seed
    try:
        with session.stop.during(FILMING):
            record_episode(session.agent, session.family, path, seed=seed, device=session.device, stop=session.stop)
    except Stopped:
        raise
    except Exception as error:  # renderers fail in as many ways as there are drivers
        warnings.warn(f"no video ({type(error).__name__}: {error}); everything else is written")
        return
    session.trackers.media("video", session.axes, path)


def _write_status(session: Session, status: str) -> None:
    who = session.identity
    header = checkpoint.manifest(**who, step=session.counters.step)
    session.directory.write_status(status, **who, step=session.counters.step, versions=header["versions"])
