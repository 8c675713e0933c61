"""Convert released weights to a run directory, which ``pompc eval`` plays and ``pompc run`` continues."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from torch import Tensor

from pompc.config.schema_file import options_of
from pompc.config.spec import RunSpec
from pompc.convert import released
from pompc.data.collector import make_collector
from pompc.errors import UserError
from pompc.models.config import SIZES, ModelSize
from pompc.networks.scale import RunningScale
from pompc.registry import ALGORITHMS
from pompc.system.process import prepare
from pompc.training import checkpoint
from pompc.training.assemble import Assembly, assemble, make_family
from pompc.training.directory import RunDirectory
from pompc.training.seeding import random_state, seed_everything
from pompc.training.session import LOGS, Counters

if TYPE_CHECKING:
    from pompc.agent import MPPIRL
    from pompc.environment import Tasks
    from pompc.problem import Problem


def convert(file: Path, spec: RunSpec, *, out: Path | None = None, given: Sequence[str] = ()) -> int:
    """Write a run directory with the weights of a released checkpoint, and print what it holds.

    Args:
        file: a checkpoint of TD-MPC2, TD-M(PC)^2, BMPC or BOOM.
        spec: the configuration. The weights decide the sizes of the networks.
        out: the run directory. ``None`` takes the configuration's, or ``runs/<algo>/<env>/converted-<name of the file>``.
        given: the arguments that composed ``spec``, for the printed command that continues training.

    Returns:
        The exit code 0.

    Raises:
        UserError: the file is no such checkpoint, does not fit the algorithm or the environment, or ``out`` is in use.
    """
    directory = _unused(out or spec.options.run_dir or _default(file, spec))
    state = released.read(file)
    found, bounds = released.sizes(state), released.log_std_bounds(state)
    _require_algorithm(spec.algorithm, found)
    settings = _settings(spec.values["algo"], found, bounds, given)
    spec = spec.changed([*settings, f"run_dir={json.dumps(str(directory.path))}"])
    _require_tasks(found, make_family(spec).tasks, spec.label)
    prepare(spec.options.threads)
    seed_everything(spec.options.seed)
    parts = assemble(spec)
    collector = make_collector(parts.env, parts.agent, parts.agent.frames_per_batch)
    try:
        _require_shapes(found, parts.agent.problem, spec.label)
        weights, unknown = released.translate(state)
        targets = with_targets(weights)
        load(parts.agent, targets)
        with directory.locked():
            _write(directory, spec, parts, collector.snapshot())
    finally:
        collector.shutdown()
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{len(weights)} tensors of {file} are in {directory.path}")
    bounded, copied = "log_std_min" in bounds, len(targets) > len(weights)
    for line in _report(spec.values["algo"], settings, unknown, bounded=bounded, copied=copied):
        console.print(line)
    kept = [text for text in given if not text.startswith("run_dir=")]
    again = shlex.join(["pompc", "run", *kept, *settings, f"run_dir={directory.path}"])
    console.print(f"play it:     {shlex.join(['pompc', 'eval', str(directory.path)])}\ntrain it on: {again}")
    return 0


def _default(file: Path, spec: RunSpec) -> Path:
    return Path("runs", spec.algorithm, spec.label, f"converted-{file.stem}")


def _unused(path: str | Path) -> RunDirectory:
    path = Path(path).expanduser()
    if path.exists() and (not path.is_dir() or any(entry.name != ".lock" for entry in path.iterdir())):
        raise UserError(f"{path} exists and is not empty: give another --out")
    return RunDirectory(path)


def _require_algorithm(name: str, found: released.Sizes) -> None:
    values, what = (
        ("actions", "values of states and actions")
        if found["values_see_actions"]
        else ("states", "values of states alone")
    )
    if found["reanalyses"]:
        values, what = "states", f"{what}, and the code of BMPC wrote them"
    layers = found["config"]["reward_layers"]
    kind = [name for name, entry in ALGORITHMS.builtin.items() if entry.released_values == values]
    same = [name for name in kind if options_of(ALGORITHMS, name).defaults()["reward_layers"] == layers]
    if same and name in kind:
        what = f"{what} and a reward head of {layers} hidden layers"
    if name not in (fitting := same or kind):
        raise UserError(f"the weights hold {what}: take --algo {' or '.join(fitting)}, not {name}")


def _settings(algo: dict[str, Any], found: released.Sizes, bounds: dict[str, float], given: Sequence[str]) -> list[str]:
    """List ``key=value`` for every value that the weights decide and that differs from the algorithm's.

    Raises:
        UserError: ``given`` sets one of these keys.
    """
    rest = {name: value for name, value in found["config"].items() if name not in _WIDTHS}
    decided: dict[str, Any] = {**published_size(found["config"]), **rest, **bounds}
    if "state_values" in algo:
        decided["state_values"] = not found["values_see_actions"]
    keys = {text.partition("=")[0] for text in given}
    for name, value in decided.items():
        if f"algo.{name}" in keys:
            raise UserError(f"the weights decide algo.{name} ({json.dumps(value)}): leave it out")
    return [f"algo.{name}={json.dumps(value)}" for name, value in decided.items() if algo[name] != value]


_WIDTHS = tuple(field.name for field in dataclasses.fields(ModelSize))


def published_size(config: dict[str, Any]) -> dict[str, int | None]:
    """Find the published ``model_size`` of these widths; return the widths if there is none.

    If only the ensemble size differs from the published one, it is returned beside ``model_size``. Widths that ``config``
    lacks fit any size; weights that see pixels have no encoder widths.
    """
    widths = {name: config[name] for name in _WIDTHS if name in config}
    for number, size in SIZES.items():
        published = dataclasses.asdict(size)
        others = {name: value for name, value in widths.items() if value != published[name]}
        if others.keys() <= {"ensemble_size"}:
            return {"model_size": number, **dict.fromkeys(_WIDTHS), **others}
    return {**widths}


def _require_tasks(found: released.Sizes, tasks: Tasks | None, env: str) -> None:
    _require_equal("play", _tasks(found["num_tasks"]), _tasks(None if tasks is None else len(tasks.names)), env)
    if tasks is not None and found["action_dims"] not in (None, list(tasks.action_dims)):
        raise UserError(
            f"the tasks of the weights have {found['action_dims']} action entries, those of {env} "
            f"{list(tasks.action_dims)}: give the tasks they were trained on, in the same order"
        )


def _require_shapes(found: released.Sizes, problem: Problem, env: str) -> None:
    seen = _seen(False, problem.observation_dim - (problem.tasks is not None))  # without the task's index
    if problem.image_shape is not None:
        seen = _seen(True, problem.image_shape[0])
    _require_equal("see", _seen(found["pixels"], found["observation_dim"]), seen, env)
    _require_equal("choose", f"{found['action_dim']} action entries", f"{problem.action_dim} action entries", env)


def _require_equal(verb: str, theirs: str, ours: str, env: str) -> None:
    if theirs != ours:
        raise UserError(f"the weights {verb} {theirs}, {env} has {ours}: give the --env that they were trained on")


def _tasks(count: int | None) -> str:
    return "a single task" if count is None else f"{count} tasks at once"


def _seen(pixels: bool, size: int) -> str:
    return f"pictures of {size} channels" if pixels else f"observations of {size} numbers"


def with_targets(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add slow copies of the value heads to translated weights, if the release left them out."""
    if any(key.startswith("critic.target.") for key in weights):
        return weights
    heads = {key: value for key, value in weights.items() if key.startswith("critic.heads.")}
    return {**weights, **{key.replace("heads", "target", 1): value for key, value in heads.items()}}


def load(agent: MPPIRL, weights: dict[str, Tensor]) -> None:
    """Load weights into an agent: all its tensors but the running scales.

    Raises:
        UserError: a tensor is missing, has another shape, or does not belong to the agent.
    """
    own = agent.state_dict()
    scales = {f"{name}.value" for name, module in agent.named_modules() if isinstance(module, RunningScale)}
    for key in sorted(own.keys() | weights.keys()):
        theirs = list(weights[key].shape) if key in weights else None
        ours = list(own[key].shape) if key in own else None
        if theirs != ours and not (theirs is None and key in scales):
            raise UserError(
                f"the weights are not of this model: {key} is {theirs or 'missing'}, needed {ours or 'not at all'}"
            )
    agent.load_state_dict(weights, strict=False)


def _write(directory: RunDirectory, spec: RunSpec, parts: Assembly, collector: dict[str, Any]) -> None:
    """Write ``config.yaml`` and ``checkpoints/last.pt`` of a run at its step 0; see ``Session``."""
    state = {
        "manifest": checkpoint.manifest(**spec.identity, step=0),
        "config": dict(spec.values),
        "agent": dict(parts.agent.state_dict()),
        "training": parts.agent.training_state(),
        "collector": collector,
        "random": random_state(),
        "counters": dataclasses.asdict(Counters()),
        "logs": dict.fromkeys(LOGS, 0),
    }
    checkpoint.write_atomic(directory / "config.yaml", spec.to_yaml().encode())
    checkpoint.save(directory.last, state)


def _report(
    algo: dict[str, Any], settings: list[str], unknown: list[str], *, bounded: bool, copied: bool
) -> Iterator[str]:
    """Yield lines about the values that the weights decided, and about the parts that they lack."""
    yield f"from the weights: {' '.join(settings) or 'nothing but what the configuration says'}"
    if not bounded:
        low, high = algo["log_std_min"], algo["log_std_max"]
        yield f"not stored: bounds of the policy's log-std; algo.log_std_min={low} algo.log_std_max={high} are taken"
    if copied:
        yield "not stored: the slow copies of the values; they start at the values"
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        yield f"unknown and left out: {', '.join(unknown[:5])}{more}"
    yield (
        "not stored: running scales, optimizer states, replay; further training starts with fresh ones "
        "(convert with algo.seed_steps=0 to skip its random actions)"
    )
