"""``pompc export --onnx``: the decisions of an agent as graphs of fixed shapes, compared with the agent in onnxruntime."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.agent import MPPIRL
from pompc.convert.draws import Draws
from pompc.data import warm_start
from pompc.data.collector import with_agent_state
from pompc.errors import UserError
from pompc.system.process import prepare
from pompc.training import checkpoint
from pompc.training.opening import Opened, find_checkpoint, open_checkpoint
from pompc.training.seeding import isolated

TOLERANCE = 1e-4
"""Largest difference of an output, actions in [-1, 1], that counts as rounding."""
KINDS = ("normal", "uniform")  # of numbers that an agent draws
STEPS = 5  # of the environment on which a file is compared


@dataclass(frozen=True)
class Decision:
    """A decision that becomes a file.

    Attributes:
        name: of the file, without its suffix.
        act: the decision of the agent, ``TensorDict -> TensorDict``.
        carried: entries that one decision hands to the next.
    """

    name: str
    act: Callable[[TensorDictBase], TensorDictBase]
    carried: tuple[str, ...] = ()


class Graph(nn.Module):
    """A decision as a function of tensors.

    Args:
        agent: owns the weights.
        decision: what it does.
        inputs: names of the arguments, in their order.
        unused: draws that decide nothing, by their kind; they become zeros.
    """

    def __init__(self, agent: MPPIRL, decision: Decision, inputs: Sequence[str], unused: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.agent, self.decision, self.inputs = agent, decision, tuple(inputs)
        self._unused = {kind: torch.zeros_like(numbers) for kind, numbers in unused.items()}

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the action ``[batch, action]``, then the carried entries of the next step."""
        entries = self._unused | dict(zip(self.inputs, tensors, strict=True))
        draws = Draws(*(entries.pop(kind, torch.empty(0)) for kind in KINDS))
        with draws, set_exploration_type(ExplorationType.DETERMINISTIC):
            acted = self.decision.act(TensorDict(entries, batch_size=[len(entries["observation"])]))
        return acted["action"], *(acted["next", name] for name in self.decision.carried)


def export_onnx(path: Path, out: Path | None = None, *, batch: int = 1, best: bool = False) -> int:
    """Write the ONNX files of an agent, and print what was written, what was not, and how much each file differs.

    Args:
        path: a run directory or a checkpoint file.
        out: where to write; ``None`` for the folder ``onnx`` in the run directory, or beside the checkpoint.
        batch: observations that a file takes at a time.
        best: of a run directory, take the checkpoint with the best evaluation.

    Returns:
        The exit code 0.

    Raises:
        UserError: no usable checkpoint, a file that differs from the agent, or nothing that can be exported.
    """
    file = find_checkpoint(path, best=best)
    state = checkpoint.load(file)
    opened = open_checkpoint(file, _plain(state["config"]), state)
    prepare(opened.spec.options.threads)
    folder = out or (path if path.is_dir() else path.parent) / "onnx"
    say = Console(highlight=False, markup=False, soft_wrap=True).print
    agent, written = opened.parts.agent.eval(), 0
    if agent.planner is not None:
        agent.planner.checks = False
    if agent.filter is not None:
        say("filter: not in the files, which hold the decisions before it")
    with closing(opened.parts.env):
        for decision in _decisions(opened, say):
            written += _write(opened, decision, folder, batch, say)
    if not written:
        raise UserError(f"nothing of {path} can be exported")
    return 0


def _plain(config: dict[str, Any]) -> list[str]:
    """List the changes that make an agent plain torch on the CPU."""
    compiled = [f"{node}.compile=false" for node in ("algo", "planner") if "compile" in config.get(node, {})]
    return ["device=cpu", *compiled]


def _decisions(opened: Opened, say: Callable[[str], object]) -> Iterator[Decision]:
    """Yield what the agent decides by; say what it lacks."""
    agent, name = opened.parts.agent, opened.spec.algorithm
    if agent.has_policy(opened.spec.algorithm_config):
        carried = () if agent.planner is not None else tuple(agent.primers())
        yield Decision("policy", agent.act_by_policy, carried)
    else:
        say(f"policy: not exported, {name} has no policy over actions")
    if agent.planner is not None:

        def plan(tensordict: TensorDictBase) -> TensorDictBase:
            return warm_start.remember(agent.planner, agent.act(tensordict, explore=False))

        yield Decision("planner", plan, tuple(agent.primers()))
    else:
        say(f"planner: not exported, {name} has none")


def _write(opened: Opened, decision: Decision, folder: Path, batch: int, say: Callable[[str], object]) -> bool:
    """Write one file and compare it; return whether it is kept.

    Raises:
        UserError: it differs from the agent.
    """
    with isolated(opened.spec.options.seed), torch.no_grad(), tempfile.TemporaryDirectory() as scratch:
        cases, unused = _without_unused(opened.parts.agent, decision, list(_cases(opened, decision, batch)))
        first, made = cases[0], Path(scratch, f"{decision.name}.onnx")
        graph = Graph(opened.parts.agent, decision, tuple(first), unused)
        expected = [graph(*case.values()) for case in cases]
        try:
            _convert(graph, first, made, opened)
        except Exception as error:  # the exporter fails in as many ways as there are operations
            reason = next(iter(str(error).strip().splitlines()), "no reason given")
            say(f"{decision.name}: cannot be exported, {type(error).__name__}: {reason}")
            return False
        difference = _difference(made, cases, expected)
        if not difference <= TOLERANCE:
            raise UserError(
                f"{made.name} is not kept: its outputs differ from the agent's by {difference:.2g}, more than {TOLERANCE:g}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / made.name
        kept.write_bytes(made.read_bytes())
    shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in first.items())
    say(f"{kept}: {shapes} -> {', '.join(_outputs(decision))}; largest difference {difference:.2g}")
    return True


def _cases(opened: Opened, decision: Decision, batch: int) -> Iterator[dict[str, Tensor]]:
    """Yield the inputs of consecutive decisions in the environment, the numbers that the agent draws among them."""
    agent, family = opened.parts.agent, opened.parts.family
    with closing(with_agent_state(family.vectorise(batch, seed=opened.spec.options.eval.fresh_seed), agent)) as env:
        step = env.reset()
        names = ("observation", *(("is_init", *decision.carried) if decision.carried else ()))
        decision.act(step.select(*names).clone())  # what an agent draws once for all its plans is a constant
        for _ in range(STEPS):
            given = {name: step[name].clone() for name in names}
            with Draws() as draws, set_exploration_type(ExplorationType.DETERMINISTIC):
                acted = decision.act(TensorDict(given, batch_size=[batch]).clone())
            drawn = {"normal": draws.normal, "uniform": draws.uniform}
            yield given | {name: numbers for name, numbers in drawn.items() if len(numbers)}
            step["action"] = acted["action"]
            for name in agent.primers():
                step["next", name] = acted["next", name] if name in decision.carried else step[name].clone()
            _, step = env.step_and_maybe_reset(step)


def _without_unused(
    agent: MPPIRL, decision: Decision, cases: list[dict[str, Tensor]]
) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """Leave out the draws that decide nothing, such as the noise around a policy's mean; return the rest and them."""
    graph = Graph(agent, decision, tuple(cases[0]), {})
    unused = {}
    for kind in (kind for kind in KINDS if kind in cases[0]):
        others = [case | {kind: case[kind].flip(0) * 0.5} for case in cases]
        pairs = [(graph(*case.values()), graph(*other.values())) for case, other in zip(cases, others, strict=True)]
        if all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True)):
            unused[kind] = cases[0][kind]
    kept = [{name: tensor for name, tensor in case.items() if name not in unused} for case in cases]
    return kept, unused


def _outputs(decision: Decision) -> tuple[str, ...]:
    return ("action", *(f"next_{name}" for name in decision.carried))


def _convert(graph: Graph, inputs: dict[str, Tensor], file: Path, opened: Opened) -> None:
    """Write a graph for inputs of these shapes."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what the agent keeps of its last decision, and of torch about itself
        traced = torch.export.export(graph, tuple(inputs.values()), strict=False)
        names = {"input_names": list(inputs), "output_names": list(_outputs(graph.decision))}
        program = torch.onnx.export(traced, dynamo=True, verbose=False, **names)
    assert program is not None
    program.model.metadata_props["pompc"] = json.dumps(opened.state["manifest"])
    program.save(file, external_data=False)


def _difference(file: Path, cases: list[dict[str, Tensor]], expected: list[tuple[Tensor, ...]]) -> float:
    """Measure the largest difference of any output from what the agent computes; nan counts as one."""
    import onnxruntime  # pyright: ignore[reportMissingImports]

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    largest = 0.0
    for case, wanted in zip(cases, expected, strict=True):
        found = session.run(None, {name: tensor.numpy() for name, tensor in case.items()})
        differences = [
            (torch.from_numpy(one) - other).abs().max().item() for one, other in zip(found, wanted, strict=True)
        ]
        largest = max(largest, *differences) if all(one == one for one in differences) else float("nan")
    return largest
