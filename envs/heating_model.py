"""The planner's model of the house, and what an observation shows."""

from __future__ import annotations

import math
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .heating_house import DAY, HOURS, MEAN_PRICE, House, expense, performance, price

AHEAD = 4.0
"""How far ahead an observation shows the price [h]."""
ROOM, ROOM_UNIT = 21.5, 2.0
LEVEL_UNIT = 10.0
PRICE, PRICE_UNIT = 0.3, 0.15


def observe(state: tuple, house: House, xp: ModuleType) -> Any:
    """Write ``(room, charge, hour, level)`` as an observation ``[..., 7]``."""
    room, charge, hour, level = state
    turn = hour * (2 * math.pi / DAY)
    prices = ((price(time, xp) - PRICE) / PRICE_UNIT for time in (hour, hour + AHEAD))
    exogenous = (xp.sin(turn), xp.cos(turn), level / LEVEL_UNIT, *prices)
    entries = ((room - ROOM) / ROOM_UNIT, 2 * charge / house.storage - 1, *exogenous)
    return torch.stack(entries, -1) if xp is torch else np.array(entries, np.float32)


class HeatingModel:
    """The house without its disturbance; resistance and heat capacity may be wrong.

    State ``[4]``: room temperature, charge, hour, mean outdoor temperature. The stage cost is the environment's. The
    terminal cost takes off what the stored energy is worth: in the battery at the mean price, in the room up to the upper
    limit of comfort at that price by the heat pump's performance.

    High-level action ``[5]``: weight of discomfort, back-offs from both limits of comfort, worth of the battery's and of
    the room's energy. At the centre of its box (nominal) the stage cost is the environment's.

    Args:
        comfort: least and largest comfortable temperature.
        discomfort_price: cost of a kelvin outside of them for an hour.
        errors: factors on resistance and capacity.
        device: of the nominal parameters.
    """

    state_dim = 4
    action_dim = 2
    parameter_dim = 5
    BACK_OFF = 1.0  # K, half-width of the box

    def __init__(
        self,
        comfort: tuple[float, float],
        discomfort_price: float,
        errors: tuple[float, float] = (1.0, 1.0),
        device: torch.device | str = "cpu",
    ) -> None:
        true = House()
        self.house = replace(true, resistance=errors[0] * true.resistance, capacity=errors[1] * true.capacity)
        self.low, self.high = comfort
        self.discomfort_price = discomfort_price
        self.nominal = torch.zeros(self.parameter_dim, device=device)

    def state(self, observation: Tensor) -> Tensor:
        """``[..., 7]`` -> ``[..., 4]``."""
        room, charge, sine, cosine, level = observation[..., :5].unbind(-1)
        hour = torch.remainder(torch.atan2(sine, cosine) * (DAY / (2 * math.pi)), DAY)
        charge = 0.5 * self.house.storage * (charge + 1)
        return torch.stack([ROOM + ROOM_UNIT * room, charge, hour, LEVEL_UNIT * level], -1)

    def observe(self, state: Tensor) -> Tensor:
        """``[..., 4]`` -> ``[..., 7]``."""
        return observe(state.unbind(-1), self.house, torch)

    def difference(self, state: Tensor, origin: Tensor) -> Tensor:
        """Subtract, the hour by the shorter way round: ``[..., 4]``, ``[..., 4]`` -> ``[..., 4]``."""
        apart = state - origin
        hours = apart[..., 2:3]
        return torch.cat([apart[..., :2], hours - DAY * torch.round(hours / DAY), apart[..., 3:]], -1)

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """Predict half an hour: ``[..., 4]``, ``[..., 2]`` -> ``[..., 4]``."""
        *after, _ = self.house.step(state.unbind(-1), action.clamp(-1.0, 1.0).unbind(-1), torch)
        return torch.stack(after, -1)

    def terminated(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Never: -> bool ``[...]``."""
        return torch.zeros_like(next_state[..., 0], dtype=torch.bool)

    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Predict the environment's reward, given the state after the step: -> ``[...]``."""
        return -self.running(state, action, next_state, None)

    def margins(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Distances of the room to both limits of comfort [K]: -> ``[..., 2]``."""
        room = next_state[..., 0]
        return torch.stack([room - self.low, self.high - room], -1)

    def parameters(self, high_action: Tensor) -> Tensor:
        """``[..., 5]`` in [-1, 1] -> price of discomfort, two back-offs [K], worth of a stored kWh and of a kelvin [EUR].

        The price is that of the environment at the centre of its box and changes by a factor of 10 to either side.
        Back-offs lie in +-1 K and are negative to overstep the limits. Worths go from nothing to twice the nominal ones.
        """
        weight, low, high, stored, warm = high_action.clamp(-1.0, 1.0).unbind(-1)
        kelvin = MEAN_PRICE * self.house.capacity / performance(2.0)
        worths = (MEAN_PRICE * self.house.efficiency * (1 + stored), kelvin * (1 + warm))
        back_offs = (self.BACK_OFF * low, self.BACK_OFF * high)
        return torch.stack([self.discomfort_price * 10.0**weight, *back_offs, *worths], -1)

    def aim(self, state: Tensor) -> Tensor:
        """``[..., 4]`` -> the high-level action ``[..., 5]`` with limits of comfort as near to a room as can be."""
        room = state[..., 0]
        limits = torch.stack([room - self.low, self.high - room], -1) / self.BACK_OFF
        weight, worths = (self.nominal[part].expand(*room.shape, -1) for part in (slice(1), slice(3, 5)))
        return torch.cat([weight, limits.clamp(-1.0, 1.0), worths], -1)

    def running(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor | None) -> Tensor:
        """Charge the expense of the step, and the discomfort after it: -> ``[...]``."""
        phi = self.parameters(self.nominal) if parameters is None else parameters
        heating, flow = self.house.flows(state[..., 1], action.clamp(-1.0, 1.0).unbind(-1), torch)
        room = next_state[..., 0]
        outside = (self.low + phi[..., 1] - room).maximum(room - self.high + phi[..., 2]).clamp(min=0.0)
        return expense(heating + flow, state[..., 2], torch) + phi[..., 0] * HOURS * outside

    def terminal(self, state: Tensor, parameters: Tensor | None) -> Tensor:
        """Take off the worth of the stored energy: -> ``[...]``."""
        phi = self.parameters(self.nominal) if parameters is None else parameters
        warmth = state[..., 0].clamp(max=self.high) - self.low
        return -phi[..., 3] * state[..., 1] - phi[..., 4] * warmth
