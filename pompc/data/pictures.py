"""Convert pictures of any size and layout for the image encoder."""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch.nn import functional

SIZE = 64  # pixels of a side for the encoder
LEAST = 16  # pixels of the shorter side; a smaller array is a board or a table


def picture_axes(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Find the axes of height and width in a picture's ``shape``: the two largest neighbours.

    Shapes are ``[height, width]``, ``[height, width, channel]`` or ``[channel, height, width]``, each with an optional
    stack of frames before or after it.

    Returns:
        The axes, or ``None`` if they are too small for a picture.
    """
    pairs = [(axis, axis + 1) for axis in range(len(shape) - 1)]
    best = max(pairs, key=lambda pair: min(shape[pair[0]], shape[pair[1]]), default=None)
    return None if best is None or min(shape[best[0]], shape[best[1]]) < LEAST else best


def is_picture(space: gymnasium.Space) -> bool:
    """Tell whether observations are uint8 pictures with values from 0 to 255."""
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8 or picture_axes(space.shape) is None:
        return False
    return bool((space.low == 0).all() and (space.high == 255).all())


class EncoderPicture(gymnasium.ObservationWrapper):
    """Observe the pictures of an environment as ``[channel, 64, 64]`` uint8: scaled, channels and stacked frames first.

    Args:
        env: an environment that observes pictures (:func:`is_picture`).
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        shape = env.observation_space.shape
        assert shape is not None
        axes = picture_axes(shape)
        assert axes is not None, f"{shape} is no picture"
        self._order = (*(axis for axis in range(len(shape)) if axis not in axes), *axes)
        self._size = tuple(shape[axis] for axis in axes)
        channels = int(np.prod(shape)) // (self._size[0] * self._size[1])
        self.observation_space = spaces.Box(0, 255, (channels, SIZE, SIZE), np.uint8)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """Convert one picture in the environment's layout to ``[channel, 64, 64]``."""
        picture = np.ascontiguousarray(observation.transpose(self._order)).reshape(-1, *self._size)
        if self._size == (SIZE, SIZE):
            return picture
        scaled = functional.interpolate(torch.from_numpy(picture)[None], (SIZE, SIZE), mode="bilinear", antialias=True)
        return scaled[0].numpy()
