"""The racing task as a planner with explicit dynamics sees it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from pompc.errors import UserError

from . import observation
from .config import CarlaRacingConfig
from .kinematic import KinematicBicycle
from .opponents import Opponents
from .ops import TorchOps
from .road import CAR_REACH, Road, tabulate
from .task import faults, penalty, progress_reward
from .track import Track
from .vehicle import Car, SingleTrack, VehicleParameters

PLANNER_MODELS: dict[str, Callable] = {"kinematic": KinematicBicycle, "single_track": SingleTrack}
CAR_SIZE = len(Car._fields)

# The box of the cost parameters: lateral target (m), speed target (m/s), log weights of tracking it and of barriers.
LOW = (-4.0, 4.0, math.log(0.01), math.log(0.5))
HIGH = (4.0, 34.0, math.log(1.0), math.log(50.0))
NOMINAL = (0.0, 14.0, math.log(0.05), math.log(5.0))

SPEED_SCALE, HEADING_SCALE, LATERAL_SCALE, RATE_SCALE = 3.0, 0.2, 2.0, 0.04  # m/s, rad, m, rad
EDGE_MARGIN, ZONE_MARGIN = 1.0, 1.0  # m
PASS_LENGTH, PASS_WIDTH = 9.0, 2.9  # m: half axes of the ellipse kept free around an opponent
FAILURE_COST = 300.0  # more than any plan can save by ending early
TERMINAL_WEIGHT = 5.0


def planner_parameters(config: CarlaRacingConfig) -> VehicleParameters:
    """The plant's parameters with the ordered model errors."""
    plant = VehicleParameters()
    return replace(
        plant,
        mass=plant.mass * config.planner_mass,
        inertia=plant.inertia * config.planner_mass,
        friction=plant.friction * config.planner_friction,
        power=plant.power * config.planner_drive,
        drive_force=plant.drive_force * config.planner_drive,
        brake_force=plant.brake_force * config.planner_drive,
    )


class RacingModel:
    """Approximate dynamics, reward and planner cost of the task (``pompc.dynamics.protocols.TaskModel``).

    A state ``[..., 8 + 3 opponents]`` is the plant's eight entries (see ``Car``), then the opponents' positions,
    offsets and speeds. Opponents are predicted at constant speed and offset. The position may run past a full lap.

    Args:
        config: the family's options.
        device: where the model computes.

    Raises:
        UserError: ``config.planner_model`` is unknown.
    """

    action_dim = 2
    parameter_dim = 4

    def __init__(self, config: CarlaRacingConfig, device: torch.device | str = "cpu") -> None:
        if config.planner_model not in PLANNER_MODELS:
            raise UserError(
                f"unknown env.planner_model {config.planner_model!r}; there are: {', '.join(PLANNER_MODELS)}"
            )
        self.config, self.opponents = config, config.num_opponents
        self.state_dim = CAR_SIZE + 3 * config.num_opponents
        ops = TorchOps(device)
        self.road = Road(tabulate(Track.load(config.track), config.danger_zones), ops)
        dt = config.control_step / config.planner_substeps
        self._vehicle = PLANNER_MODELS[config.planner_model](
            planner_parameters(config), ops, self.road.nearest_curvature, dt, config.planner_substeps
        )
        low, high = torch.tensor(LOW, device=device), torch.tensor(HIGH, device=device)
        self._centre, self._half_range = (low + high) / 2, (high - low) / 2
        self.nominal = (torch.tensor(NOMINAL, device=device) - self._centre) / self._half_range

    def state(self, observation_: Tensor) -> Tensor:
        """``observation [..., observation]`` -> state ``[..., state]``."""
        car, opponents = observation.recover(self.road.length, observation_)
        return torch.cat((torch.stack(car, -1), opponents), -1)

    def observe(self, state: Tensor) -> Tensor:
        """``state [..., state]`` -> the observation the environment would give ``[..., observation]``."""
        return observation.observe(self.road, *self._unpack(state))

    def _unpack(self, state: Tensor) -> tuple[Car, Opponents]:
        """Entries ``[...]``, of the opponents ``[opponent, ...]``; what the model does not know of them is zero."""
        rows = state.movedim(-1, 0)
        s, n, v = rows[CAR_SIZE:].view(3, self.opponents, *rows.shape[1:]) if self.opponents else (rows[:0],) * 3
        return Car(*rows[:CAR_SIZE].unbind(0)), Opponents(s, n, v, v, v)

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """One control step: ``state [..., state]``, ``action [..., 2]`` -> ``[..., state]``.

        The result lies in memory entry by entry, so that the next step reads contiguous rows.
        """
        rows = state.movedim(-1, 0)
        steer, drive = action.movedim(-1, 0).unbind(0)
        car = self._vehicle.step(Car(*rows[:CAR_SIZE].unbind(0)), steer, drive)
        count, parts = self.opponents, [torch.stack(car)]
        if count:
            places, offsets, speeds = rows[CAR_SIZE:].split(count)
            parts += [torch.add(places, speeds, alpha=self.config.control_step), offsets, speeds]
        return torch.cat(parts).movedim(0, -1)

    def terminated(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Whether ``next_state`` breaks a rule (the stall rule needs a memory and is left out): bool ``[...]``."""
        return self._failed(*self._unpack(next_state))

    def _failed(self, car: Car, opponents: Opponents) -> Tensor:
        fault = faults(self.road, car, opponents)
        return fault.off_track | fault.zone | fault.collision | fault.spin

    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """The environment's reward ``[...]``, without the stall rule."""
        distance = self.road.gap(state[..., 0], next_state[..., 0])
        fine = penalty(self.config, self.road, faults(self.road, *self._unpack(next_state)))
        return progress_reward(self.config, distance) - fine

    def parameters(self, high_action: Tensor) -> Tensor:
        """High-level action ``[..., 4]`` in [-1, 1] -> lateral target (m), speed target (m/s), two weights."""
        boxed = self._centre + self._half_range * high_action.clamp(-1.0, 1.0)
        return torch.cat((boxed[..., :2], boxed[..., 2:].exp()), -1)

    def running(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor) -> Tensor:
        """Cost of a step ``[...]``: where it leads, how much control it takes, a constant for breaking a rule."""
        car, opponents = self._unpack(next_state)
        turned = (car.delta - state[..., 6]) * (1.0 / RATE_SCALE)
        effort = 0.02 * turned.square() + 0.02 * action.square().sum(-1)
        return self._standing(car, opponents, parameters) + effort + FAILURE_COST * self._failed(car, opponents)

    def terminal(self, state: Tensor, parameters: Tensor) -> Tensor:
        """Cost of the last state ``[...]``."""
        return TERMINAL_WEIGHT * self._standing(*self._unpack(state), parameters)

    def _standing(self, car: Car, opponents: Opponents, parameters: Tensor) -> Tensor:
        """Cost of being in a state ``[...]``."""
        lateral, speed, tracking, barrier = parameters.unbind(-1)
        half_width, centre, reach, nearness = self.road.edges(car.s)
        too_slow = (car.vx - speed) * (1.0 / SPEED_SCALE)
        aside = (car.n - lateral) * (1.0 / LATERAL_SCALE)
        edge = (car.n.abs() - half_width + (CAR_REACH + EDGE_MARGIN)).clamp(min=0.0) * (1.0 / EDGE_MARGIN)
        zone = (reach - (car.n - centre).abs() + ZONE_MARGIN).clamp(min=0.0) * (1.0 / ZONE_MARGIN)
        gap = self.road.gap(car.s, opponents.s) * (1.0 / PASS_LENGTH)
        side = (opponents.n - car.n) * (1.0 / PASS_WIDTH)
        crowd = (1.0 - gap.square() - side.square()).clamp(min=0.0).sum(0)
        pseudo_huber = (1.0 + too_slow.square()).sqrt() - 1.0
        straying = 0.1 * (car.e * (1.0 / HEADING_SCALE)).square() + tracking * aside.square()
        return pseudo_huber + straying + barrier * (edge.square() + nearness * zone.square() + crowd)
