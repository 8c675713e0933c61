"""A house with a heat pump and a battery: equations shared by the environment (numpy) and the planner's model (torch).

The room is one heat capacity behind one thermal resistance. Numbers are of a well insulated house of 120 m2 in winter; they
are this project's, as are the tariff and the weather. Powers are in kW, energies in kWh, temperatures in degrees C, prices
in EUR per kWh, times in hours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

HOURS = 0.5
"""Duration of a step."""
DAY = 24.0
FEED_IN = 0.08
"""What a sold kWh brings."""
MEAN_PRICE = 0.28


@dataclass(frozen=True)
class House:
    """The constants of a house.

    Attributes:
        resistance: between room and outdoors [K/kW].
        capacity: heat capacity of the room [kWh/K].
        pump: largest electric power of the heat pump.
        battery: largest power of the battery.
        storage: capacity of the battery.
        efficiency: of charging, and of discharging.
    """

    resistance: float = 5.0
    capacity: float = 6.0
    pump: float = 2.5
    battery: float = 2.0
    storage: float = 8.0
    efficiency: float = 0.95

    def step(self, state: tuple, action: tuple, xp: ModuleType, extra: Any = 0.0) -> tuple:
        """Take a step of :data:`HOURS`.

        Args:
            state: room temperature, energy in the battery, time of the day and its mean outdoor temperature.
            action: heat pump and battery, each in [-1, 1]: off to full power, discharge to charge.
            xp: numpy or torch.
            extra: heat that the model does not know [kW].

        Returns:
            The four entries after the step, and the power bought (negative: sold).
        """
        room, charge, hour, level = state
        heating, flow = self.flows(charge, action, xp)
        outside = outdoor(hour, level, xp)
        stored = charge + HOURS * xp.where(flow > 0, self.efficiency * flow, flow / self.efficiency)
        heat = performance(outside) * heating + gains(hour, xp) + extra
        warmer = room + HOURS / self.capacity * ((outside - room) / self.resistance + heat)
        return warmer, stored, (hour + HOURS) % DAY, level, heating + flow

    def flows(self, charge: Any, action: tuple, xp: ModuleType) -> tuple:
        """Compute the power of the heat pump, and that into the battery as far as its charge allows [kW].

        The arguments are those of :meth:`step`; the sum is the power bought.
        """
        heating = 0.5 * self.pump * (action[0] + 1.0)
        wanted = self.battery * action[1]
        most, least = (self.storage - charge) / (HOURS * self.efficiency), -charge * self.efficiency / HOURS
        return heating, xp.minimum(xp.maximum(wanted, least), most)


def outdoor(hour: Any, level: Any, xp: ModuleType) -> Any:
    """Outdoor temperature: coldest at 3, warmest at 15."""
    return level + 4.0 * xp.cos((hour - 15.0) * (2 * math.pi / DAY))


def performance(outside: Any) -> Any:
    """Heat per electric power of the heat pump (coefficient of performance), linear in the outdoor temperature."""
    return 3.0 + 0.06 * (outside - 2.0)


def gains(hour: Any, xp: ModuleType) -> Any:
    """Heat of people, appliances and the sun."""
    angle = (hour - 13.0) * (2 * math.pi / DAY)
    return 0.3 + 0.35 * (1.0 + xp.cos(angle))


def price(hour: Any, xp: ModuleType) -> Any:
    """Tariff: cheap at night, dear in the morning and more so in the evening."""
    return 0.2 + 0.14 * _peak(hour, 8.0, 2.0, xp) + 0.22 * _peak(hour, 19.0, 2.5, xp)


def expense(power: Any, hour: Any, xp: ModuleType) -> Any:
    """What a step costs, given the power bought in it (negative: sold)."""
    return HOURS * xp.where(power > 0, price(hour, xp) * power, FEED_IN * power)


def _peak(hour: Any, centre: float, width: float, xp: ModuleType) -> Any:
    """A bump in [0, 1] around a time of the day; it repeats every day."""
    return xp.exp((xp.cos((hour - centre) * (2 * math.pi / DAY)) - 1.0) * (DAY / (2 * math.pi * width)) ** 2)
