"""The layout of a run's configuration: every key there is for an algorithm on an environment, torch-free."""

from __future__ import annotations

from typing import Any

from pompc.config import schema_file
from pompc.config.kinds import Group, Option, Scalar
from pompc.config.run_options import RunConfig
from pompc.config.schema import group
from pompc.registry import ALGORITHMS, ENVIRONMENTS


def layout(algo: str, family: str) -> Group:
    """List every option of a run: its own at the top, then those of the algorithm and of the environment.

    Args:
        algo: name of an algorithm.
        family: name of an environment family.

    Raises:
        UserError: there is no such name.
    """
    options = dict(schema_file.without_classes(group(RunConfig)).options)
    for node, registry, name in (("algo", ALGORITHMS, algo), ("env", ENVIRONMENTS, family)):
        found = schema_file.options_of(registry, name)
        options |= {key: option for key, option in found.options.items() if option.top}
        own = {key: option for key, option in found.options.items() if not option.top}
        inner = Group({"name": Option("name", Scalar("str"), name), **own})
        options[node] = Option(node, inner, inner.defaults())
    return Group(options)


def section_of(values: dict[str, Any], node: str, options: Group) -> dict[str, Any]:
    """Select the values of an algorithm or an environment: those of its node, and those at the top.

    Args:
        values: of a whole configuration.
        node: ``"algo"`` or ``"env"``.
        options: those of its config.
    """
    top = {key: values[key] for key, option in options.options.items() if option.top and key in values}
    return {key: value for key, value in values[node].items() if key != "name"} | top
