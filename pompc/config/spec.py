"""A configuration, resolved once: typed and frozen, for a run, an evaluation or a conversion."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pompc.config.compose import compose, with_overrides
from pompc.config.layout import section_of
from pompc.config.run_options import RunConfig
from pompc.config.schema import build, group
from pompc.errors import UserError
from pompc.registry import ALGORITHMS, ENVIRONMENTS, environment_label

UNHASHED = (
    "steps",
    "seed",
    "run_dir",
    "device",
    "threads",
    "checkpoint",
    "wandb",
    "tensorboard",
    "eval.video",
    "eval.at_start",
)
"""Keys that change neither what a step computes nor what an evaluation measures.

``steps`` is among them so that a longer run continues the shorter one, ``device`` and ``threads`` because a run may move
to another machine (where rounding may differ), ``seed`` because the directory's name has it: runs that differ in the seed
alone share their hash. An environment's registry entry names its own."""


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Everything that a configuration says, made by :func:`resolve`.

    Attributes:
        algorithm: name of the algorithm.
        algorithm_config: its options.
        environment: name of the environment family.
        environment_config: its options.
        label: of the environment, safe in file names: ``dmc-cartpole-swingup``.
        files: the files that the environment reads, by their key in the ``env`` node; see ``EnvironmentFamily``.
        options: of every run.
        values: everything as plain containers, as in ``config.yaml`` and checkpoints.
        config_hash: eight hex digits of everything that decides a run's results but its seed and length; see ``UNHASHED``.
        directory: where the run writes. The same command has the same directory, so that it resumes where it stopped.
    """

    algorithm: str
    algorithm_config: Any
    environment: str
    environment_config: Any
    label: str
    files: Mapping[str, Path]
    options: RunConfig
    values: Mapping[str, Any]
    config_hash: str
    directory: Path

    @property
    def identity(self) -> dict[str, Any]:
        """The entries that tell this run from all others."""
        return {
            "algo": self.algorithm,
            "env": self.label,
            "seed": self.options.seed,
            "config_hash": self.config_hash,
        }

    def to_yaml(self) -> str:
        """Write the values as YAML text."""
        return OmegaConf.to_yaml(OmegaConf.create(dict(self.values)))

    def changed(self, overrides: Sequence[str]) -> RunSpec:
        """Apply ``key=value`` texts and resolve again.

        Raises:
            UserError: an unknown key, a wrong type, a value out of range.
        """
        return resolve(with_overrides(self.values, overrides))


def configure(algo: str, env: str, overrides: Sequence[str] = (), preset: str | None = None) -> RunSpec:
    """Compose and resolve; arguments and errors as :func:`pompc.config.compose.compose`."""
    return resolve(compose(algo, env, overrides, preset))


def resolve(values: Mapping[str, Any], *, fit_num_envs: bool = False) -> RunSpec:
    """Resolve the values of a configuration. Imports the algorithm and the environment, and so torch.

    The environment's files get absolute paths, so that they mean the same in every folder. Options that follow the
    environment get the values that they stand for there.

    Args:
        values: as :func:`pompc.config.compose.compose` makes them.
        fit_num_envs: take no more environments than the family offers (CARLA: one per server).

    Raises:
        UserError: a wrong value, or a file that cannot be read.
    """
    algorithm, family = values["algo"]["name"], values["env"]["name"]
    environment, values = _with_absolute_files(_with_absolute_sources(values))
    most = getattr(environment, "max_envs", None)
    if fit_num_envs and most is not None and values["num_envs"] > most:
        values = with_overrides(values, [f"num_envs={most}"])
    config, values = _following_environment(values, family, environment)
    options = _run_config(values)
    paths = _files(values)
    label, code = environment_label(values["env"]), hash_values(values, paths)
    directory = Path("runs", algorithm, label, f"seed{options.seed}-{code}")
    return RunSpec(
        algorithm=algorithm,
        algorithm_config=config,
        environment=family,
        environment_config=environment,
        label=label,
        files=paths,
        options=options,
        values=values,
        config_hash=code,
        directory=directory if options.run_dir is None else Path(options.run_dir).expanduser(),
    )


def _algorithm_config(values: Mapping[str, Any]) -> Any:
    return _config("algo", ALGORITHMS.resolve(values["algo"]["name"]).Config, values)


def _environment_config(values: Mapping[str, Any]) -> Any:
    return _config("env", ENVIRONMENTS.resolve(values["env"]["name"]).Config, values)


def _config(node: str, cls: type, values: Mapping[str, Any]) -> Any:
    return build(cls, section_of(values, node, group(cls)), node)


def _run_config(values: Mapping[str, Any]) -> RunConfig:
    return build(RunConfig, {key: values[key] for key in group(RunConfig).options})


def _files(values: Mapping[str, Any]) -> dict[str, Path]:
    node = values["env"]
    finders = getattr(ENVIRONMENTS.resolve(node["name"]).Config, "files", {})
    return {key: find(node[key]) for key, find in finders.items() if isinstance(node[key], str)}


def _with_absolute_files(values: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Name the files that the environment reads by absolute paths; return its config and a copy of the values."""
    node = dict(values["env"])
    for key, path in _files(values).items():
        if Path(node[key]).expanduser() == path:  # not the name of a file that comes with the family
            node[key] = str(path.resolve())
    changed = {**values, "env": node}
    return _environment_config(changed), changed


def _with_absolute_sources(values: Mapping[str, Any]) -> dict[str, Any]:
    """Name the weights to begin with and the dataset by absolute paths, so that they mean the same in every folder."""
    changed = {"data": values.get("data"), "finetune": dict(values.get("finetune", {}))}
    for node, key in ((changed, "data"), (changed["finetune"], "source")):
        if node.get(key) is not None:
            node[key] = str(Path(node[key]).expanduser().resolve())
    return {**values, **{key: node for key, node in changed.items() if key in values}}


def _following_environment(values: dict[str, Any], family: str, environment: Any) -> tuple[Any, dict[str, Any]]:
    """Resolve the options that follow the environment; return the algorithm's config and the values.

    The config says which: ``following(terminates) -> {option: value}``, if it has such a method. An environment that
    cannot be built leaves them as they are: the run says why.
    """
    config = _algorithm_config(values)
    follow = getattr(config, "following", None)
    if follow is None:
        return config, values
    try:
        terminates = ENVIRONMENTS.resolve(family)(environment).terminates
    except UserError:
        return config, values
    changed = {**values, "algo": {**values["algo"], **follow(terminates)}}
    return _algorithm_config(changed), changed


def hash_values(values: Mapping[str, Any], paths: Mapping[str, Path]) -> str:
    """Hash a configuration as :attr:`RunSpec.config_hash`.

    Args:
        values: as in :attr:`RunSpec.values`, or those of an older checkpoint.
        paths: the files that the environment reads; they count by their content, wherever they lie.
    """
    contents = {key: _digest(f"env.{key}", path) for key, path in paths.items()}
    family = values["env"]["name"]
    left_out = {*UNHASHED, *(f"env.{key}" for key in ENVIRONMENTS[family].unhashed)}
    counted = dict(_without({**values, "env": {**values["env"], **contents}}, left_out))
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:8]


def _without(values: Mapping[str, Any], keys: set[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Drop keys from nested values."""
    for name, value in values.items():
        key = f"{prefix}{name}"
        if key not in keys:
            yield name, dict(_without(value, keys, f"{key}.")) if isinstance(value, Mapping) else value


def _digest(key: str, path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{key}: cannot read {path}: {error.strerror}") from error
