"""What moves the ego car: the seam between the task and a simulator."""

from __future__ import annotations

from typing import Protocol

from .config import CarlaRacingConfig
from .road import Road
from .task import plant
from .vehicle import Car


class Backend(Protocol):
    """A simulator of one car. All quantities are right-handed, in track coordinates and SI units."""

    def reset(self, s: float, n: float, e: float, v: float) -> Car:
        """Put the car at position, offset (m) and heading (rad) with a forward speed (m/s)."""
        ...

    def apply(self, steer: float, drive: float) -> None:
        """Set the commands, both in [-1, 1]; they hold until the next call."""
        ...

    def step(self) -> Car:
        """Let one control step pass."""
        ...

    def close(self) -> None:
        """Free what the simulator holds."""
        ...


class Embedded:
    """The single-track plant of this package.

    Args:
        config: the family's options.
        road: tables for ``ScalarOps``.
    """

    def __init__(self, config: CarlaRacingConfig, road: Road) -> None:
        self._road, self._plant = road, plant(config, road)
        self._car = Car(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        self._command = (0.0, 0.0)

    def reset(self, s: float, n: float, e: float, v: float) -> Car:
        self._car = Car(s, n, e, v, 0.0, 0.0, 0.0, 0.0)
        self._command = (0.0, 0.0)
        return self._car

    def apply(self, steer: float, drive: float) -> None:
        self._command = (steer, drive)

    def step(self) -> Car:
        car = self._plant.step(self._car, *self._command)
        self._car = car._replace(s=self._road.wrap(car.s))
        return self._car

    def close(self) -> None:
        """Nothing to free."""
