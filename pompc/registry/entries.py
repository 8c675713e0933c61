"""A table of names; the module behind a name is imported on use."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
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
        way: how an algorithm combines planning and learning, a key of :data:`~pompc.registry.taxonomy.WAYS`.
        architecture: how its network and its planner are connected, one of :data:`~pompc.registry.taxonomy.ARCHITECTURES`.
        acts: who acts in an algorithm that has no ``policy_share``.
        page: name of its page in docs/ without the suffix; ``None`` if that is the entry's name.
        paper: the publication, in short.
        base: the algorithm that a named setting is of; ``None`` for an algorithm.
        settings: values of a named setting by their keys, as in ``key=value``; they are its defaults.
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
    way: str | None = None
    architecture: str | None = None
    acts: str = "planner"
    page: str | None = None
    paper: str | None = None
    base: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def named(self, base: str, description: str, settings: Mapping[str, Any], **changes: Any) -> Entry:
        """Make the entry of a named setting of this algorithm.

        Args:
            base: the name of this entry.
            description: one line.
            settings: defaults of the setting by their keys.
            changes: further fields that differ from this entry's.
        """
        values = {**self.settings, **settings}
        return replace(self, description=description, base=base, settings=values, released_values=None, **changes)


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
            if point.name in self.builtin:
                warnings.warn(f"the {self.kind} {point.name!r} {origin} is hidden by pompc's own: give it another name")
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

    @property
    def classes(self) -> list[str]:
        """Names of the built-in entries that are no settings of another one."""
        return [name for name, entry in self.builtin.items() if entry.base is None]

    def unknown(self, name: str, hint: str | None = None) -> UserError:
        """Make the error for a name that is not in the table: the nearest name, then all names."""
        hint = hint or nearest(name, self)
        guess = f"; did you mean {hint!r}?" if hint else ";"
        names = ", ".join(entry.form or key for key, entry in self.items())
        return UserError(f"unknown {self.kind} {name!r}{guess} there are: {names}")


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Find the choice most like ``word``; ``None`` if no choice is near."""
    return next(iter(difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)), None)
