"""The racing scene from above: a camera that follows the car, a small map, the planner's fan and a few numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..track.track import Track
from .scenery import SUPERSAMPLING, Colour, View, bounds, draw_map, draw_scenery

Array = NDArray[np.floating]

VIEW_WIDTH = 78.0  # m of the plane across the picture
LOOK_AHEAD = 10.0  # m from the car to the middle of the picture
MARGIN = 34.0  # m of grass round the track; the camera stops there
EGO: Colour = (255, 205, 40)
OPPONENT: Colour = (186, 104, 255)
CHOSEN: Colour = (255, 250, 235)
WORST: Colour = (52, 98, 190, 46)
BEST: Colour = (64, 255, 214, 200)
UNRANKED = 0.75  # place between worst and best of a fan without weights
GLASS: Colour = (16, 20, 26, 190)


class Renderer:
    """Draws frames of a race on one track; the still part is drawn once.

    Args:
        track: the track.
        size: width and height of a frame in pixels.
        car_length: [m].
        car_width: [m].
    """

    def __init__(
        self, track: Track, size: tuple[int, int] = (960, 720), car_length: float = 4.5, car_width: float = 1.8
    ) -> None:
        self.size = size
        self.car_length, self.car_width = car_length, car_width
        self.scale = size[0] / VIEW_WIDTH
        left, bottom, right, top = bounds(track, MARGIN)
        self._world = View(left, top, self.scale)
        # At least one frame, so that the camera has a place.
        wanted = (self.scale * (right - left), self.scale * (top - bottom))
        whole = max(round(wanted[0]), size[0]), max(round(wanted[1]), size[1])
        self._scenery = draw_scenery(track, self._world, whole)
        self._map_view, self._map = self._little_map(track)
        self._map_corner = (size[0] - self._map.width - self._unit(14), self._unit(14))
        self._fonts = ImageFont.load_default(self._unit(13)), ImageFont.load_default(self._unit(24))

    def frame(
        self,
        ego: tuple[float, float, float],
        opponents: Array,
        fan: Array | None,
        chosen: Array | None,
        hud: Mapping[str, str],
        weights: Array | None = None,
    ) -> NDArray[np.uint8]:
        """Draw one picture.

        Args:
            ego: x, y [m] and yaw [rad] of the car.
            opponents: the same of the others, ``[n, 3]``.
            fan: sampled trajectories ``[k, time, 2]`` [m].
            chosen: the trajectory the planner took, ``[time, 2]`` [m].
            hud: captions and values, shown from left to right.
            weights: of the fan's trajectories ``[k]``, larger is better: they set colour and order.

        Returns:
            uint8 ``[height, width, 3]``.
        """
        x, y = self.camera(ego)
        box = (x, y, x + self.size[0], y + self.size[1])
        fine_size = (self.size[0] * SUPERSAMPLING, self.size[1] * SUPERSAMPLING)
        image = self._scenery.crop(box).resize(fine_size, Image.Resampling.NEAREST)
        view = View(self._world.left + x / self.scale, self._world.top - y / self.scale, self.scale * SUPERSAMPLING)
        draw = ImageDraw.Draw(image, "RGBA")
        if fan is not None:
            self._draw_fan(draw, view, fan, weights)
        if chosen is not None:
            self._draw_chosen(draw, view, chosen)
        for opponent in opponents:
            self._draw_car(draw, view, opponent, OPPONENT)
        self._draw_car(draw, view, np.asarray(ego), EGO)
        image = image.reduce(SUPERSAMPLING)
        self._draw_map(image, ego, opponents)
        self._draw_hud(image, hud)
        return np.array(image)

    def camera(self, ego: tuple[float, float, float]) -> tuple[int, int]:
        """Upper left corner of the frame in the still picture, in whole pixels so that nothing shimmers."""
        x, y, yaw = ego
        middle = self._world.pixels(x + LOOK_AHEAD * np.cos(yaw), y + LOOK_AHEAD * np.sin(yaw))
        corner = np.rint(middle - np.array(self.size) / 2).astype(int)
        room = np.array(self._scenery.size) - self.size
        left, top = np.clip(corner, 0, room).tolist()
        return left, top

    def pixel(self, ego: tuple[float, float, float], point: tuple[float, float]) -> tuple[float, float]:
        """Convert a point [m] of the plane to pixels, right and down, in the frame drawn for ``ego``."""
        right, down = (self._world.pixels(*point) - np.array(self.camera(ego))).tolist()
        return right, down

    def _unit(self, pixels: float) -> int:
        """A length given for a frame 960 pixels wide, in pixels of this one."""
        return max(round(pixels * self.size[0] / 960), 1)

    def _little_map(self, track: Track) -> tuple[View, Image.Image]:
        left, bottom, right, top = bounds(track, 7.0)
        scale = self._unit(228) / max(right - left, top - bottom)
        view = View(left, top, scale)
        return view, draw_map(track, view, (round(scale * (right - left)), round(scale * (top - bottom))))

    def _draw_fan(self, draw: ImageDraw.ImageDraw, view: View, fan: Array, weights: Array | None) -> None:
        """The samples as thin lines, the best last and brightest."""
        if weights is None:
            order, rank = np.arange(len(fan)), np.full(len(fan), UNRANKED)
        else:
            order, rank = np.argsort(weights), np.linspace(0.0, 1.0, len(fan))
        lines = view.pixels(fan[order, :, 0], fan[order, :, 1]).reshape(len(fan), -1)
        colours = np.rint(np.array(WORST) + rank[:, None] ** 2 * (np.array(BEST) - WORST)).astype(int)
        width = self._unit(1.0 * SUPERSAMPLING)
        for line, colour in zip(lines.tolist(), colours.tolist(), strict=True):
            draw.line(line, tuple(colour), width)

    def _draw_chosen(self, draw: ImageDraw.ImageDraw, view: View, chosen: Array) -> None:
        points = view.pixels(chosen[:, 0], chosen[:, 1])
        line = points.reshape(-1).tolist()
        draw.line(line, (20, 20, 24, 255), self._unit(7 * SUPERSAMPLING), joint="curve")
        draw.line(line, CHOSEN, self._unit(3.6 * SUPERSAMPLING), joint="curve")
        radius = self._unit(4.5 * SUPERSAMPLING)
        draw.circle(points[-1].tolist(), radius, CHOSEN, (20, 20, 24, 255), self._unit(1.6 * SUPERSAMPLING))

    def _draw_car(self, draw: ImageDraw.ImageDraw, view: View, pose: Array, colour: Colour) -> None:
        """A body, its corners rounded off, over wheels and a shadow, under windows and lamps."""
        for shape, paint in (*SHADOW, *WHEELS, (BODY, colour), *DETAILS):
            dark = tuple(int(0.72 * value) for value in colour) if paint is None else paint
            draw.polygon(self._on_car(view, pose, shape), dark)

    def _on_car(self, view: View, pose: Array, shape: tuple[tuple[float, float], ...]) -> list[float]:
        """Points in half lengths ahead and half widths to the left of a car, as pixels."""
        ahead, left = np.array(shape).T * np.array([[self.car_length / 2], [self.car_width / 2]])
        cos, sin = np.cos(pose[2]), np.sin(pose[2])
        x, y = pose[0] + cos * ahead - sin * left, pose[1] + sin * ahead + cos * left
        return view.pixels(x, y).reshape(-1).tolist()

    def _draw_map(self, image: Image.Image, ego: tuple[float, float, float], opponents: Array) -> None:
        """The little map with the cars and the frame's outline."""
        plate = self._map.copy()
        draw = ImageDraw.Draw(plate)
        left, top = (value / self.scale for value in self.camera(ego))
        corners = np.array([[left, top], [left + self.size[0] / self.scale, top + self.size[1] / self.scale]])
        corners = self._map_view.pixels(self._world.left + corners[:, 0], self._world.top - corners[:, 1])
        draw.rectangle(corners.reshape(-1).tolist(), outline=(255, 255, 255, 110))
        for x, y, _ in np.asarray(opponents).reshape(-1, 3):
            draw.circle(self._map_view.pixels(x, y).tolist(), self._unit(4.5), (*OPPONENT, 255), (16, 20, 26, 255))
        draw.circle(self._map_view.pixels(*ego[:2]).tolist(), self._unit(5.5), (*EGO, 255), (16, 20, 26, 255))
        image.paste(plate, self._map_corner, plate)

    def _draw_hud(self, image: Image.Image, hud: Mapping[str, str]) -> None:
        """Captions over values on a dark plate, lower left."""
        if not hud:
            return
        small, large = self._fonts
        pad, gap = self._unit(14), self._unit(26)
        widths = [max(small.getlength(key.upper()), large.getlength(value)) for key, value in hud.items()]
        plate = (sum(widths) + gap * (len(widths) - 1) + 2 * pad, self._unit(64))
        left, top = pad, image.height - pad - plate[1]
        draw = ImageDraw.Draw(image, "RGBA")
        draw.rounded_rectangle((left, top, left + plate[0], top + plate[1]), self._unit(12), GLASS)
        x = left + pad
        for (key, value), width in zip(hud.items(), widths, strict=True):
            draw.text((x, top + self._unit(11)), key.upper(), (168, 178, 190, 255), small)
            draw.text((x, top + self._unit(28)), value, (255, 255, 255, 255), large)
            x += width + gap


def _box(ahead: float, left: float, half_length: float, half_width: float) -> tuple[tuple[float, float], ...]:
    signs = ((1, 1), (1, -1), (-1, -1), (-1, 1))
    return tuple((ahead + half_length * a, left + half_width * b) for a, b in signs)


# Polygons in half lengths ahead and half widths to the left, with their paint; ``None`` is the body's colour, darkened.
BODY = (
    (1, 0.5),
    (0.86, 0.86),
    (0.6, 1),
    (-0.82, 1),
    (-1, 0.84),
    (-1, -0.84),
    (-0.82, -1),
    (0.6, -1),
    (0.86, -0.86),
    (1, -0.5),
)
SHADOW = ((tuple((a + 0.03, b - 0.16) for a, b in BODY), (0, 0, 0, 90)),)
WHEELS = tuple((_box(a, b, 0.16, 0.16), (22, 22, 24)) for a in (0.58, -0.6) for b in (0.9, -0.9))
DETAILS = (
    (_box(-0.18, 0.0, 0.36, 0.62), None),
    (((0.38, 0.8), (0.38, -0.8), (0.14, -0.62), (0.14, 0.62)), (28, 34, 44)),
    (((-0.72, 0.74), (-0.72, -0.74), (-0.52, -0.6), (-0.52, 0.6)), (28, 34, 44)),
    (((0.95, 0.6), (0.84, 0.8), (0.78, 0.6), (0.86, 0.44)), (255, 252, 220)),
    (((0.95, -0.6), (0.84, -0.8), (0.78, -0.6), (0.86, -0.44)), (255, 252, 220)),
    (_box(-0.95, 0.62, 0.03, 0.18), (230, 30, 30)),
    (_box(-0.95, -0.62, 0.03, 0.18), (230, 30, 30)),
)
