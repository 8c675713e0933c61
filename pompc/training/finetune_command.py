"""The arguments of ``pompc finetune``. Building its parser imports no torch."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping
from typing import Any

from pompc.config.arguments import add_checkpoint, require_checkpoint
from pompc.registry import ENVIRONMENTS
from pompc.system.graphics import prepare_graphics


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pompc finetune`` to its parser."""
    parser.description = (
        "Train an agent on another environment, from the weights of a run. Algorithm and its options are those of the run, "
        "everything else is as in `pompc run`. The same command resumes where it stopped."
    )
    add_checkpoint(parser)
    parser.add_argument("--env", metavar="NAME", required=True, help="the environment to train on")
    parser.add_argument(
        "--task", metavar="NAME", help="a task of a run that has learned several; default: that of --env"
    )
    parser.add_argument("--seed", metavar="N", help="seed of every random generator; short for seed=N")
    parser.add_argument(
        "overrides",
        metavar="key=value",
        nargs="*",
        help="changes to the configuration, such as algo.learning_rate=1e-4",
    )
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Do ``pompc finetune``: compose the configuration, then train."""
    require_checkpoint(args.path)
    prepare_graphics()
    from pompc.config.compose import with_overrides
    from pompc.config.overrides import keys
    from pompc.config.spec import resolve
    from pompc.training import run as training
    from pompc.training.checkpoint import load
    from pompc.training.opening import find_checkpoint

    known = load(find_checkpoint(args.path))["config"]
    values = composed(known, args.env)
    values["finetune"] = {"source": str(args.path), "task": args.task}
    seed = [] if args.seed is None else [f"seed={args.seed}"]
    spec = resolve(
        with_overrides(values, [*seed, *args.overrides]), fit_num_envs="num_envs" not in keys(args.overrides)
    )
    return training.run(spec)


def composed(known: Mapping[str, Any], env: str) -> dict[str, Any]:
    """Compose a configuration on another environment with the algorithm of a known one.

    Args:
        known: values of a run.
        env: name of the other environment as on the command line.

    Returns:
        The values: the options of the algorithm that the run has changed, and the defaults of everything else.
    """
    from pompc.config.compose import compose
    from pompc.config.run_options import RunConfig
    from pompc.config.schema import group
    from pompc.config.spec import resolve

    algo = known["algo"]["name"]
    defaults = resolve(compose(algo, _name(known["env"]))).values
    kept = {key: value for key, value in known.items() if key != "env" and key not in group(RunConfig).options}
    return _changed(compose(algo, env), kept, defaults)


def _name(node: Mapping[str, Any]) -> str:
    """Write the name of an environment as on the command line."""
    key = ENVIRONMENTS[node["name"]].argument
    return node["name"] if key is None else f"{node['name']}/{node[key]}"


def _changed(values: Mapping[str, Any], known: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Take the values of ``known`` that differ from ``defaults``, and leave the others as they are in ``values``."""
    result = copy.deepcopy(dict(values))
    for key, value in known.items():
        inner = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        if inner and isinstance(defaults.get(key), Mapping):
            result[key] = _changed(result[key], value, defaults[key])
        elif key in result and value != defaults.get(key):
            result[key] = copy.deepcopy(value)
    return result
