"""The seam between the task and a simulator, which moves the ego car."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from .config import CarlaRacingConfig
from .physics.opponents import Opponents
from .physics.road import Road
from .physics.vehicle import Car
from .plant import Factors, Variation, plant


class Motion(NamedTuple):
    """Result of a control step: the car, and whether the simulator saw it touch something."""

    car: Car
    touched: bool


class Backend(Protocol):
    """A simulator of one car among scripted traffic. All quantities are right-handed, in track coordinates and SI units."""

    def reset(self, car: Car, traffic: Opponents, factors: Factors) -> Car:
        """Begin an episode with the car at this position and speed, the rest of its state zero; return the actual car.

        ``factors`` make the car another one than the nominal.
        """
        ...

    def step(self, steer: float, drive: float, traffic: Opponents) -> Motion:
        """Make one control step under commands in [-1, 1]; afterwards the traffic stands as given."""
        ...

    def close(self) -> None:
        """Free the simulator's resources."""
        ...


class Embedded:
    """The single-track plant of this package; it does not simulate the traffic.

    Args:
        config: the family's options.
        road: tables for ``ScalarOps``.
    """

    def __init__(self, config: CarlaRacingConfig, road: Road) -> None:
        self._config, self._road = config, road
        self._plant = plant(config, road, Variation(config).middle)
        self._car = Car(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

    def reset(self, car: Car, traffic: Opponents, factors: Factors) -> Car:
        """See ``Backend.reset``."""
        self._plant = plant(self._config, self._road, factors)
        self._car = Car(car.s, car.n, car.e, car.vx, 0.0, 0.0, 0.0, 0.0)
        return self._car

    def step(self, steer: float, drive: float, traffic: Opponents) -> Motion:
        """See ``Backend.step``."""
        car = self._plant.step(self._car, steer, drive)
        self._car = car._replace(s=self._road.wrap(car.s))
        return Motion(self._car, touched=False)

    def close(self) -> None:
        """Nothing to free."""
