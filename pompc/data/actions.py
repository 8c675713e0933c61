"""Scale actions in [-1, 1] to the range of an environment."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium import spaces

from pompc.errors import UserError

UNLIMITED = 1e30  # a bound of this size, such as float32's largest number, means unbounded


def to_box(action: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Scale ``action [action]`` in [-1, 1] linearly to ``[low, high]``.

    -1 becomes ``low`` and 1 becomes ``high``; other values are clipped to [-1, 1] first. An entry with equal bounds takes
    their value, and no rounding leaves the bounds.

    Returns:
        A new array ``[action]`` in the type of the bounds.
    """
    start, span = low.astype(np.float64), high.astype(np.float64) - low.astype(np.float64)
    scaled = start + 0.5 * (np.clip(action, -1.0, 1.0).astype(np.float64) + 1.0) * span
    return np.clip(scaled.astype(low.dtype), low, high)


def from_box(action: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Invert :func:`to_box` for ``action [..., action]``: float32 in [-1, 1].

    An entry with equal bounds becomes 0. Entries of an unbounded box are taken as they are. All are clipped to [-1, 1].
    """
    low, high = low.astype(np.float64), high.astype(np.float64)
    bounded = (np.abs(low) < UNLIMITED) & (np.abs(high) < UNLIMITED)
    span = np.where(bounded & (high > low), high - low, 2.0)
    start = np.where(bounded, np.where(high > low, low, low - 1.0), -1.0)
    return np.clip(2.0 * (action.astype(np.float64) - start) / span - 1.0, -1.0, 1.0).astype(np.float32)


class UnitAction(gymnasium.ActionWrapper):
    """Let an environment take actions ``[action]`` in Box(-1, 1) float32, scaled by :func:`to_box`.

    Args:
        env: an environment with a flat, bounded float Box as action space.
        name: the environment's name in messages.

    Raises:
        UserError: the action is not continuous and flat, or the range of an entry cannot be scaled.
    """

    def __init__(self, env: gymnasium.Env, name: str) -> None:
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, spaces.Box) or space.dtype.kind != "f" or len(space.shape) != 1 or not space.shape[0]:
            raise UserError(
                f"{name} has the action space {space}: only continuous, flat (float Box) actions are supported"
            )
        self._low, self._high = space.low.copy(), space.high.copy()
        limit = min(UNLIMITED, float(np.finfo(space.dtype).max))
        for index, (low, high) in enumerate(zip(self._low.tolist(), self._high.tolist(), strict=True)):
            if fault := _fault(low, high, limit):
                raise UserError(
                    f"{name} has {fault} actions: entry {index} runs from {low:g} to {high:g}; give it finite bounds, low "
                    "below high, to be scaled to [-1, 1]"
                )
        self.action_space = spaces.Box(-1.0, 1.0, space.shape, np.float32)

    def action(self, action: np.ndarray) -> np.ndarray:
        """Scale ``[action]`` in [-1, 1] to the environment's bounds, in its type."""
        return to_box(action, self._low, self._high)


def _fault(low: float, high: float, limit: float) -> str:
    """Name the fault of an entry's range; empty if both bounds are smaller than ``limit`` and in order."""
    if not (abs(low) < limit and abs(high) < limit):  # nan fails every comparison
        return "unbounded"
    return "impossible" if low > high else ""
