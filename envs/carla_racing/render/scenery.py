"""The still part of the racing picture: grass, road, kerbs, start line and danger zones, and the little map."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from ..track.track import DangerZone, Track

Array = NDArray[np.floating]
Colour = tuple[int, ...]

SUPERSAMPLING = 2
GRASS: tuple[Colour, Colour] = ((70, 121, 66), (77, 130, 71))
STRIPE = 7.0  # m, width of a mown stripe
VERGE: Colour = (150, 146, 120)
ASPHALT: Colour = (66, 68, 74)
LINE: Colour = (232, 232, 228)
KERB: tuple[Colour, Colour] = ((206, 52, 48), (236, 236, 232))
KERB_CURVATURE = 1 / 45  # 1/m from which a corner has kerbs
DANGER: Colour = (226, 44, 44)
GRAIN = 3  # brightness noise, of 255


@dataclass(frozen=True)
class View:
    """A north-up window on the plane: ``scale`` pixels per metre, its upper left corner at (``left``, ``top``) m."""

    left: float
    top: float
    scale: float

    def pixels(self, x: ArrayLike, y: ArrayLike) -> Array:
        """Points ``[...]`` [m] -> pixels ``[..., 2]``, rightwards and downwards."""
        return self.scale * np.stack([np.asarray(x) - self.left, self.top - np.asarray(y)], axis=-1)

    def zoomed(self, factor: float) -> View:
        """The same corner with ``factor`` times the pixels per metre."""
        return View(self.left, self.top, self.scale * factor)


def bounds(track: Track, margin: float) -> tuple[float, float, float, float]:
    """x and y of the least and the greatest point of the road, ``margin`` m outside: left, bottom, right, top."""
    half = track.half_width
    xs, ys, _ = track.cartesian(np.arange(len(half)) * track.spacing, np.stack([half, -half]))
    return float(xs.min()) - margin, float(ys.min()) - margin, float(xs.max()) + margin, float(ys.max()) + margin


def strip(track: Track, view: View, s: Array, n_right: ArrayLike, n_left: ArrayLike) -> Array:
    """Pixels of the quadrilaterals between consecutive ``s [m]`` and the two offsets: ``[m - 1, 4, 2]``."""
    right, left = (view.pixels(*track.cartesian(s, n)[:2]) for n in (n_right, n_left))
    return np.stack([right[:-1], right[1:], left[1:], left[:-1]], axis=1)


def outline(track: Track, view: View, zone: DangerZone) -> list[tuple[float, float]]:
    """Pixels of the border of a zone, along the road's curve."""
    s = np.linspace(zone.s_start, zone.s_end, 2 + int(zone.s_end - zone.s_start))
    s, n = np.concatenate([s, s[::-1]]), np.repeat([zone.n_min, zone.n_max], len(s))
    return [(x, y) for x, y in view.pixels(*track.cartesian(s, n)[:2]).tolist()]


def draw_scenery(track: Track, view: View, size: tuple[int, int]) -> Image.Image:
    """The still picture, RGB of ``size`` (width, height)."""
    fine = view.zoomed(SUPERSAMPLING)
    image = Image.new("RGB", (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING), GRASS[0])
    draw = ImageDraw.Draw(image)
    _mow(draw, image.size, fine)
    s = np.append(np.arange(len(track.x)) * track.spacing, track.length)
    half = track.half_width_at(s)
    _fill(draw, strip(track, fine, s, -half - 1.2, half + 1.2), VERGE)
    _fill(draw, strip(track, fine, s, -half, half), ASPHALT)
    _edges(draw, track, fine)
    _start_line(draw, track, fine)
    for zone in track.zones:
        _hatch(image, outline(track, fine, zone), fine.scale)
    return _grained(image.reduce(SUPERSAMPLING))


def draw_map(track: Track, view: View, size: tuple[int, int]) -> Image.Image:
    """The little map: the road and its zones on a dark glass plate, RGBA of ``size``."""
    fine = view.zoomed(SUPERSAMPLING)
    image = Image.new("RGBA", (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((0, 0, image.width - 1, image.height - 1), 12 * SUPERSAMPLING, (16, 20, 26, 190))
    s = np.append(np.arange(len(track.x)) * track.spacing, track.length)
    half = track.half_width_at(s)
    _fill(draw, strip(track, fine, s, -half, half), (122, 130, 140, 255))
    for zone in track.zones:
        draw.polygon(outline(track, fine, zone), (*DANGER, 255))
    _fill(draw, strip(track, fine, np.array([-1.0, 1.0]), -half[:2], half[:2]), (16, 20, 26, 255))
    return image.reduce(SUPERSAMPLING)


def _fill(draw: ImageDraw.ImageDraw, quadrilaterals: Array, colour: Colour) -> None:
    for corners in quadrilaterals.reshape(len(quadrilaterals), 8).tolist():
        draw.polygon(corners, colour)


def _mow(draw: ImageDraw.ImageDraw, size: tuple[int, int], view: View) -> None:
    """Diagonal stripes in the grass."""
    width, height = size
    step = STRIPE * view.scale
    for left in np.arange(-height, width, 2 * step):
        draw.polygon([left, height, left + step, height, left + step + height, 0, left + height, 0], GRASS[1])


def _edges(draw: ImageDraw.ImageDraw, track: Track, view: View) -> None:
    """White lines along both edges, and kerbs of alternating colours outside them in the corners."""
    blocks = round(track.length / 1.5)
    s = np.linspace(0.0, track.length, blocks - blocks % 2 + 1)
    half = track.half_width_at(s)
    # A kerb is drawn a little into the straights on either side of its corner.
    bend = np.abs(track.curvature_at(s[:-1, None] + np.arange(-6.0, 6.1, 1.5))).max(-1)
    for side in (1.0, -1.0):
        kerb = strip(track, view, s, side * half, side * (half + 0.8))
        for parity, colour in enumerate(KERB):
            _fill(draw, kerb[(bend > KERB_CURVATURE) & (np.arange(len(bend)) % 2 == parity)], colour)
        fine = np.append(np.arange(len(track.x)) * track.spacing, track.length)
        edge = track.half_width_at(fine)
        _fill(draw, strip(track, view, fine, side * (edge - 0.22), side * edge), LINE)


def _start_line(draw: ImageDraw.ImageDraw, track: Track, view: View) -> None:
    """Draw three lines of a chequered pattern across the road at s = 0."""
    half = float(track.half_width[0]) - 0.22
    columns = np.linspace(-half, half, 1 + 2 * round(half / 0.8))
    for line in range(3):
        s = 0.8 * np.array([line - 1.5, line - 0.5])
        for column, (right, left) in enumerate(pairwise(columns)):
            _fill(draw, strip(track, view, s, right, left), LINE if (line + column) % 2 else (24, 24, 26))


def _hatch(image: Image.Image, border: list[tuple[float, float]], scale: float) -> None:
    """A zone: a red glaze, diagonal bars and a border."""
    left, top = (int(value) for value in np.min(border, axis=0))
    right, bottom = (int(value) + 1 for value in np.max(border, axis=0))
    mask = Image.new("L", (right - left, bottom - top), 0)
    inside = [(x - left, y - top) for x, y in border]
    ImageDraw.Draw(mask).polygon(inside, 255)
    bars = Image.new("L", mask.size, 90)
    pen = ImageDraw.Draw(bars)
    for x in np.arange(-mask.height, mask.width, 1.6 * scale):
        pen.line([x, mask.height, x + mask.height, 0], 235, round(0.55 * scale))
    nothing = Image.new("L", mask.size, 0)
    image.paste(DANGER, (left, top, right, bottom), Image.composite(bars, nothing, mask))
    ImageDraw.Draw(image).line([*border, border[0]], DANGER, max(round(0.22 * scale), 1))


def _grained(image: Image.Image) -> Image.Image:
    """The picture with a fixed fine grain, so that movement over plain areas can be seen."""
    noise = np.random.default_rng(0).integers(-GRAIN, GRAIN + 1, (image.height, image.width, 1), dtype=np.int16)
    pixels = np.asarray(image).astype(np.int16)
    pixels += noise
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
