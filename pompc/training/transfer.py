"""Carry weights from one agent to another that sees or does something else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor, nn

from pompc.data.statistics import ReturnScale, RunningMoments
from pompc.models.world_model import WorldModel
from pompc.networks.policies import LatentPolicy

TABLE = "model.tasks.table.weight"
"""The vectors of the tasks among the weights of an off-policy agent."""
DYNAMICS = "model.dynamics.0.linear.weight"
NO_WEIGHT = torch.empty(0)
NOTHING: Mapping[int, int] = MappingProxyType({})
Blocks = dict[str, int]
"""The entries that a layer sees, in their order: what they are, and how many."""


@dataclass(frozen=True)
class Task:
    """A task of an agent of several that an agent of one goes on with.

    Attributes:
        name: of the task.
        vector: its embedding ``[dim]``.
        same: whether the new environment is that task, so that its observation and action are the first entries.
    """

    name: str
    vector: Tensor
    same: bool


@dataclass
class Report:
    """What became of every weight of the new agent, by name.

    Attributes:
        kept: taken whole.
        partly: taken for a part of the inputs or outputs; by name what part.
        new: as they were before.
        left: weights of the source that the new agent does not have.
    """

    kept: list[str] = field(default_factory=list)
    partly: dict[str, str] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def enter(self, name: str, taken: list[str], all_of: str) -> None:
        """Enter a weight of which some parts were taken.

        Args:
            name: of the weight.
            taken: the parts that were taken.
            all_of: all of its parts in words.
        """
        if " and ".join(taken) == all_of:
            self.kept.append(name)
        elif taken:
            self.partly[name] = f"{' and '.join(taken)} of {all_of}"
        else:
            self.new.append(name)

    @property
    def complete(self) -> bool:
        """Whether nothing is new."""
        return not (self.partly or self.new)

    def lines(self) -> Iterator[str]:
        """Yield a line per kind, weights grouped by their networks."""
        for word, names in (("kept", self.kept), ("new", self.new), ("left behind", self.left)):
            if names:
                yield f"{word}: {_grouped(names)}"
        if self.partly:
            parts: dict[str, list[str]] = {}
            for name, what in self.partly.items():
                parts.setdefault(what, []).append(name)
            yield "partly kept: " + "; ".join(f"{_grouped(names)} ({what})" for what, names in parts.items())


def transfer(
    saved: Mapping[str, Tensor], agent: nn.Module, task: Task | None = None, rows: Mapping[int, int] = NOTHING
) -> Report:
    """Load every weight that fits, whole or for the inputs and outputs that both agents have.

    A layer over the latent state keeps the columns of the state, whatever the size of the action. Of one task of several,
    the vector is constant: its product with the layer's weights becomes part of the bias, and the function stays the same.

    Args:
        saved: weights by name.
        agent: the new agent; it is changed.
        task: the task to go on with, if ``saved`` has learned several and the agent learns one.
        rows: if both learn several, the index in ``saved`` of each task that both have, by its index in the agent.

    Returns:
        What became of every weight.
    """
    own, report = agent.state_dict(), Report()
    layers = _Layers.of(saved, agent, task)
    fresh = _fresh(saved, agent)
    policies = tuple(f"{name}." for name, part in agent.named_modules() if isinstance(part, LatentPolicy))
    for name, value in _without_aliases(own):
        theirs = saved.get(name)
        if theirs is None or name in fresh:
            report.new.append(name)
        elif name == TABLE:
            _take_rows(value, theirs, rows, report)
        elif layers is not None and (seen := layers.columns(name, theirs, value)) is not None:
            report.enter(name, layers.take_columns(value, theirs, *seen), " and ".join(seen[1]))
        elif theirs.shape == value.shape:
            value.copy_(theirs)
            report.kept.append(name)
        elif layers is not None and name.startswith(policies) and layers.take_actions(value, theirs):
            report.kept.append(name)
        else:
            report.new.append(name)
    if layers is not None and task is not None:
        layers.fold(saved, own, task.vector)
    report.left += [name for name in saved if name not in own]
    return report


def _without_aliases(own: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield weights by name, each once: a loss may hold a network under a second name."""
    seen = set()
    for name, value in own.items():
        if value.data_ptr() not in seen:
            seen.add(value.data_ptr())
            yield name, value


def _fresh(saved: Mapping[str, Tensor], agent: nn.Module) -> set[str]:
    """Name what is new in every run: returns of running episodes, and statistics of other observations."""
    names = {f"{name}.running" for name, part in agent.named_modules() if isinstance(part, ReturnScale)}
    for name, part in agent.named_modules():
        if isinstance(part, RunningMoments) and saved.get(f"{name}.mean", NO_WEIGHT).shape != part.mean.shape:
            names |= {f"{name}.{buffer}" for buffer in part.state_dict()}
    return names


def _take_rows(value: Tensor, theirs: Tensor, rows: Mapping[int, int], report: Report) -> None:
    """Take the vectors ``[task, dim]`` of the tasks that both agents have."""
    found = rows if value.shape[1] == theirs.shape[1] else NOTHING
    for mine, other in found.items():
        value[mine] = theirs[other]
    report.enter(TABLE, [f"{len(found)} tasks"] if found else [], f"{len(value)} tasks")


@dataclass(frozen=True)
class _Layers:
    """How the layers of two off-policy agents see their inputs.

    Attributes:
        source: entries by kind of the agent that was saved.
        own: entries by kind of the new one.
        same: whether observation and action of the new one are the first entries of the saved one's.
    """

    source: Blocks
    own: Blocks
    same: bool

    @classmethod
    def of(cls, saved: Mapping[str, Tensor], agent: nn.Module, task: Task | None) -> _Layers | None:
        """Read the sizes; ``None`` without a world model in both."""
        models = [part for part in agent.modules() if isinstance(part, WorldModel)]
        if not models or DYNAMICS not in saved:
            return None
        own, latent = agent.state_dict(), models[0].latent_dim
        return cls(_sizes(saved, latent), _sizes(own, latent), task is not None and task.same)

    def columns(self, name: str, theirs: Tensor, value: Tensor) -> tuple[Blocks, Blocks] | None:
        """Find what a first layer sees, in the saved agent and in the new one; ``None`` if that is the same.

        Args:
            name: of its weight.
            theirs: saved weight ``[..., out, in]``.
            value: new weight ``[..., out, in]``.
        """
        if not name.endswith(".0.linear.weight") and not name.endswith(".linears.0.weight"):
            return None
        kinds = [("observation", "task")] if ".encoder." in name else [("latent", "task"), ("latent", "task", "action")]
        for kind in kinds:
            blocks = tuple({part: sizes[part] for part in kind if sizes[part]} for sizes in (self.source, self.own))
            fits = [sum(block.values()) for block in blocks] == [theirs.shape[-1], value.shape[-1]]
            if fits and blocks[0] != blocks[1] and theirs.shape[:-1] == value.shape[:-1]:
                return blocks[0], blocks[1]
        return None

    def take_columns(self, value: Tensor, theirs: Tensor, source: Blocks, own: Blocks) -> list[str]:
        """Copy the columns that both layers have; return what was taken whole."""
        first, taken = 0, []
        for part, width in own.items():
            if part in source and (source[part] == width or (self.same and width < source[part])):
                there = sum(list(source.values())[: list(source).index(part)])
                value[..., first : first + width] = theirs[..., there : there + width]
                taken.append(part)
            first += width
        return taken

    def take_actions(self, value: Tensor, theirs: Tensor) -> bool:
        """Copy the outputs of a policy, means and log-stds, for the entries of the action that the new agent has."""
        mine, other = self.own["action"], self.source["action"]
        fits = (len(value), len(theirs)) == (2 * mine, 2 * other) and value.shape[1:] == theirs.shape[1:]
        if not (fits and self.same and mine < other):
            return False
        for half in range(2):
            value[half * mine : (half + 1) * mine] = theirs[half * other : half * other + mine]
        return True

    def fold(self, saved: Mapping[str, Tensor], own: Mapping[str, Tensor], vector: Tensor) -> None:
        """Add the product of a task's vector ``[dim]`` and the weights that saw it to the biases."""
        for name, value in _without_aliases(own):
            theirs = saved.get(name)
            seen = None if theirs is None else self.columns(name, theirs, value)
            if theirs is not None and seen is not None and "task" in seen[0]:
                first = sum(list(seen[0].values())[: list(seen[0]).index("task")])
                own[f"{name.removesuffix('weight')}bias"].add_(theirs[..., first : first + len(vector)] @ vector)


def _sizes(weights: Mapping[str, Tensor], latent: int) -> Blocks:
    """Read what the layers of an off-policy agent see; pictures count as no observation."""
    task = weights[TABLE].shape[1] if TABLE in weights else 0
    encoder = weights.get("model.encoder.net.0.linear.weight")
    seen = 0 if encoder is None else encoder.shape[1] - task
    return {"observation": seen, "latent": latent, "task": task, "action": weights[DYNAMICS].shape[1] - latent - task}


def _grouped(names: list[str]) -> str:
    """Count names by their network, the first two parts of each: ``model.encoder (6), policy.net (6)``."""
    return ", ".join(f"{group} ({count})" for group, count in Counter(map(_network, names)).items())


def _network(name: str) -> str:
    return ".".join(name.split(".")[:2])
