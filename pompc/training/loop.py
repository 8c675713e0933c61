"""The training loop, a generator: its caller decides what to show and when to stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tensordict import TensorDictBase

from pompc.data.collector import ActionBoundsError
from pompc.errors import NonFiniteError, Unavailable
from pompc.metrics import mean_metrics
from pompc.training.evaluate import EvalResult
from pompc.training.evidence import dump_batch
from pompc.training.session import Session
from pompc.training.stopping import TRAINING


@dataclass(frozen=True)
class Record:
    """The result of one iteration.

    Attributes:
        step: environment steps so far.
        metrics: the row of metrics.csv; empty for the evaluation before training and for pending updates.
        evaluation: the evaluation after this iteration; ``None`` if none was due.
        pending_updates: updates to make before the next transitions are collected.
    """

    step: int
    metrics: dict[str, float] = field(default_factory=dict)
    evaluation: EvalResult | None = None
    pending_updates: int = 0


def train(session: Session) -> Iterator[Record]:
    """Train until ``steps`` environment steps are reached, yielding at every iteration boundary.

    At each yield the session is complete: it may be saved there, and a run resumed from it equals one that never
    stopped.

    Raises:
        Stopped: a stop was requested during an evaluation; ``session.whole`` says whether to save.
        NonFiniteError: an observation, reward, action, loss or planner cost is not finite; the crash folder has its batch.
        ActionBoundsError: an action lies outside [-1, 1]; the crash folder has its batch.
        WriteError: the disk is full.
    """
    options, counters = session.options, session.counters
    if _evaluation_is_due(session):
        result, best = _evaluation(session)
        session.save(last=counters.step > 0, best=best)
        yield Record(counters.step, evaluation=result)
    while counters.step < options.steps:
        before = counters.step
        with session.stop.during(TRAINING):
            session.whole = False
            metrics = _iteration(session)
            session.whole = True
        finished = counters.step >= options.steps
        result, best = None, False
        if finished or _crossed(options.eval.every, before, counters.step):
            result, best = _evaluation(session)
        session.save(last=finished or _crossed(options.checkpoint.every, before, counters.step), best=best)
        yield Record(counters.step, metrics, result, session.agent.pending_updates)


def _evaluation_is_due(session: Session) -> bool:
    """Say whether to evaluate first: before training, or after a start of the run that ended in an evaluation."""
    counters, options = session.counters, session.options
    if counters.step == 0:
        return counters.evaluated < 0 and options.eval.at_start
    finished = counters.step >= options.steps > counters.evaluated
    return finished or _crossed(options.eval.every, max(counters.evaluated, 0), counters.step)


def _iteration(session: Session) -> dict[str, float]:
    """Collect, learn and log; or make pending updates, without a row of metrics."""
    agent = session.agent
    if agent.pending_updates:
        with _evidence(session, "iteration", session.collector.carried):
            agent.catch_up()
        return {}
    collected: list[TensorDictBase] = []
    rows: list[dict[str, float]] = []
    wanted = agent.batches_per_row
    try:
        while len(rows) < wanted and not agent.pending_updates:
            with _evidence(session, "iteration", session.collector.carried):
                data = session.collector.rollout()
            with _evidence(session, "iteration", data):
                rows.append(agent.learn(data))
            collected.append(data)
    except Unavailable:
        if collected:  # the updates count: the run is saved as it is now
            _row(session, collected, rows)
        raise
    return _row(session, collected, rows)


def _row(session: Session, collected: list[TensorDictBase], rows: list[dict[str, float]]) -> dict[str, float]:
    """Count the transitions and log the metrics."""
    metrics = mean_metrics(rows, session.agent.counts)
    return session.log_training(collected, metrics)


def _evaluation(session: Session) -> tuple[EvalResult, bool]:
    """Evaluate without any trace in the training."""
    with _evidence(session, "evaluation", session.collector.carried):
        return session.evaluate()


@contextmanager
def _evidence(session: Session, what: str, batch: TensorDictBase) -> Iterator[None]:
    """Write the step with a bad number, or else ``batch``, to the crash folder."""
    try:
        yield
    except (NonFiniteError, ActionBoundsError) as error:
        step = session.counters.step
        dumped = dump_batch(getattr(error, "batch", batch), session.directory.path, step)
        error.add_note(f"in the {what} that began at environment step {step}; {dumped}")
        raise


def _crossed(every: int, before: int, after: int) -> bool:
    """Say whether a multiple of ``every`` lies in ``(before, after]``."""
    return after // every > before // every
