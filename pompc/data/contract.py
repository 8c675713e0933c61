"""Check an environment's answers against gymnasium's interface."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import singledispatch
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from pompc.errors import UserError

OLD = "as gymnasium has it; the older interface, which returned fewer, is not supported"


class Contract(gymnasium.Wrapper):
    """Hold an environment to its spaces and to gymnasium's interface.

    An unambiguous deviation is corrected: lists instead of arrays, one number in an array as a reward, dimensions of size
    one in an observation, a ``reset`` without ``options``, no info. The environment's own errors pass through.

    Args:
        env: the environment.
        name: the environment's name in messages; by default its registered id or its class name.

    Raises:
        UserError: the environment has no observation or action space of gymnasium, or its ``reset`` takes no ``seed``. At a
            reset or a step: the answer breaks gymnasium's interface.
    """

    def __init__(self, env: gymnasium.Env, name: str | None = None) -> None:
        super().__init__(env)
        self._name = name or (env.unwrapped.spec.id if env.unwrapped.spec else type(env.unwrapped).__name__)
        for kind in ("observation_space", "action_space"):
            space = getattr(env, kind, None)
            if not isinstance(space, spaces.Space):
                has = "no" if space is None else f"{space!r}, no space of gymnasium, as"
                raise UserError(f"{self._name} has {has} {kind}: set self.{kind} to a gymnasium.spaces.Box in __init__")
        parameters = inspect.signature(env.reset).parameters
        self._takes_anything = any(one.kind == one.VAR_KEYWORD for one in parameters.values())
        self._takes_options = "options" in parameters
        if "seed" not in parameters and not self._takes_anything:
            raise self._no_keyword(env, "seed")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; ``options`` are passed on if the environment takes them."""
        given = {"options": options} if self._takes_options or (options and self._takes_anything) else {}
        try:
            answer = self.env.reset(seed=seed, **given)
        except TypeError as error:  # of a wrapped environment, which may have another signature
            for layer in _layers(self.env):
                for keyword in ("seed", "options"):
                    refused = f"{type(layer).reset.__qualname__}() got an unexpected keyword argument '{keyword}'"
                    if str(error) == refused:
                        raise self._no_keyword(layer, keyword) from error
            raise
        if not isinstance(answer, tuple | list) or len(answer) != 2 or not _is_info(answer[1]):
            raise UserError(
                f"{self._name}: reset() returned {_described(answer)}: return (observation, info), info a dict, {OLD}"
            )
        observation, info = answer
        return self._observation(observation, "reset"), {} if info is None else info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Make one step."""
        answer = self.env.step(action)
        if not isinstance(answer, tuple | list) or len(answer) != 5 or not _is_info(answer[4]):
            raise UserError(
                f"{self._name}: step() returned {_described(answer)}: return (observation, reward, terminated, truncated, "
                f"info), info a dict, {OLD}"
            )
        observation, reward, terminated, truncated, info = answer
        return (
            self._observation(observation, "step"),
            self._number(reward, "reward", "float(reward), or the sum of its parts"),
            self._flag(terminated, "terminated"),
            self._flag(truncated, "truncated"),
            {} if info is None else info,
        )

    def _observation(self, observation: Any, method: str) -> Any:
        try:
            return conformed(self.observation_space, observation, "observation")
        except Mismatch as error:
            raise UserError(f"{self._name}: {method}() returned an {error}") from error

    def _flag(self, value: Any, what: str) -> bool:
        return (
            value if isinstance(value, bool) else bool(value is not None and self._number(value, what, "True or False"))
        )

    def _number(self, value: Any, what: str, instead: str) -> float:
        if isinstance(value, float):
            return value
        try:
            array = np.asarray(value)
            if array.size == 1 and array.dtype.kind not in "USc":
                return float(array.item())
        except (TypeError, ValueError):  # a ragged list, an object that is no number
            pass
        raise UserError(
            f"{self._name}: step() returned {_described(value)} as {what}, not one number: return {instead}"
        )

    def _no_keyword(self, layer: gymnasium.Env, keyword: str) -> UserError:
        return UserError(
            f"{self._name}: reset() of {type(layer).__name__} takes no {keyword}: write "
            "`def reset(self, *, seed=None, options=None)` and begin with `super().reset(seed=seed)`"
        )


class Mismatch(ValueError):
    """An observation does not fit its space; the message begins with the place in the observation."""


@singledispatch
def conformed(space: spaces.Space, value: Any, where: str) -> Any:
    """Convert ``value`` to an element of ``space``, in its shape and type.

    Args:
        space: Box, Discrete, MultiBinary, MultiDiscrete, Dict or Tuple; values of other spaces stay as they are.
        value: the observation that an environment returned.
        where: the place in the observation, in words.

    Raises:
        Mismatch: the value cannot be converted.
    """
    return value


@conformed.register(spaces.Box)
@conformed.register(spaces.MultiBinary)
def _array(space: spaces.Box | spaces.MultiBinary | spaces.MultiDiscrete, value: Any, where: str) -> np.ndarray:
    array, shape = _numbers(value, space, where), space.shape
    if array.shape != shape:
        if [size for size in array.shape if size != 1] != [size for size in shape if size != 1]:
            raise Mismatch(f"{where} of shape {array.shape}, but its space has {shape}: make the two agree")
        array = array.reshape(shape)
    if array.dtype == space.dtype:
        return array
    with np.errstate(invalid="ignore", over="ignore"):  # the collector names numbers that are not finite
        cast = array.astype(space.dtype)
    if cast.dtype.kind != "f" and not np.array_equal(cast, array):
        raise Mismatch(
            f"{where} of {array.dtype} with values that its space's {space.dtype} cannot hold: make the two agree"
        )
    return cast


@conformed.register(spaces.MultiDiscrete)
def _integers(space: spaces.MultiDiscrete, value: Any, where: str) -> np.ndarray:
    array = _array(space, value, where)
    if not space.contains(array):
        raise Mismatch(f"{where} {array.tolist()}, which is not in its space {space}: make the two agree")
    return array


@conformed.register(spaces.Discrete)
def _integer(space: spaces.Discrete, value: Any, where: str) -> int:
    array = _numbers(value, space, where)
    last = space.start + space.n - 1
    if array.size != 1 or array.dtype.kind not in "biu" or not space.start <= array.item() <= last:
        raise Mismatch(f"{where} of {_described(value)}, but its space has the integers {space.start} to {last}")
    return int(array.item())


@conformed.register(spaces.Dict)
def _mapping(space: spaces.Dict, value: Any, where: str) -> dict[str, Any]:
    missing = [key for key in space.spaces if not isinstance(value, Mapping) or key not in value]
    if missing:
        raise Mismatch(f"{where} without {', '.join(map(repr, missing))}, which its space has: {_described(value)}")
    return {key: conformed(part, value[key], f"{where}[{key!r}]") for key, part in space.spaces.items()}


@conformed.register(spaces.Tuple)
def _tuple(space: spaces.Tuple, value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list) or len(value) != len(space.spaces):
        raise Mismatch(f"{where} that is no tuple of {len(space.spaces)}, as its space: {_described(value)}")
    parts = zip(space.spaces, value, strict=True)
    return tuple(conformed(part, one, f"{where}[{index}]") for index, (part, one) in enumerate(parts))


def _numbers(value: Any, space: spaces.Space, where: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:  # a ragged list
        raise Mismatch(f"{where} that is no array, but its space is {space}: {_described(value)}") from error
    if array.dtype.kind not in "biuf":
        raise Mismatch(f"{where} that is not of numbers, but its space is {space}: {_described(value)}")
    return array


def _described(value: Any) -> str:
    """Describe a value in a few words: its type, and its shape or length."""
    kind = type(value).__name__
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{kind} of shape {tuple(value.shape)} and type {value.dtype}"
    if isinstance(value, tuple | list):
        return f"{kind} of {len(value)}"
    if isinstance(value, Mapping):
        return f"{kind} with {', '.join(map(repr, value)) or 'no key'}"
    return f"{kind} {value!r:.40}"


def _is_info(value: Any) -> bool:
    return value is None or isinstance(value, Mapping)


def _layers(env: gymnasium.Env) -> Iterator[gymnasium.Env]:
    """Yield the layers of a stack of wrappers, from the outside to the environment itself."""
    yield env
    while isinstance(env, gymnasium.Wrapper):
        env = env.env
        yield env
