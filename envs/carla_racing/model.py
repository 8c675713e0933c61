"""The explicit model of the racing task: dynamics, reward and cost for a planner."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from . import circuit, observation
from .config import CarlaRacingConfig
from .physics.kinematic import KinematicBicycle
from .physics.opponents import Opponents
from .physics.ops import TorchOps
from .physics.road import Road, tabulate
from .physics.vehicle import Car, SingleTrack, VehicleParameters
from .task import Surroundings, faults, look_round, margins, penalty, progress_reward
from .track.track import Track

PLANNER_MODELS: dict[str, Callable] = {"kinematic": KinematicBicycle, "single_track": SingleTrack}
OWN_SUBSTEPS: dict[str, Callable[[CarlaRacingConfig], int]] = {
    "kinematic": lambda config: 1,
    "single_track": lambda config: config.substeps,
}
"""Sub-steps per control step if the config names none; a model with tyres needs as many as the plant."""
CAR_SIZE = len(Car._fields)

# The box of the cost parameters: lateral target (m), speed target (m/s), log weights of tracking it and of barriers.
LOW = (-4.0, 4.0, math.log(0.01), math.log(0.5))
HIGH = (4.0, 34.0, math.log(1.0), math.log(50.0))
NOMINAL = (0.0, 12.0, math.log(0.05), math.log(5.0))

SPEED_SCALE, HEADING_SCALE, LATERAL_SCALE, RATE_SCALE = 3.0, 0.2, 2.0, 0.04  # m/s, rad, m, rad
EDGE_MARGIN, ZONE_MARGIN = 1.0, 1.0  # m
PASS_LENGTH, PASS_WIDTH = 9.0, 2.9  # m: half axes of the ellipse kept free around an opponent
EFFORT = 0.02  # of full control, and of turning the wheels by RATE_SCALE in a step
FAILURE_COST = 300.0  # more than any plan can save by ending early
TERMINAL_WEIGHT = 5.0
CREEPING, CREEP_TIME = 0.5, 1.0  # m/s that count as standing, s in which such a car certainly stands
CAR_REACH_OF_TURN = 1.5  # m from the centre of mass: what a yaw rate (rad/s) moves there
SOLID = 3  # margins of edge, zone and spin, before those of the opponents


def planner_parameters(config: CarlaRacingConfig) -> VehicleParameters:
    """Return the car that the planner believes in."""
    return VehicleParameters().scaled(
        mass=config.planner_mass, friction=config.planner_friction, drive=config.planner_drive
    )


class RacingModel:
    """Approximate dynamics, reward and planner cost of the task (``pompc.models.protocols.TaskModel``).

    A state ``[..., 8 + 3 opponents]`` is the plant's eight entries (see ``Car``), then the opponents' positions,
    offsets and speeds. Opponents are predicted at constant speed and offset. The position may run past a full lap.
    Margins ``[3 + opponents]`` are ``task.Margins``: edge and zone (m), spin (rad), the box around every opponent (m).

    Args:
        config: the family's options.
        device: of the model's tensors.
        track: the track of ``config``, if it is already read.

    Raises:
        UserError: ``config.planner_model`` is unknown.
    """

    action_dim = 2
    parameter_dim = 4

    def __init__(
        self, config: CarlaRacingConfig, device: torch.device | str = "cpu", track: Track | None = None
    ) -> None:
        self.config, self.opponents = config, config.num_opponents
        self.state_dim = CAR_SIZE + 3 * config.num_opponents
        ops = TorchOps(device)
        self.road = Road(tabulate(track or circuit.load(config), config.danger_zones), ops)
        substeps = config.planner_substeps or OWN_SUBSTEPS[config.planner_model](config)
        dt = config.control_step / substeps
        self._vehicle = PLANNER_MODELS[config.planner_model](
            planner_parameters(config), ops, self.road.nearest_curvature, dt, substeps
        )
        low, high = torch.tensor(LOW, device=device), torch.tensor(HIGH, device=device)
        self._centre, self._half_range = (low + high) / 2, (high - low) / 2
        self._one = ops.constant(1.0)
        places = torch.tensor([0, *range(CAR_SIZE, CAR_SIZE + config.num_opponents)], device=device)
        self._lap = torch.zeros(self.state_dim, device=device).index_fill(0, places, self.road.length)
        self.nominal = (torch.tensor(NOMINAL, device=device) - self._centre) / self._half_range

    def state(self, observation_: Tensor) -> Tensor:
        """``observation [..., observation]`` -> state ``[..., state]``."""
        car, opponents = observation.recover(self.road.length, observation_)
        return torch.cat((torch.stack(car, -1), opponents), -1)

    def observe(self, state: Tensor) -> Tensor:
        """``state [..., state]`` -> the observation the environment would give ``[..., observation]``."""
        return observation.observe(self.road, *self._unpack(state))

    def _unpack(self, state: Tensor) -> tuple[Car, Opponents]:
        """Split a state into entries ``[...]`` and ``[opponent, ...]``; the speed stands in for cruise and lane.

        Reading one entry of a big batch costs more than computing with it. If a state's entries lie side by side in memory,
        they are copied apart once.
        """
        entries = state.movedim(-1, 0)
        entries = entries.contiguous() if state.stride(-1) == 1 else entries
        s, n, v = entries[CAR_SIZE:].unflatten(0, (3, self.opponents)).unbind(0)
        return Car(*entries[:CAR_SIZE].unbind(0)), Opponents(s, n, v, v, v)

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """Predict one control step: ``state [..., state]``, ``action [..., 2]`` -> ``[..., state]``.

        The result lies in memory entry by entry, so that the next step reads contiguous memory.
        """
        entries = state.movedim(-1, 0)
        steer, drive = action.movedim(-1, 0).unbind(0)
        car = self._vehicle.step(Car(*entries[:CAR_SIZE].unbind(0)), steer, drive)
        fixed = CAR_SIZE + self.opponents  # from here on nothing changes: the opponents' offsets and speeds
        places = torch.add(entries[CAR_SIZE:fixed], entries[fixed + self.opponents :], alpha=self.config.control_step)
        return torch.stack((*car, *places.unbind(0), *entries[fixed:].unbind(0))).movedim(0, -1)

    def difference(self, state: Tensor, origin: Tensor) -> Tensor:
        """Subtract states ``[..., state]``, positions along the track by the shorter way round (``Periodic``)."""
        apart = state - origin
        return apart - self._lap * torch.round(apart / self.road.length)

    def terminated(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Whether ``next_state`` breaks a rule: bool ``[...]``. The stall rule needs a memory and is left out."""
        car, opponents = self._unpack(next_state)
        return self._failed(car, look_round(self.road, car, opponents))

    def _failed(self, car: Car, around: Surroundings) -> Tensor:
        return reduce(torch.logical_or, faults(self.road, car, around))

    def reward(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """The environment's reward ``[...]``, without the stall rule."""
        distance = self.road.gap(state[..., 0], next_state[..., 0])
        car, opponents = self._unpack(next_state)
        fault = faults(self.road, car, look_round(self.road, car, opponents))
        return progress_reward(self.config, distance) - penalty(self.config, self.road, fault)

    def margins(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """Distances of ``next_state`` from breaking a rule: -> ``[..., 3 + opponents]``, see ``task.Margins``."""
        car, opponents = self._unpack(next_state)
        *own, collisions = margins(self.road, car, look_round(self.road, car, opponents))
        return torch.cat((torch.stack(own), collisions)).movedim(0, -1)

    def brake(self, state: Tensor) -> Tensor:
        """Brake fully with straight wheels, since steering costs the grip to brake: -> ``[..., 2]``."""
        return torch.stack((torch.zeros_like(state[..., 0]), torch.full_like(state[..., 0], -1.0)), -1)

    def at_rest(self, state: Tensor) -> Tensor:
        """Whether the car creeps, does not drive, and is as far from every solid fault as it creeps: -> bool ``[...]``.

        Braking keeps that so. Opponents do not count, since they would run into a standing car from behind.
        """
        # Sideways and turning, too: a car that slides moves on although its wheels stand.
        speed = torch.hypot(state[..., 3], state[..., 4]) + CAR_REACH_OF_TURN * state[..., 5].abs()
        solid = self.margins(state, state, state)[..., :SOLID].amin(-1)
        return (speed < CREEPING) & (state[..., 7] <= 0.0) & (solid >= CREEP_TIME * speed)

    def parameters(self, high_action: Tensor) -> Tensor:
        """High-level action ``[..., 4]`` in [-1, 1] -> lateral target (m), speed target (m/s), two weights."""
        boxed = self._centre + self._half_range * high_action.clamp(-1.0, 1.0)
        return torch.cat((boxed[..., :2], boxed[..., 2:].exp()), -1)

    def aim(self, state: Tensor) -> Tensor:
        """``state [..., state]`` -> the high-level action ``[..., 4]`` whose targets are its offset and its speed."""
        car = Car(*state[..., :CAR_SIZE].unbind(-1))
        targets = (torch.stack((car.n, car.vx), -1) - self._centre[:2]) / self._half_range[:2]
        return torch.cat((targets.clamp(-1.0, 1.0), self.nominal[2:].expand_as(targets)), -1)

    def running(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor) -> Tensor:
        """Cost of a step ``[...]``: of the next state, of the control, and a constant for breaking a rule."""
        return self.judge(state, action, next_state, parameters)[0]

    def judge(self, state: Tensor, action: Tensor, next_state: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``running`` and ``terminated`` together (``pompc.models.protocols.Judge``)."""
        car, opponents = self._unpack(next_state)
        around = look_round(self.road, car, opponents)
        failed = self._failed(car, around)
        turned = car.delta - state[..., 6]
        cost = self._standing(car, around, parameters).addcmul_(turned, turned, value=EFFORT / RATE_SCALE**2)
        for control in action.unbind(-1):
            cost.addcmul_(control, control, value=EFFORT)
        return cost.add_(failed, alpha=FAILURE_COST), failed

    def terminal(self, state: Tensor, parameters: Tensor) -> Tensor:
        """Cost of the last state ``[...]``."""
        car, opponents = self._unpack(state)
        return TERMINAL_WEIGHT * self._standing(car, look_round(self.road, car, opponents), parameters)

    def _standing(self, car: Car, around: Surroundings, parameters: Tensor) -> Tensor:
        """Cost of being in a state ``[...]``: speed and lateral target, heading, barriers before everything solid.

        Fused and in place, because memory limits the speed on the planner's batches. The root stays as it is: its gradient
        needs it.
        """
        lateral, speed, tracking, barrier = parameters.unbind(-1)
        missed, aside = car.vx - speed, car.n - lateral
        cost = torch.addcmul(self._one, missed, missed, value=1.0 / SPEED_SCALE**2).sqrt_() - 1.0
        cost.addcmul_(tracking * aside, aside, value=1.0 / LATERAL_SCALE**2)
        cost.addcmul_(car.e, car.e, value=0.1 / HEADING_SCALE**2)
        edge, zone = around.edge.clamp(max=EDGE_MARGIN) - EDGE_MARGIN, around.zone.clamp(max=ZONE_MARGIN) - ZONE_MARGIN
        solid = (edge * edge).mul_(1.0 / EDGE_MARGIN**2)
        solid.addcmul_(zone * around.nearness, zone, value=1.0 / ZONE_MARGIN**2)
        for gap, side in zip(around.gaps.unbind(0), around.sides.unbind(0), strict=True):
            inside = torch.addcmul(self._one, gap, gap, value=-1.0 / PASS_LENGTH**2)
            solid.add_(inside.addcmul_(side, side, value=-1.0 / PASS_WIDTH**2).clamp_(min=0.0))
        return cost.addcmul_(barrier, solid)
