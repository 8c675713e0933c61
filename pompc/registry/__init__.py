"""Tables of algorithms, environments, sub-commands and measurements by name; their modules are imported on use.

This package alone names algorithms and environments inside of ``pompc``. Other packages add to the tables through entry
points; see :class:`Registry`.
"""

from pompc.registry.algorithms import ALGORITHMS
from pompc.registry.commands import BENCHMARKS, COMMANDS, DEMOS
from pompc.registry.entries import Entry, Registry, nearest
from pompc.registry.environments import ENVIRONMENTS, environment_label, parse_environment
from pompc.registry.taxonomy import ARCHITECTURES, COMPONENTS, WAYS, Component

__all__ = [
    "ALGORITHMS",
    "ARCHITECTURES",
    "BENCHMARKS",
    "COMMANDS",
    "COMPONENTS",
    "DEMOS",
    "ENVIRONMENTS",
    "WAYS",
    "Component",
    "Entry",
    "Registry",
    "environment_label",
    "nearest",
    "parse_environment",
]
