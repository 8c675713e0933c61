"""The configuration of a run: the only module that knows Hydra.

Hydra composes the packaged ``configs/`` (``config.yaml``, one file per algorithm, environment and preset); overrides
are checked against what was composed, so that a wrong key or type is one line and no import of torch; ``build`` turns
the parts into the frozen dataclasses beside the classes they configure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pompc.config import overrides as texts
from pompc.config import schema
from pompc.config.run_options import CheckpointConfig, EvalConfig, RunConfig, WandbConfig
from pompc.errors import UserError
from pompc.registry import ALGORITHMS, ENVIRONMENTS, Registry, environment_label, nearest, parse_environment

__all__ = [
    "CheckpointConfig",
    "EvalConfig",
    "RunConfig",
    "WandbConfig",
    "algorithm_config",
    "build",
    "compose",
    "config_hash",
    "environment_config",
    "environment_files",
    "fit_num_envs",
    "follow_family",
    "presets",
    "run_config",
    "run_directory",
    "to_yaml",
    "with_absolute_files",
    "with_overrides",
]

T = TypeVar("T")

# Fields of an algorithm's dataclass that lie at the top and not in `algo`: the same keys for every algorithm.
SHARED = ("kl_weight", "virtual_ratio", "planner")
GROUPS = ("algo", "env", "preset")

# Keys that change neither what a step computes nor what an evaluation measures. `steps` is among them so that a longer
# run continues the shorter one, `device` and `threads` because a run may move to another machine (where rounding may
# differ), `seed` because the directory's name has it: runs that differ in the seed alone share their hash. An
# environment's registry entry names those of its own.
UNHASHED = ("steps", "seed", "run_dir", "device", "threads", "checkpoint", "wandb", "eval.video", "eval.at_start")


def compose(algo: str | None, env: str | None, overrides: Sequence[str] = (), preset: str | None = None) -> DictConfig:
    """The whole configuration of a run; torch is not imported.

    Args:
        algo: name of an algorithm.
        env: name of an environment as on the command line (``dmc/cartpole-swingup``).
        overrides: ``key=value`` texts; ``algo=``, ``env=`` and ``preset=`` replace the arguments of that name.
        preset: name of a file in ``configs/preset``.

    Raises:
        UserError: a wrong name, an unknown key (with the nearest one), a wrong type, a value out of range.
    """
    chosen = {"algo": algo, "env": env, "preset": preset}
    values = []
    for text in overrides:
        key, value = texts.split(text)
        if key in GROUPS:
            chosen[key] = value.strip()
        else:
            values.append(text)
    for key, registry in (("algo", ALGORITHMS), ("env", ENVIRONMENTS)):
        if not chosen[key]:
            raise UserError(f"no {registry.kind} given: add --{key} NAME; there are: {', '.join(registry)}")
    family, arguments = parse_environment(str(chosen["env"]))
    cfg = _compose_groups(str(chosen["algo"]), family, chosen["preset"])
    for key, value in arguments.items():
        cfg.env[key] = value
    cfg = with_overrides(cfg, values)
    run_config(cfg)
    return cfg


def with_overrides(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """A copy of a configuration with ``key=value`` texts applied, checked as ``compose`` does."""
    fixed = {*GROUPS, "algo.name", "env.name"} & {texts.split(text)[0] for text in overrides}
    if fixed:
        raise UserError(f"{min(fixed)} cannot be changed here: --algo and --env of `pompc run` choose it")
    values = OmegaConf.to_container(cfg)
    texts.apply(values, overrides)  # type: ignore[arg-type]
    changed = OmegaConf.create(values)
    try:
        OmegaConf.resolve(changed)
    except OmegaConfBaseException as error:
        raise UserError(_first_line(error)) from None
    missing = sorted(OmegaConf.missing_keys(changed))
    if missing:
        raise UserError(f"{missing[0]} has no value: give {missing[0]}=...")
    OmegaConf.set_struct(changed, True)
    return changed  # type: ignore[return-value]


def fit_num_envs(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """A copy with no more environments than the family offers (CARLA: one per server), unless an override says how many.

    Imports the family, and so torch.
    """
    most = getattr(environment_config(cfg), "max_envs", None)
    if most is None or cfg.num_envs <= most or "num_envs" in {texts.split(text)[0] for text in overrides}:
        return cfg
    return with_overrides(cfg, [f"num_envs={most}"])


def follow_family(cfg: DictConfig) -> DictConfig:
    """A copy in which the options that follow the environment have the values that they stand for.

    An algorithm's config says which: ``following(terminates) -> {option: value}``, where it has such a method. Imports the
    family, and so torch. What cannot be built here leaves the configuration as it is: the run says why.
    """
    try:
        follow = getattr(algorithm_config(cfg), "following", None)
        if follow is None:
            return cfg
        family = ENVIRONMENTS.resolve(cfg.env.name)(environment_config(cfg))
    except UserError:
        return cfg
    values = follow(family.terminates)
    return with_overrides(cfg, [f"algo.{key}={json.dumps(value)}" for key, value in values.items()])


def build(cls: type[T], node: DictConfig | Mapping[str, Any], prefix: str = "", top: Collection[str] = ()) -> T:
    """A node of the configuration -> its typed, frozen dataclass; see ``schema.build``."""
    values = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node
    return schema.build(cls, values, prefix, top)  # type: ignore[arg-type]


def run_config(cfg: DictConfig) -> RunConfig:
    """The part of a configuration that is the same for every algorithm and environment."""
    return build(RunConfig, {key: value for key, value in _plain(cfg).items() if key not in ("algo", "env", *SHARED)})


def algorithm_config(cfg: DictConfig) -> Any:
    """The config dataclass of the chosen algorithm: the ``algo`` node with the dials and the planner it has."""
    values = _plain(cfg)
    node = values["algo"] | {key: values[key] for key in SHARED if key in values}
    return build(ALGORITHMS.resolve(node.pop("name")).Config, node, "algo", SHARED)


def environment_config(cfg: DictConfig) -> Any:
    """The config dataclass of the chosen environment family: the ``env`` node."""
    node = _plain(cfg)["env"]
    return build(ENVIRONMENTS.resolve(node.pop("name")).Config, node, "env")


def environment_files(cfg: DictConfig) -> dict[str, Path]:
    """The files that the environment reads, by their key in the ``env`` node; see ``EnvironmentFamily``."""
    node = _plain(cfg)["env"]
    finders = getattr(ENVIRONMENTS.resolve(node["name"]).Config, "files", {})
    return {key: find(node[key]) for key, find in finders.items() if isinstance(node[key], str)}


def with_absolute_files(cfg: DictConfig) -> DictConfig:
    """A copy whose environment names its files by absolute paths, so that it means the same in every folder.

    Imports the family, and so torch.
    """
    files = environment_files(cfg)
    cfg = cfg.copy()
    for key, path in files.items():
        if Path(cfg.env[key]).expanduser() == path:  # and not the name of a file that comes with the family
            cfg.env[key] = str(path.resolve())
    return cfg


def config_hash(cfg: DictConfig) -> str:
    """Eight hex digits of everything that decides a run's results but its seed and length; see ``UNHASHED``.

    A file that the environment reads counts with what is in it, wherever it lies. Imports the family, and so torch.

    Raises:
        UserError: such a file cannot be read.
    """
    values = _plain(cfg)
    values["env"].update({key: _digest(f"env.{key}", path) for key, path in environment_files(cfg).items()})
    own = (f"env.{key}" for key in ENVIRONMENTS[values["env"]["name"]].unhashed)
    for key in (*UNHASHED, *own):
        *path, last = key.split(".")
        node = values
        for part in path:
            node = node[part]
        node.pop(last, None)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def run_directory(cfg: DictConfig) -> Path:
    """Where the run writes: the same command has the same directory, so that it resumes where it stopped."""
    if cfg.run_dir is not None:
        return Path(cfg.run_dir).expanduser()
    return Path("runs", cfg.algo.name, environment_label(cfg.env), f"seed{cfg.seed}-{config_hash(cfg)}")


def to_yaml(cfg: DictConfig) -> str:
    """The configuration as YAML text."""
    return OmegaConf.to_yaml(cfg)


def presets() -> list[str]:
    """Names of the presets."""
    return sorted(path.stem for path in (_directory() / "preset").glob("*.yaml"))


def _digest(key: str, path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{key}: cannot read {path}: {error.strerror}") from error


def _directory() -> Path:
    return Path(str(files("pompc.configs")))


def _plain(cfg: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _compose_groups(algo: str, family: str, preset: str | None) -> DictConfig:
    """Hydra's part: the defaults list of ``config.yaml`` with the chosen algorithm, environment and preset."""
    if preset is not None and preset not in presets():
        near = nearest(preset, presets())
        hint = f"did you mean {near!r}? " if near else ""
        raise UserError(f"unknown preset {preset!r}; {hint}there are: {', '.join(presets())}")
    _store_external("algo", ALGORITHMS, algo)
    _store_external("env", ENVIRONMENTS, family)
    choices = [f"algo={algo}", f"env={family}"] + ([f"preset={preset}"] if preset else [])
    with hydra.initialize_config_dir(str(_directory()), version_base="1.3"):
        try:
            return hydra.compose("config", choices)
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(f"cannot compose {' '.join(choices)}: {_first_line(error)}") from error


def _store_external(group: str, registry: Registry, name: str) -> None:
    """Give Hydra a node for a name that has no yaml here: the defaults of its dataclass."""
    if registry[name] is registry.builtin.get(name):
        return
    node = schema.defaults(registry.resolve(name).Config)
    shared = {key: node.pop(key) for key in SHARED if group == "algo" and key in node}
    node = {group: {"name": name, **node}, **shared}
    ConfigStore.instance().store(name, node, group=group, package="_global_", provider=registry[name].target)
