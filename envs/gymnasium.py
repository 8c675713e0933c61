"""Any gymnasium environment with a continuous action, by its id."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import DtypeObservation, FlattenObservation, RescaleAction, TransformAction

from pompc.environment import EnvironmentFamily
from pompc.errors import UserError


@dataclass(frozen=True, kw_only=True)
class GymnasiumConfig:
    """Options of a gymnasium environment.

    Attributes:
        id: a registered id such as ``Pendulum-v1``, or ``my_package:MyEnv-v0``, which imports ``my_package`` first.
        kwargs: keyword arguments for ``gymnasium.make``.
    """

    id: str = "Pendulum-v1"
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "render_mode" in self.kwargs:
            raise UserError("env.kwargs has a render_mode, which is set where a video is made: leave it out")


class Gymnasium(EnvironmentFamily):
    """A registered environment with a bounded Box action, rescaled to [-1, 1], and a flat float32 observation.

    Box, Dict and Tuple observations are flattened. Gymnasium has no notion of success or cost: there are no info keys.
    """

    Config = GymnasiumConfig
    terminates = None  # another package's environment says nothing of it

    def make(self, *, render_mode: str | None = None) -> gymnasium.Env:
        """One environment with the time limit it was registered with.

        Raises:
            UserError: the id is unknown, its package or its simulator is missing, its action is no bounded Box, or it does
                not take the keyword arguments.
        """
        env = _float32(_registered(self.config, render_mode), self.config.id)
        bound = np.ones(env.action_space.shape or (), np.float32)
        return RescaleAction(env, -bound, bound)


def _registered(config: GymnasiumConfig, render_mode: str | None) -> gymnasium.Env:
    rendering = {} if render_mode is None else {"render_mode": render_mode}  # not every environment knows the argument
    try:
        return gymnasium.make(config.id, **rendering, **config.kwargs)
    except TypeError as error:
        if not config.kwargs:
            raise
        raise UserError(
            f"{config.id} does not take env.kwargs={config.kwargs}: {str(error).splitlines()[0]}"
        ) from error
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise UserError(f"{config.id} cannot be imported: {str(error).splitlines()[0]}") from error
    except gymnasium.error.Error as error:
        near = difflib.get_close_matches(config.id, list(gymnasium.registry), n=3, cutoff=0.5)
        hint = f": did you mean {', '.join(near)}?" if near else "; `gymnasium.registry` lists the known ids"
        raise UserError(f"gymnasium has no environment {config.id}{hint}") from error


def _float32(env: gymnasium.Env, name: str) -> gymnasium.Env:
    """Flat float32 observations and actions; a UserError where the action is not a bounded float Box."""
    space = env.action_space
    if not isinstance(space, spaces.Box) or space.dtype.kind != "f" or len(space.shape) != 1:
        raise UserError(f"{name} has the action space {space}: only continuous, flat (float Box) actions are supported")
    if not space.is_bounded():
        raise UserError(f"{name} has unbounded actions ({space}): give it finite bounds to be scaled to [-1, 1]")
    if space.dtype != np.float32:
        narrow = spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32))
        env = TransformAction(env, lambda action: action.astype(space.dtype), narrow)
    if not isinstance(env.observation_space, spaces.Box) or len(env.observation_space.shape) != 1:
        env = FlattenObservation(env)
    return env if env.observation_space.dtype == np.float32 else DtypeObservation(env, np.float32)
