"""A dynamic single-track car in track coordinates: the plant of the racing task.

Chassis and tyre are the BMW 320i of the CommonRoad vehicle models (Althoff, Koschi, Manzinger, "CommonRoad:
Composable benchmarks for motion planning on roads", IV 2017; parameter set 2 and its tyre set). The lateral force is
Pacejka's magic formula (Pacejka, "Tire and Vehicle Dynamics"), without the offsets and with the curvature factor E,
-0.007 in the set, left out. Actuator lags, steering lock, engine power and brakes are choices of this task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from .ops import Ops, Value

GRAVITY = 9.81
LEAST_SCALE = 0.2  # of 1 - n kappa, which is zero only far off the track


class Car(NamedTuple):
    """State of the plant; every entry is a float or a tensor ``[...]``.

    Attributes:
        s: position along the centre line (m).
        n: offset from it (m), positive to the left.
        e: heading relative to it (rad).
        vx: forward speed (m/s), never negative: the car has no reverse.
        vy: lateral speed (m/s), positive to the left.
        r: yaw rate (rad/s).
        delta: angle of the front wheels (rad).
        a: drive (0..1) or brake (-1..0) command that has arrived at the wheels.
    """

    s: Value
    n: Value
    e: Value
    vx: Value
    vy: Value
    r: Value
    delta: Value
    a: Value


@dataclass(frozen=True, kw_only=True)
class VehicleParameters:
    """A rear-driven car.

    Every entry that :meth:`scaled` multiplies is a float, or a tensor ``[...]`` of one value per car.

    Attributes:
        mass: kg.
        inertia: yaw inertia (kg m^2).
        front: distance of the front axle from the centre of gravity (m).
        rear: distance of the rear axle (m).
        height: height of the centre of gravity (m).
        friction: peak tyre friction (tyre set: p_dy1).
        front_grip: the front axle's grip, relative: road cars understeer at the limit (roll stiffness sits in front).
        stiffness: cornering stiffness per load (1/rad; tyre set: -p_ky1).
        shape: magic-formula shape factor C (tyre set: p_cy1).
        power: engine power (W).
        drive_force: largest drive force (N).
        brake_force: largest brake force of both axles (N).
        front_brake: share of the front axle in it (parameter set: T_sb).
        drag: air drag (N s^2/m^2).
        rolling: rolling resistance (N).
        steer_max: wheel angle at full steer (rad).
        steer_rate: limit of its rate (rad/s).
        steer_lag: time constant of the steering (s).
        drive_lag: time constant of engine and brakes (s).
    """

    mass: Value = 1093.3
    inertia: Value = 1791.6
    front: float = 1.1562
    rear: float = 1.4227
    height: float = 0.5749
    friction: Value = 1.0489
    front_grip: float = 0.92
    stiffness: float = 21.92
    shape: float = 1.3507
    power: Value = 125e3
    drive_force: Value = 5500.0
    brake_force: Value = 9800.0
    front_brake: float = 0.66
    drag: float = 0.42
    rolling: float = 130.0
    steer_max: float = 0.4
    steer_rate: float = 0.8
    steer_lag: float = 0.1
    drive_lag: float = 0.1

    @property
    def wheelbase(self) -> float:
        """Distance between the axles (m)."""
        return self.front + self.rear

    def scaled(self, *, mass: Value, friction: Value, drive: Value) -> VehicleParameters:
        """Multiply mass and yaw inertia, tyre friction, and the forces of engine and brakes by factors."""
        return replace(
            self,
            mass=self.mass * mass,
            inertia=self.inertia * mass,
            friction=self.friction * friction,
            power=self.power * drive,
            drive_force=self.drive_force * drive,
            brake_force=self.brake_force * drive,
        )


class SingleTrack:
    """The equations of motion, integrated with semi-implicit Euler sub-steps (heading at the middle of each).

    Slip is computed with at least ``300 dt`` m/s of forward speed. The tyres' eigenvalue, 215 / speed in 1/s, then stays
    below 0.72 per sub-step, so the car is stable down to standstill. There it rolls like a kinematic car.

    Args:
        parameters: the car.
        ops: executor, ``ScalarOps`` or ``TorchOps``.
        curvature: position along the track -> curvature of the centre line (1/m), in the executor's values.
        dt: sub-step (s), at most 0.03.
        substeps: sub-steps per control step.
    """

    def __init__(self, parameters: VehicleParameters, ops: Ops, curvature: Callable, dt: float, substeps: int) -> None:
        self.parameters, self.ops, self.curvature = parameters, ops, curvature
        self.dt, self.substeps = dt, substeps
        self.slip_speed = 300.0 * dt
        self._magic = parameters.stiffness / (parameters.shape * parameters.friction)
        self._load = parameters.mass * GRAVITY / parameters.wheelbase

    def step(self, car: Car, steer: Value, drive: Value) -> Car:
        """Make one control step under ``steer`` (left positive) and ``drive`` (brake negative), both in [-1, 1]."""
        for _ in range(self.substeps):
            delta, command = self._actuate(car, steer, drive)
            car = self._move(car._replace(delta=delta, a=command), *self._accelerate(car, delta, command))
        return car

    def _actuate(self, car: Car, steer: Value, drive: Value) -> tuple[Value, Value]:
        """Move the actuators towards the commands with first-order lags; the steering has a rate limit."""
        p, dt = self.parameters, self.dt
        rate = self.ops.clamp((steer * p.steer_max - car.delta) * (1.0 / p.steer_lag), -p.steer_rate, p.steer_rate)
        return car.delta + dt * rate, car.a + (dt / p.drive_lag) * (drive - car.a)

    def _axle(self, limit: Value, drive: Value, lateral_speed: Value, rolling_speed: Value) -> tuple[Value, Value]:
        """Longitudinal and lateral force (N) of an axle that can carry ``limit`` (N) in any direction."""
        ops, p = self.ops, self.parameters
        share = ops.clamp(drive / limit, -0.95, 0.95)
        slip = lateral_speed / ops.maximum(rolling_speed, self.slip_speed)
        lateral = ops.sin(p.shape * ops.atan(self._magic * slip))
        return share * limit, -limit * ops.sqrt(1.0 - share * share) * lateral

    def _accelerate(self, car: Car, delta: Value, command: Value) -> tuple[Value, Value, Value]:
        """Rates of forward speed, lateral speed and yaw rate (m/s^2, m/s^2, rad/s^2)."""
        ops, p = self.ops, self.parameters
        engine = ops.minimum(p.power / ops.maximum(car.vx, 1.0), p.drive_force) * ops.maximum(command, 0.0)
        # Brakes fade out below half a metre per second, or they would push a standing car along its wheels.
        brake = p.brake_force * ops.minimum(command, 0.0) * ops.minimum(2.0 * car.vx, 1.0)
        grip = p.friction * p.mass * GRAVITY
        transfer = ops.clamp(engine + brake, -grip, grip) * (p.height / p.wheelbase)
        front_speed = car.vy + p.front * car.r
        sin, cos = ops.sin(delta), ops.cos(delta)
        front_x, front_y = self._axle(
            p.front_grip * p.friction * (self._load * p.rear - transfer),
            p.front_brake * brake,
            front_speed * cos - car.vx * sin,
            car.vx * cos + front_speed * sin,
        )
        rear_x, rear_y = self._axle(
            p.friction * (self._load * p.front + transfer),
            engine + (1.0 - p.front_brake) * brake,
            car.vy - p.rear * car.r,
            car.vx,
        )
        side = front_y * cos + front_x * sin
        forward = rear_x + front_x * cos - front_y * sin - p.rolling - p.drag * car.vx * car.vx
        return (
            forward * (1.0 / p.mass) + car.vy * car.r,
            (rear_y + side) * (1.0 / p.mass) - car.vx * car.r,
            (p.front * side - p.rear * rear_y) * (1.0 / p.inertia),
        )

    def _move(self, car: Car, forward: Value, sideways: Value, turn: Value) -> Car:
        """Move the car by the exact kinematics of track coordinates, with the new speeds."""
        ops, dt = self.ops, self.dt
        vx = ops.maximum(car.vx + dt * forward, 0.0)
        vy, r = car.vy + dt * sideways, car.r + dt * turn
        kappa = self.curvature(car.s)
        scale = 1.0 / ops.maximum(1.0 - car.n * kappa, LEAST_SCALE)
        heading = car.e + (0.5 * dt) * (r - kappa * vx * scale)
        sin, cos = ops.sin(heading), ops.cos(heading)
        ds = dt * (vx * cos - vy * sin) * scale
        dn = dt * (vx * sin + vy * cos)
        return car._replace(s=car.s + ds, n=car.n + dn, e=car.e + dt * r - kappa * ds, vx=vx, vy=vy, r=r)
