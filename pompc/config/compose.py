"""Compose the values of a configuration from names and ``key=value`` texts. Torch-free.

This module and :mod:`pompc.config.dimensions` are the only ones that know Hydra.

The dataclasses give every option its default. Hydra lays the packaged ``configs/`` over them, which hold what differs (one
file per algorithm, environment and preset that has any); the overrides come last.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pompc.config import overrides as texts
from pompc.config.kinds import Group
from pompc.config.layout import layout
from pompc.config.run_options import RunConfig
from pompc.config.schema import build, group
from pompc.config.values import plain
from pompc.errors import UserError
from pompc.registry import ALGORITHMS, ENVIRONMENTS, Registry, nearest, parse_environment

GROUPS = ("algo", "env", "preset")


def compose(
    algo: str | None, env: str | None, overrides: Sequence[str] = (), preset: str | None = None
) -> dict[str, Any]:
    """Compose the values of a whole configuration, and check their types and ranges.

    Args:
        algo: name of an algorithm.
        env: name of an environment as on the command line (``dmc/cartpole-swingup``).
        overrides: ``key=value`` texts; ``algo=``, ``env=`` and ``preset=`` replace the arguments of that name.
        preset: name of a file in ``configs/preset``.

    Raises:
        UserError: a wrong name, an unknown key (with the nearest one), a wrong type, a value out of range.
    """
    return _composed(algo, env, overrides, preset, {})


def compose_each(lines: Iterable[Sequence[str]]) -> Iterator[dict[str, Any]]:
    """Compose a configuration per line of ``key=value`` texts, which name the algorithm and the environment too.

    Lines with the same names share Hydra's part, which takes most of the time. Checks and errors as :func:`compose`.
    """
    known: dict[tuple[str, str, str | None], dict[str, Any]] = {}
    for line in lines:
        yield _composed(None, None, line, None, known)


def _composed(
    algo: str | None,
    env: str | None,
    overrides: Sequence[str],
    preset: str | None,
    known: dict[tuple[str, str, str | None], dict[str, Any]],
) -> dict[str, Any]:
    """Compose as :func:`compose`; ``known`` keeps Hydra's part by algorithm, family and preset."""
    chosen = {"algo": algo, "env": env, "preset": preset}
    rest = []
    for text in overrides:
        key, value = texts.split(text)
        if key in GROUPS:
            chosen[key] = value.strip()
        else:
            rest.append(text)
    algo = _given(chosen["algo"], "algo", ALGORITHMS)
    ALGORITHMS[algo]  # a wrong algorithm is named before a missing environment
    family, arguments = parse_environment(_given(chosen["env"], "env", ENVIRONMENTS))
    options = layout(algo, family)
    parsed = _parsed(rest, options)
    names = (algo, family, chosen["preset"])
    if names not in known:
        known[names] = _compose_groups(options, *names)
    values = copy.deepcopy(known[names])
    values["env"] |= arguments
    return _with(values, parsed, options)


def with_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Apply ``key=value`` texts to a copy of the values of a configuration; checks and errors as :func:`compose`."""
    options = layout(values["algo"]["name"], values["env"]["name"])
    return _with(copy.deepcopy(dict(values)), _parsed(overrides, options), options)


def presets() -> list[str]:
    """List the names of the presets."""
    return sorted(path.stem for path in (_directory() / "preset").glob("*.yaml"))


def _given(name: str | None, key: str, registry: Registry) -> str:
    if not name:
        raise UserError(f"no {registry.kind} given: add --{key} NAME; there are: {', '.join(registry)}")
    return name


def _parsed(overrides: Sequence[str], options: Group) -> list[texts.Override]:
    fixed = {*GROUPS, "algo.name", "env.name"} & texts.keys(overrides)
    if fixed:
        raise UserError(f"{min(fixed)} cannot be changed here: --algo and --env of `pompc run` choose it")
    return texts.parse(overrides, options)


def _with(values: dict[str, Any], overrides: Sequence[texts.Override], options: Group) -> dict[str, Any]:
    texts.apply(values, overrides, options)
    try:
        resolved: Any = OmegaConf.to_container(OmegaConf.create(values), resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(_first_line(error)) from None
    checked = plain(options.read(resolved, ""))
    build(RunConfig, {key: checked[key] for key in group(RunConfig).options})  # for what its ranges do not say
    return checked


def _compose_groups(options: Group, algo: str, family: str, preset: str | None) -> dict[str, Any]:
    """Hydra's part: the defaults of the dataclasses, then the files of the algorithm, the environment and the preset."""
    if preset is not None and preset not in presets():
        near = nearest(preset, presets())
        hint = f"did you mean {near!r}? " if near else ""
        raise UserError(f"unknown preset {preset!r}; {hint}there are: {', '.join(presets())}")
    import hydra  # here, because it takes as long as everything else that an error message needs
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException

    store = ConfigStore.instance()
    store.store("dataclasses", options.defaults(), provider="pompc")
    _store_setting(store, algo)
    choices = [f"algo={algo}", f"env={family}"] + ([f"preset={preset}"] if preset else [])
    with hydra.initialize_config_dir(str(_directory()), version_base="1.3"):
        try:
            return OmegaConf.to_container(hydra.compose("config", choices))  # type: ignore[return-value]
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(f"cannot compose {' '.join(choices)}: {_first_line(error)}") from error


def _store_setting(store: Any, algo: str) -> None:
    """Make a named setting a file of the group ``algo``, over the file of its algorithm if there is one."""
    entry = ALGORITHMS[algo]
    if entry.base is None:
        return
    base = [entry.base] if (_directory() / "algo" / f"{entry.base}.yaml").is_file() else []
    values = OmegaConf.create({"defaults": [*base, "_self_"]})
    for key, value in entry.settings.items():
        OmegaConf.update(values, key, value)
    store.store(algo, values, group="algo", package="_global_", provider="pompc")


def _directory() -> Path:
    return Path(str(files("pompc.configs")))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
