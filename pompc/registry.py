"""Tables of algorithms, environments, sub-commands and measurements by name; their modules are imported on use.

This is the only module of ``pompc`` that names an algorithm or an environment. Other packages add to the tables through
entry points; see :class:`Registry`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from pompc.errors import UserError


@dataclass(frozen=True)
class Entry:
    """One name of a registry.

    Attributes:
        target: ``"module:Class"``, or ``"module:function"`` of a command or a measurement.
        description: one line for ``pompc list`` or ``--help``.
        argument: the config key that the part after ``/`` of an environment's name sets (``dmc/cartpole-swingup``).
        form: how to write an environment's name with its argument.
        unhashed: an environment's config keys that are left out of the run's hash: they change neither a step nor an
            evaluation.
        explicit_model: whether an environment has an explicit model to plan with, or an algorithm needs one.
        released_values: the arguments of the values in an algorithm's released weights, which ``pompc convert`` reads:
            ``actions`` (and states), or ``states`` alone.
        published: an environment's config key that names the task of published curves.
        subject: the name of the algorithm or environment that a measurement is about.
    """

    target: str
    description: str
    argument: str | None = None
    form: str | None = None
    unhashed: tuple[str, ...] = ()
    explicit_model: bool = False
    released_values: Literal["actions", "states"] | None = None
    published: str | None = None
    subject: str | None = None


class Registry(Mapping[str, Entry]):
    """A table of built-in entries and of the entries of an entry-point group, which is read only when needed.

    Another package adds entries in its ``pyproject.toml``::

        [project.entry-points."pompc.algorithms"]  # a class with a Config
        my_algorithm = "my_package.my_algorithm:MyAlgorithm"

        [project.entry-points."pompc.envs"]  # a subclass of EnvironmentFamily
        my_env = "my_package.my_env:MyFamily"

        [project.entry-points."pompc.commands"]  # a function that adds arguments and the default ``handler`` to a parser
        my_command = "my_package.commands:add"

        [project.entry-points."pompc.benchmarks"]  # a Measurement, see pompc.report.measurement
        my_benchmark = "my_package.bench:my_benchmark"

    A command's handler takes the parsed arguments and returns the exit code. Its module is imported for
    ``pompc my_command --help`` as well, so it should import torch only inside the handler.

    Args:
        kind: noun for an entry in messages.
        group: the entry-point group.
        builtin: the entries of this package; an entry point cannot replace one.
    """

    def __init__(self, kind: str, group: str, builtin: dict[str, Entry]) -> None:
        self.kind = kind
        self.group = group
        self.builtin = builtin

    def external(self) -> dict[str, Entry]:
        """Read the entries of other installed packages, without importing them."""
        import importlib.metadata

        found = {}
        for point in importlib.metadata.entry_points(group=self.group):
            origin = f"from the package {point.dist.name}" if point.dist else f"from {point.value}"
            found[point.name] = Entry(point.value, origin)
        return {name: entry for name, entry in sorted(found.items()) if name not in self.builtin}

    def __getitem__(self, name: str) -> Entry:
        if name in self.builtin:
            return self.builtin[name]
        external = self.external()
        if name in external:
            return external[name]
        raise self.unknown(name)

    def __contains__(self, name: object) -> bool:
        return name in self.builtin or name in self.external()

    def __iter__(self):
        return iter({**self.builtin, **self.external()})

    def __len__(self) -> int:
        return len(self.builtin) + len(self.external())

    def resolve(self, name: str) -> Any:
        """Import the class or function behind a name.

        Raises:
            UserError: there is no such name.
        """
        module, _, attribute = self[name].target.partition(":")
        return getattr(import_module(module), attribute)

    def unknown(self, name: str, hint: str | None = None) -> UserError:
        """Make the error for a name that is not in the table: the nearest name, then all names."""
        hint = hint or nearest(name, self)
        guess = f"; did you mean {hint!r}?" if hint else ";"
        names = ", ".join(entry.form or key for key, entry in self.items())
        return UserError(f"unknown {self.kind} {name!r}{guess} there are: {names}")


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Find the choice most like ``word``; ``None`` if no choice is near."""
    return next(iter(difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)), None)


ALGORITHMS = Registry(
    "algorithm",
    "pompc.algorithms",
    {
        "adaptive_hrl": Entry(
            "pompc.algorithms.adaptive_hrl:AdaptiveHRL",
            "PPO over the planner's cost parameters, with virtual rollouts mixed in by uncertainty",
            explicit_model=True,
        ),
        "tdmpc2": Entry(
            "pompc.algorithms.tdmpc2:TDMPC2",
            "a latent world model, value-maximising policy and MPPI: lambda = 0",
            released_values="actions",
        ),
        "tdmpc_square": Entry(
            "pompc.algorithms.tdmpc_square:TDMPCSquare",
            "TD-M(PC)^2: TD-MPC2 with its policy held near the stored plans",
            released_values="actions",
        ),
        "bmpc": Entry(
            "pompc.algorithms.bmpc:BMPC",
            "a policy that imitates the plans, lazily renewed: lambda = infinity",
            released_values="states",
        ),
        "pompc": Entry("pompc.algorithms.pompc:POMPC", "return and KL to the planner's prior in any proportion lambda"),
        "adaptive_pompc": Entry(
            "pompc.algorithms.adaptive_pompc:AdaptivePOMPC", "PO-MPC with virtual value targets annealed by uncertainty"
        ),
        "ppo": Entry("pompc.algorithms.ppo:PPO", "PPO on the raw action, no planner: the model-free baseline"),
        "mppi": Entry(
            "pompc.algorithms.mppi:MPPIAgent",
            "the planner alone with its nominal cost: the baseline without learning",
            explicit_model=True,
        ),
    },
)

ENVIRONMENTS = Registry(
    "environment",
    "pompc.envs",
    {
        "carla_racing": Entry(
            "pompc.envs.carla_racing:CarlaRacing",
            "a race track with opponents and danger zones",
            unhashed=("servers", "timeout", "retries", "joint_tolerance"),  # a simulator's servers may move
            explicit_model=True,
        ),
        "acrobot": Entry(
            "pompc.envs.acrobot:Acrobot",
            "swing up a two-link pendulum with continuous torque, exact model",
            explicit_model=True,
        ),
        "lunar_lander": Entry(
            "pompc.envs.lunar_lander:LunarLander",
            "land between danger zones, with a model mismatch dial",
            explicit_model=True,
        ),
        "linear_system": Entry(
            "pompc.envs.linear:Linear",
            "hold an unstable linear system in its bounds; closed forms without them",
            explicit_model=True,
        ),
        "dmc": Entry(
            "pompc.envs.dm_control:DMControl",
            "a task of the DeepMind Control Suite, from its state or from pixels",
            argument="task",
            form="dmc/<domain>-<task>",
            published="task",
        ),
        "multitask": Entry(
            "pompc.envs.multitask:MultiTask", "several tasks of the DeepMind Control Suite at once, one per environment"
        ),
        "gym": Entry(
            "pompc.envs.gymnasium:Gymnasium",
            "any Gymnasium environment with Box actions; also my_package:MyEnv-v0",
            argument="id",
            form="gym/<Id>",
        ),
    },
)

DEMOS = Registry(
    "demo",
    "pompc.demos",
    {
        "racing": Entry(
            "pompc.envs.carla_racing.demo:ADAPTIVE_HRL", "adaptive_hrl drives a lap past danger zones and traffic"
        ),
    },
)
"""Agents that packages ship. An entry's target is the path of a file that :func:`pompc.training.export.export` wrote."""
COMMANDS = Registry(
    "command",
    "pompc.commands",
    {
        "carla": Entry("pompc.envs.carla_racing.commands:add", "look at a CARLA server, or run a stand-in for one"),
    },
)

_RACING = "pompc.envs.carla_racing.bench"
BENCHMARKS = Registry(
    "measurement",
    "pompc.benchmarks",
    {
        "racing": Entry(f"{_RACING}:racing", "the racing environment and its model", subject="carla_racing"),
        "planner": Entry(
            "pompc.report.planner_bench:planner", "a plan for a batch of environments", subject="carla_racing"
        ),
        "training": Entry(f"{_RACING}:training", "training with and without a planner", subject="carla_racing"),
        "collector": Entry(f"{_RACING}:collector", "TorchRL's collector against a bare loop", subject="carla_racing"),
        "latent": Entry("pompc.report.latent_bench:latent", "a plan and an update of TD-MPC2", subject="tdmpc2"),
        "planner_compile": Entry(
            "pompc.report.planner_bench:planner_compile", "the plan with a compiled model", subject="carla_racing"
        ),
        "latent_compile": Entry(
            "pompc.report.latent_bench:latent_compile", "the plan and the update, compiled", subject="tdmpc2"
        ),
        "carla": Entry(f"{_RACING}:carla", "racing over one and over two CARLA stand-ins", subject="carla_racing"),
    },
)


def parse_environment(name: str) -> tuple[str, dict[str, str]]:
    """Split an environment's command-line name into its family and the config keys the name sets.

    ``"acrobot"`` -> ``("acrobot", {})``, ``"dmc/cartpole-swingup"`` -> ``("dmc", {"task": "cartpole-swingup"})``,
    ``"my_package:MyEnv-v0"`` -> ``("gym", {"id": "my_package:MyEnv-v0"})``.

    Raises:
        UserError: there is no such family, or the family takes nothing after the slash.
    """
    family, slash, argument = name.partition("/")
    if family in ENVIRONMENTS.builtin or ":" not in family:
        return _family(name, family, argument if slash else None)
    return "gym", {"id": name}


def _family(name: str, family: str, argument: str | None) -> tuple[str, dict[str, str]]:
    if family not in ENVIRONMENTS:
        near = nearest(family, ENVIRONMENTS)
        looks_like_id = re.search(r"-v\d+$", name) is not None
        raise ENVIRONMENTS.unknown(name, hint=f"gym/{name}" if looks_like_id and not near else near)
    key = ENVIRONMENTS[family].argument
    if argument is None:
        return family, {}
    if key is None:
        raise UserError(f"the environment {family!r} takes nothing after a slash: give env.<key>=value instead")
    if not argument:
        raise UserError(f"{name!r} lacks its name after the slash: {ENVIRONMENTS[family].form}")
    return family, {key: argument}


def environment_label(node: Mapping[str, Any]) -> str:
    """Make a file-name-safe label of an ``env`` node: ``carla_racing``, ``dmc-cartpole-swingup``, ``gym-Pendulum-v1``."""
    key = ENVIRONMENTS[node["name"]].argument
    label = node["name"] if key is None else f"{node['name']}-{node[key]}"
    return re.sub(r"[^\w.-]+", "-", label)
