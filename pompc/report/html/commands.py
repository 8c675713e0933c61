"""The commands that make the page and its runs again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from pompc.config.compose import compose
from pompc.config.values import flatten
from pompc.errors import UserError
from pompc.registry import ENVIRONMENTS
from pompc.report.comparison import CompareOptions

if TYPE_CHECKING:
    from pompc.report.comparison import Comparison
    from pompc.report.runs import Run

OWN = ("seed", "run_dir", "algo.name", "env.name")
"""Options that the command says in another way, or that belong to one run."""


def commands(comparison: Comparison) -> list[dict[str, str]]:
    """List commands with what they do: the comparison, then the runs of every method.

    The command of a method names the options in which its configuration differs from the defaults of the installed
    version. Options that this version does not have are named beside it.
    """
    runs = [run for entry in comparison.environments.values() for run in entry.runs]
    words = ["pompc", "compare", *folders(runs), *_options(comparison.options)]
    runs_again = [
        {"words": f"{name} on {entry.name}", **_training(method.runs)}
        for entry in comparison.environments.values()
        for name, method in entry.methods.items()
    ]
    return [{"words": "This page", "text": shlex.join(words), "remark": ""}, *runs_again]


def folders(runs: Sequence[Run]) -> list[str]:
    """Name runs by the folders above them, if these contain no other run; else by themselves."""
    paths = {run.path for run in runs}
    found: dict[str, None] = {}
    for run in runs:
        parent = run.path.parent
        siblings = {file.parent for file in parent.glob("*/run.json")}
        found[str(parent if siblings <= paths and not (parent / "run.json").exists() else run.path)] = None
    return list(found)


def _options(options: CompareOptions) -> list[str]:
    words = []
    if options.metric != CompareOptions().metric:
        words += ["--metric", options.metric]
    if options.threshold is not None:
        words += ["--threshold-value", f"{options.threshold:g}"]
    if options.share != CompareOptions().share:
        words += ["--threshold", f"{options.share:g}"]
    for key in options.split:
        words += ["--split", key]
    if options.baseline is not None:
        words += ["--baseline", options.baseline]
    for entry in options.bounds:
        words += ["--bounds", f"{entry.pattern}={entry.low:g}:{entry.high:g}"]
    if options.published is not None:
        words += ["--published", str(options.published)]
    return words


def _training(runs: Sequence[Run]) -> dict[str, str]:
    """Write the command of a method's runs, and a remark where it is not sure to be the same run."""
    config, seeds = runs[0].config, [run.seed for run in runs]
    if not config:
        return {"text": "", "remark": "No config.yaml, so the command is unknown."}
    try:
        given, unknown = _overrides(runs[0].algo, config)
    except UserError as error:
        return {"text": "", "remark": f"This version of pompc does not know it ({error}). Its options: {runs[0].path}/config.yaml"}
    seed = f"seed={seeds[0]}"
    command = shlex.join(["pompc", "run", "--algo", runs[0].algo, "--env", _env(config), *given])
    text = f"{command} {seed}" if len(seeds) == 1 else f"for seed in {' '.join(map(str, seeds))}; do {command} seed=$seed; done"
    remark = f"Not options of this version of pompc, so not in the command: {', '.join(unknown)}." if unknown else ""
    return {"text": text, "remark": remark}


def _env(config: Mapping[str, Any]) -> str:
    """Name an environment as on the command line: ``dmc/cup-catch``."""
    family = config["env.name"]
    argument = ENVIRONMENTS[family].argument
    return family if argument is None else f"{family}/{config[f'env.{argument}']}"


def _overrides(algo: str, config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Find the ``key=value`` texts that lead from the defaults to a configuration, and its options without a default.

    Raises:
        UserError: there is no such algorithm or environment.
    """
    defaults = _defaults(algo, _env(config))
    argument = f"env.{ENVIRONMENTS[config['env.name']].argument}"
    asked = {key: _text(value) for key, value in config.items() if key not in (*OWN, argument)}
    given = [f"{key}={text}" for key, text in asked.items() if key in defaults and text != defaults[key]]
    return given, [key for key in asked if key not in defaults]


@cache
def _defaults(algo: str, env: str) -> dict[str, str]:
    """Write the default of every option as on the command line."""
    values = flatten(compose(algo, env))
    return {key: _text(value) for key, value in values if not isinstance(value, Mapping)}


def _text(value: Any) -> str:
    """Write a value as on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple | list):
        return f"[{','.join(map(_text, value))}]"
    return str(value)
