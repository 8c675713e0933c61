"""Begin a run with the weights of another one: ``finetune.source``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pompc.config.spec import RunSpec, resolve
from pompc.errors import UserError
from pompc.models.world_model import WorldModel
from pompc.offpolicy.agent import OffPolicyAgent
from pompc.registry import ENVIRONMENTS, nearest
from pompc.training import checkpoint, transfer
from pompc.training.assemble import Assembly, make_family
from pompc.training.opening import find_checkpoint

if TYPE_CHECKING:
    from pompc.environment import Tasks


def begin_with(parts: Assembly, spec: RunSpec) -> list[str]:
    """Load the weights that a new run begins with; its counters, dials, optimizers and replay stay new.

    If every weight of an off-policy agent is kept, it acts from the first step. Otherwise it begins with random actions, as
    every run does.

    Args:
        parts: the run's new agent.
        spec: the run's configuration.

    Returns:
        Lines about what was kept; empty if ``finetune.source`` is null.

    Raises:
        UserError: no usable checkpoint, another algorithm, nothing that fits, or no such task.
    """
    source = spec.options.finetune.source
    if source is None:
        return []
    file = find_checkpoint(Path(source))
    state = checkpoint.load(file)
    if state["manifest"]["algo"] != spec.algorithm:
        raise UserError(
            f"{file} is of {state['manifest']['algo']}, the run of {spec.algorithm}: weights go on in the same algorithm"
        )
    theirs, mine = make_family(resolve(state["config"])).tasks, parts.agent.problem.tasks
    chosen = _task(file, state, theirs, parts, spec)
    rows = {} if theirs is None or mine is None else _common(theirs, mine)
    report = transfer.transfer(state["agent"], parts.agent, chosen, rows)
    if not report.kept:
        raise UserError(f"no weight of {file} fits {spec.algorithm} on {spec.label}: give the same sizes (algo.*)")
    lines = [f"weights of {file}, step {state['manifest']['step']:,}", *report.lines()]
    if chosen is not None:
        lines.insert(1, f"task: {chosen.name}, its vector is part of the weights now")
    if isinstance(parts.agent, OffPolicyAgent) and report.complete:
        parts.agent.budget.begin()
        lines.append("acts from the first step: every weight is kept")
    return lines


def _common(theirs: Tasks, mine: Tasks) -> dict[int, int]:
    """Find the tasks of the same name: index in the source by index in the new agent."""
    return {index: theirs.names.index(name) for index, name in enumerate(mine.names) if name in theirs.names}


def _task(
    file: Path, state: Mapping[str, Any], known: Tasks | None, parts: Assembly, spec: RunSpec
) -> transfer.Task | None:
    """Find the task of a source of several tasks that a run on one continues; ``None`` if there is nothing to choose."""
    models = [module for module in parts.agent.modules() if isinstance(module, WorldModel)]
    wanted = spec.options.finetune.task
    if known is None or parts.agent.problem.tasks is not None or not models:
        if wanted is not None:
            raise UserError(f"finetune.task={wanted}: there is no task to choose between {file} and {spec.label}")
        return None
    key = ENVIRONMENTS[spec.environment].argument
    own = spec.values["env"][key] if key else spec.label
    wanted = wanted or own
    if wanted not in known.names:
        near = nearest(wanted, known.names)
        hint = f"did you mean {near}? " if near else ""
        raise UserError(f"{file} has not learned {wanted}; {hint}finetune.task names one of {', '.join(known.names)}")
    index = known.names.index(wanted)
    table: Tensor = state["agent"][transfer.TABLE]
    return transfer.Task(wanted, table[index], same=wanted == own)
