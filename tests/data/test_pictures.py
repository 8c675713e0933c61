"""Pictures in any layout are converted for the image encoder."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from pompc.data.pictures import EncoderPicture, is_picture


class Shows(gymnasium.Env):
    """Shows one picture."""

    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, picture):
        self.picture = picture
        self.observation_space = spaces.Box(0, 255, picture.shape, np.uint8)

    def reset(self, *, seed=None, options=None):
        return self.picture, {}


def shown(picture):
    env = EncoderPicture(Shows(picture))
    observation, _ = env.reset()
    assert env.observation_space.contains(observation)
    return observation


def halves(layout: str, height=96, width=84, channels=3, frames=4):
    """Make a picture in a layout such as ``shwc``: 40 * channel + 5 * frame in the upper half, 200 in the lower."""
    sizes = {"s": frames, "h": height, "w": width, "c": channels}
    index = np.indices([sizes[axis] for axis in layout])
    value = {axis: index[place] for place, axis in enumerate(layout)}
    top = 40 * value.get("c", 0) + 5 * value.get("s", 0)
    return np.where(value["h"] < height // 2, top, 200).astype(np.uint8)


@pytest.mark.parametrize("size", [(96, 84), (64, 64), (32, 40)])
@pytest.mark.parametrize(
    ("layout", "tops"),
    [
        ("hw", [0]),
        ("hwc", [0, 40, 80]),
        ("chw", [0, 40, 80]),
        ("shw", [0, 5, 10, 15]),
        ("shwc", [0, 40, 80, 5, 45, 85, 10, 50, 90, 15, 55, 95]),
        ("schw", [0, 40, 80, 5, 45, 85, 10, 50, 90, 15, 55, 95]),
    ],
)
def test_every_layout_keeps_its_channels_frames_and_orientation(layout, tops, size):
    picture = shown(halves(layout, *size))
    assert picture.shape == (len(tops), 64, 64)
    assert picture.dtype == np.uint8
    assert picture[:, :28].reshape(len(tops), -1).tolist() == [[top] * 28 * 64 for top in tops]
    assert (picture[:, 36:] == 200).all()


def test_a_single_channel_may_be_kept():
    assert np.array_equal(shown(halves("hwc", channels=1)), shown(halves("hw")))


def test_pictures_of_the_encoders_size_are_not_touched():
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.array_equal(shown(picture), picture.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 255, (7, 7, 3), np.uint8),  # a board
        spaces.Box(0, 255, (128,), np.uint8),  # a machine's memory
        spaces.Box(0, 1, (84, 84, 3), np.uint8),
        spaces.Box(0, 255, (84, 84, 3), np.float32),
        spaces.MultiBinary((84, 84)),
    ],
)
def test_other_observations_are_no_pictures(space):
    assert not is_picture(space)
