"""Cameras on the ego car of a CARLA server, read in step with its ticks."""

from __future__ import annotations

import queue
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .library import ServerFault


@dataclass(frozen=True, kw_only=True)
class View:
    """Place and optics of a camera on the car.

    Attributes:
        ahead: m before the car's centre.
        up: m above it.
        pitch: degrees, positive upwards.
        width: pixels.
        height: pixels.
        fov: horizontal field of view (degrees).
    """

    ahead: float
    up: float
    pitch: float
    width: int
    height: int
    fov: float


VIEWS = {
    "front": View(ahead=1.2, up=1.5, pitch=-6.0, width=64, height=64, fov=100.0),
    "chase": View(ahead=-7.0, up=3.0, pitch=-14.0, width=640, height=480, fov=90.0),
}


KEPT = 8  # pictures that wait to be read


Pictures = queue.SimpleQueue[tuple[int, NDArray[np.uint8]]]


def _keeper(pictures: Pictures) -> Callable[[Any], None]:
    """Make the function that a camera calls with every image.

    The function must not refer to the camera. The client drops the function on one of its own threads, and the process
    aborts if that thread releases the client's last object.
    """

    def keep(image: Any) -> None:
        pixels = np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4)
        pictures.put((image.frame, pixels[..., 2::-1].copy()))  # BGRA to RGB
        if pictures.qsize() > KEPT:
            with suppress(queue.Empty):
                pictures.get_nowait()

    return keep


class Camera:
    """An RGB camera whose pictures arrive on another thread.

    Args:
        sensor: a ``sensor.camera.rgb`` that nobody listens to yet.
    """

    def __init__(self, sensor: Any) -> None:
        self.sensor = sensor
        self._pictures: Pictures = queue.SimpleQueue()
        self._newest: tuple[int, NDArray[np.uint8]] = (-1, np.empty((0, 0, 3), np.uint8))
        sensor.listen(_keeper(self._pictures))

    @staticmethod
    def blueprint(library: Any, view: View) -> Any:
        """Make the blueprint of a view."""
        blueprint = library.find("sensor.camera.rgb")
        for name, value in (("image_size_x", view.width), ("image_size_y", view.height), ("fov", view.fov)):
            blueprint.set_attribute(name, str(value))
        return blueprint

    def works(self) -> bool:
        """Whether a picture has arrived."""
        return self._newest[0] >= 0 or not self._pictures.empty()

    def picture(self, frame: int, timeout: float) -> NDArray[np.uint8]:
        """Return the picture of a frame, ``[height, width, 3]``; older pictures are dropped.

        Raises:
            ServerFault: it did not arrive within ``timeout`` s.
        """
        while self._newest[0] < frame:
            try:
                self._newest = self._pictures.get(timeout=timeout)
            except queue.Empty:
                raise ServerFault(f"no picture of frame {frame} within {timeout:g} s") from None
        if self._newest[0] > frame:
            raise ServerFault(f"the picture of frame {frame} is lost")
        return self._newest[1]
