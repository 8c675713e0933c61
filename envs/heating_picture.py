"""A picture of a day in the house, for videos."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from .heating_house import DAY, HOURS

SIZE = (480, 360)
GRID, INK, BAND = (225, 225, 225), (70, 70, 70), (224, 242, 235)
RED, BLUE, GOLD, TEAL = (196, 60, 40), (50, 110, 190), (200, 150, 20), (0, 140, 130)


@dataclass
class Day:
    """What happened in the steps so far.

    Attributes:
        comfort: limits of the comfortable temperature.
        room: temperature after every step.
        charge: share of the battery's storage after every step.
        outside: outdoor temperature in every step.
        price: in every step.
        power: bought in every step (negative: sold).
    """

    comfort: tuple[float, float]
    room: list[float] = field(default_factory=list)
    charge: list[float] = field(default_factory=list)
    outside: list[float] = field(default_factory=list)
    price: list[float] = field(default_factory=list)
    power: list[float] = field(default_factory=list)

    def add(self, room: float, charge: float, outside: float, price: float, power: float) -> None:
        """Append a step."""
        for series, value in zip(self.series, (room, charge, outside, price, power), strict=True):
            series.append(value)

    @property
    def series(self) -> tuple[list[float], ...]:
        """All series, in the order of :meth:`add`."""
        return self.room, self.charge, self.outside, self.price, self.power


def picture(day: Day) -> np.ndarray:
    """Draw a day as three strips: temperatures, price and power, charge: ``[height, width, 3]`` uint8."""
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    width, height = SIZE
    steps = max(round(DAY / HOURS), len(day.room))
    strips = (
        ((12.0, 26.0), [(day.room, RED), ([x / 2 + 14 for x in day.outside], BLUE)]),
        ((-5.0, 5.0), [([10 * x - 3 for x in day.price], GOLD), (day.power, INK)]),
        ((-0.1, 1.1), [(day.charge, TEAL)]),
    )
    for index, ((low, high), curves) in enumerate(strips):
        top, bottom = height * index // 3 + 6, height * (index + 1) // 3 - 6

        def place(step: int, value: float, low=low, high=high, top=top, bottom=bottom) -> tuple[float, float]:
            share = np.clip((value - low) / (high - low), 0.0, 1.0)
            return 10 + (width - 20) * step / steps, bottom - share * (bottom - top)

        if index == 0:
            draw.rectangle([*place(0, day.comfort[1]), *place(steps, day.comfort[0])], fill=BAND)
        draw.rectangle([*place(0, high), *place(steps, low)], outline=GRID)
        for values, colour in curves:
            points = [place(step + 1, value) for step, value in enumerate(values)]
            if len(points) > 1:
                draw.line(points, fill=colour, width=2)
    return np.asarray(image)
