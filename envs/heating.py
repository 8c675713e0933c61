"""Home energy management in small: a room, a heat pump, a battery and a tariff; the planner's model may be wrong.

The setting of Cai et al., *A Learning-Based MPC Strategy for Home Energy Management Systems* (2023), reduced to one room
and one battery; all numbers are this project's (:mod:`.heating_house`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import TimeLimit

from pompc.config.options import Finite, NonNegativeFloat, Options, PositiveFloat, PositiveInt
from pompc.environment import EnvironmentFamily
from pompc.errors import UserError

from .heating_house import HOURS, House, expense, outdoor, price
from .heating_model import HeatingModel, observe
from .heating_picture import Day, picture


@dataclass(frozen=True, kw_only=True)
class HeatingConfig(Options):
    """Options of the house.

    Attributes:
        comfort: least and largest comfortable temperature of the room [degrees C].
        discomfort_price: cost of a kelvin outside of them for an hour [EUR].
        outdoor: range from which the mean outdoor temperature of a day is drawn [degrees C].
        disturbance: heat from U(-disturbance, disturbance) in every step, which nobody knows beforehand [kW].
        time_limit: steps of half an hour until the episode is truncated; it starts at midnight.
        planner_resistance: factor on the thermal resistance in the planner's model.
        planner_capacity: factor on the heat capacity in the planner's model.
    """

    section = "env"

    comfort: tuple[Finite, Finite] = (20.0, 23.0)
    discomfort_price: NonNegativeFloat = 1.0
    outdoor: tuple[Finite, Finite] = (-6.0, 6.0)
    disturbance: NonNegativeFloat = 0.3
    time_limit: PositiveInt = 48
    planner_resistance: PositiveFloat = 1.0
    planner_capacity: PositiveFloat = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, (low, high) in {"comfort": self.comfort, "outdoor": self.outdoor}.items():
            if low > high or (name == "comfort" and low == high):
                raise UserError(f"env.{name}=[{low}, {high}]: give the lower value first")


class HeatingEnv(gymnasium.Env):
    """One house, from midnight on.

    Observation ``[7]``: room temperature, charge of the battery, sine and cosine of the time, mean outdoor temperature of
    the day, price now and in four hours, all about in [-1, 1]. Action ``[2]``: heat pump (off to full power), battery
    (discharge to charge). Reward of a step: minus its expense and the discomfort after it [EUR]. ``cost`` is 1 in a step
    that ends uncomfortably, ``success`` is a whole day within 0.2 K of comfort, ``expense`` the money since midnight.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 8}  # noqa: RUF012 (gymnasium's own convention)
    TOLERANCE = 0.2  # K

    def __init__(self, config: HeatingConfig, render_mode: str | None = None) -> None:
        self.config = config
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (7,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        self.house = House()
        self.state = (21.0, 4.0, 0.0, 0.0)
        self.day, self.kept, self.steps, self.spent = Day(config.comfort), True, 0, 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Start at midnight with a drawn weather, a comfortable room and a battery about half full."""
        super().reset(seed=seed)
        level, room, share = (self.np_random.uniform(*span) for span in (self.config.outdoor, (0.2, 0.8), (0.3, 0.7)))
        low, high = self.config.comfort
        self.state = (low + room * (high - low), share * self.house.storage, 0.0, level)
        self.day, self.kept, self.steps, self.spent = Day(self.config.comfort), True, 0, 0.0
        return observe(self.state, self.house, np), {"success": 0.0, "cost": 0.0, "expense": 0.0}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Run heat pump and battery (each clipped to +-1) for half an hour."""
        acted = tuple(np.clip(np.asarray(action, np.float64), -1.0, 1.0))
        hour, extra = self.state[2], self.np_random.uniform(-self.config.disturbance, self.config.disturbance)
        *state, power = self.house.step(self.state, acted, np, extra)
        self.state = tuple(float(x) for x in state)
        money, outside = float(expense(power, hour, np)), discomfort(self.state[0], self.config.comfort)
        self.steps, self.spent = self.steps + 1, self.spent + money
        self.kept = self.kept and outside <= self.TOLERANCE
        weather = (float(outdoor(hour, self.state[3], np)), float(price(hour, np)))
        self.day.add(self.state[0], self.state[1] / self.house.storage, *weather, float(power))
        info = {"success": float(self.kept and self.steps >= self.config.time_limit), "cost": float(outside > 0)}
        reward = -money - self.config.discomfort_price * HOURS * outside
        return observe(self.state, self.house, np), reward, False, False, {**info, "expense": self.spent}

    def render(self) -> np.ndarray:
        """Picture ``[height, width, 3]`` uint8 of the day so far: room and outdoors, price and power, charge."""
        return picture(self.day)


def discomfort(room: float, comfort: tuple[float, float]) -> float:
    """How far a temperature lies outside of the comfortable ones [K]."""
    return max(comfort[0] - room, room - comfort[1], 0.0)


class Heating(EnvironmentFamily):
    """Keep a room comfortable for little money; ``success`` is a comfortable day, ``cost`` counts uncomfortable steps."""

    Config = HeatingConfig
    info_keys = ("success", "cost", "expense")
    terminates = False

    def make(self, *, render_mode: str | None = None) -> gymnasium.Env:
        """Make one house with its time limit."""
        return TimeLimit(HeatingEnv(self.config, render_mode), self.config.time_limit)

    def task_model(self, device: torch.device | str = "cpu") -> HeatingModel:
        """Make the planner's model, with the configured errors."""
        config = self.config
        errors = (config.planner_resistance, config.planner_capacity)
        return HeatingModel(config.comfort, config.discomfort_price, errors, device)
