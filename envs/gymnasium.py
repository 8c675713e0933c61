"""Any gymnasium environment with a continuous action, by its id."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec, _find_spec, load_env_creator
from gymnasium.wrappers import DtypeObservation, FlattenObservation, TransformObservation

from pompc.config.options import Options
from pompc.data.actions import UnitAction
from pompc.data.contract import Contract
from pompc.data.pictures import EncoderPicture, is_picture, picture_axes
from pompc.environment import EnvironmentFamily
from pompc.errors import UserError

RESERVED = {
    "render_mode": "which is set to make a video",
    "id": "which is env.id",
}
# What to say of packages that are on no package index, or need more than one knows of.
HINTS = {
    "humanoid_bench": "HumanoidBench is not on the package index: install it from its repository",
}
# Errors with which constructors refuse, and errors of a wrong type in ``kwargs``. Other errors are bugs.
REFUSALS = (gymnasium.error.Error, ValueError, AssertionError, RuntimeError, OSError)
WRONG_VALUES = (TypeError, LookupError)


@dataclass(frozen=True, kw_only=True)
class GymnasiumConfig(Options):
    """Options of a gymnasium environment.

    Attributes:
        id: a registered id such as ``Pendulum-v1``, or ``my_package:MyEnv-v0``, which imports ``my_package`` first.
        kwargs: keyword arguments for ``gymnasium.make``; ``max_episode_steps`` is a time limit.
        pictures: observe uint8 pictures with values from 0 to 255, in any size, layout and stack of frames, as 64 x 64
            pixels for the image encoder of off-policy algorithms; otherwise as plain numbers, unscaled.
    """

    section = "env"

    id: str = "Pendulum-v1"
    kwargs: dict[str, Any] = field(default_factory=dict)
    pictures: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, why in RESERVED.items():
            if name in self.kwargs:
                raise UserError(f"env.kwargs has a {name}, {why}: leave it out")
        if self.id.count(":") > 1:
            raise UserError(
                f"env.id={self.id}: write it as MyEnv-v0, or with the package to import as my_package:MyEnv-v0"
            )


class Gymnasium(EnvironmentFamily):
    """A registered environment with a bounded Box action, rescaled to [-1, 1], and a flat float32 or picture observation.

    Box, Dict and Tuple observations are flattened, and discrete ones are one-hot. Gymnasium has no notion of success or
    cost: there are no info keys.
    """

    Config = GymnasiumConfig
    terminates = None  # unknown for an environment of another package

    def make(self, *, render_mode: str | None = None) -> gymnasium.Env:
        """Make one environment with its registered time limit.

        Raises:
            UserError: the id is unknown, its package or its simulator is missing, its constructor refuses the keyword
                arguments, its spaces are missing or not supported, or it does not keep to gymnasium's interface (also when
                it is reset or stepped, see :class:`~pompc.data.contract.Contract`).
        """
        env = _registered(self.config, render_mode)
        return UnitAction(_observed(env, self.config), self.config.id)


# -- making -----------------------------------------------------------------------------------------------------------


def _registered(config: GymnasiumConfig, render_mode: str | None) -> gymnasium.Env:
    with _refusals(config):
        spec = _spec(config.id)
        creator = spec.entry_point
        creator = _Creator(load_env_creator(creator) if isinstance(creator, str) else creator, config)
        # Not every environment knows the argument.
        rendering = {} if render_mode is None else {"render_mode": render_mode}
        return gymnasium.make(dataclasses.replace(spec, entry_point=creator), **rendering, **config.kwargs)


def _spec(id: str) -> EnvSpec:
    try:
        spec = _find_spec(id)
    except gymnasium.error.Error as error:
        near = difflib.get_close_matches(id, list(gymnasium.registry), n=3, cutoff=0.5)
        hint = f": did you mean {', '.join(near)}?" if near else "; `gymnasium.registry` lists the known ids"
        raise UserError(f"gymnasium has no environment {id}{hint}") from error
    if spec.entry_point is None:
        raise UserError(f"{id} is registered without an entry_point: there is nothing to make one environment of")
    return spec


class _Creator:
    """Call an environment's constructor: check the arguments against its signature, wrap the result in a Contract."""

    def __init__(self, constructor: Callable[..., Any], config: GymnasiumConfig) -> None:
        self._constructor, self._config = constructor, config
        if hasattr(constructor, "metadata"):  # gymnasium reads the render modes there
            self.metadata = constructor.metadata

    def __call__(self, **kwargs: Any) -> gymnasium.Env:
        self._require_taken(kwargs)
        with _refusals(self._config):
            env = self._constructor(**kwargs)
        if not isinstance(env, gymnasium.Env):
            kind = f"{type(env).__module__}.{type(env).__qualname__}"
            raise UserError(
                f"{self._config.id} makes a {kind}, no gymnasium.Env: derive it from that, not from the old gym"
            )
        return Contract(env, self._config.id)

    def _require_taken(self, kwargs: dict[str, Any]) -> None:
        try:
            signature = inspect.signature(self._constructor)
        except (TypeError, ValueError):  # not written in Python
            return
        try:
            signature.bind(**kwargs)
        except TypeError as error:
            id, given = self._config.id, self._config.kwargs
            without = {name: value for name, value in kwargs.items() if name != "render_mode"}
            if without != kwargs and _binds(signature, without):
                raise UserError(f"{id} takes no render_mode, which a video needs: set eval.video=false") from error
            does = f"does not take env.kwargs={given}" if given else "needs env.kwargs"
            raise UserError(f"{id} {does}: {error}") from error


def _binds(signature: inspect.Signature, kwargs: dict[str, Any]) -> bool:
    try:
        signature.bind(**kwargs)
    except TypeError:
        return False
    return True


@contextmanager
def _refusals(config: GymnasiumConfig) -> Iterator[None]:
    """Turn the refusals of the block, which imports and makes an environment, into one line in their words."""
    try:
        yield
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        package = config.id.partition(":")[0]
        missing = find_spec(package) is None if package in HINTS else False
        said = HINTS[package] if missing else _line(error)
        raise UserError(f"{config.id} cannot be imported: {said}") from error
    except (*REFUSALS, *WRONG_VALUES) as error:
        if not config.kwargs and isinstance(error, WRONG_VALUES):
            raise
        given = f" with env.kwargs={config.kwargs}" if config.kwargs else ""
        raise UserError(f"{config.id} cannot be made{given}: {_line(error)} ({_origin(error)})") from error


def _origin(error: BaseException) -> str:
    """Name the innermost line that raised an error and does not belong to an installed package."""
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((frame for frame in reversed(frames) if "site-packages" not in frame.filename), frames[-1])
    return f"{type(error).__name__}, {Path(frame.filename).name}, line {frame.lineno}"


def _line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "no reason given")


# -- observing --------------------------------------------------------------------------------------------------------


def _observed(env: gymnasium.Env, config: GymnasiumConfig) -> gymnasium.Env:
    """Make observations flat float32, or a picture."""
    space = env.observation_space
    if isinstance(space, spaces.Dict) and len(space.spaces) == 1:
        ((key, space),) = space.spaces.items()
        env = TransformObservation(env, lambda observation: observation[key], space)
    for where, part in _parts(space, "observation"):
        if not _is_flat(part):
            raise UserError(
                f"{config.id}: {where} is a {part}, of no fixed size: only spaces that flatten are supported"
            )
    if config.pictures and is_picture(space):
        return EncoderPicture(env)
    if config.pictures:
        _warn_of_pictures(space, config.id)
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        env = FlattenObservation(env)
    return env if env.observation_space.dtype == np.float32 else DtypeObservation(env, np.float32)


def _parts(space: spaces.Space, where: str) -> Iterator[tuple[str, spaces.Space]]:
    """Yield the innermost spaces of nested Dict and Tuple spaces, each with its place in words."""
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from _parts(part, f"{where}[{key!r}]")
    elif isinstance(space, spaces.Tuple):
        for index, part in enumerate(space.spaces):
            yield from _parts(part, f"{where}[{index}]")
    else:
        yield where, space


def _is_flat(space: spaces.Space) -> bool:
    try:
        return space.is_np_flattenable
    except NotImplementedError:  # a space that the user wrote
        return False


def _warn_of_pictures(space: spaces.Space, id: str) -> None:
    """Warn of pictures that become plain numbers."""
    for where, part in _parts(space, "observation"):
        if isinstance(part, spaces.Box) and len(part.shape) > 2 and picture_axes(part.shape) is not None:
            warnings.warn(
                f"{id}: {where}, {part.shape} of {part.dtype}, becomes {math.prod(part.shape):,} plain numbers: to have it "
                "encoded as a picture observe it alone, as uint8 from 0 to 255; env.pictures=false says that it is meant so"
            )
