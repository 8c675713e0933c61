"""The environment families, and the names by which they are chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pompc.errors import UserError
from pompc.registry.entries import Entry, Registry, nearest

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
        "heating": Entry(
            "pompc.envs.heating:Heating",
            "heat a room and use a battery by a tariff; the model's heat constants may be wrong",
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
        "metaworld": Entry(
            "pompc.envs.meta_world:MetaWorld",
            "a manipulation task of Meta-World, where it works with the installed MuJoCo",
            argument="task",
            form="metaworld/<task>-v3",
        ),
        "envbase": Entry(
            "pompc.envs.envbase:BatchedFamily",
            "a batched TorchRL environment of your own, thousands at once",
            argument="factory",
            form="envbase/<module>:<class>",
        ),
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
