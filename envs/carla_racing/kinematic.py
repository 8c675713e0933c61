"""A kinematic bicycle in track coordinates: the planner's cheap idea of the car."""

from __future__ import annotations

import math
from collections.abc import Callable

from .ops import Ops, Value
from .vehicle import LEAST_SCALE, Car, VehicleParameters


class KinematicBicycle:
    """Wheels roll where they point: no slip and no limit of grip, so the error grows with lateral acceleration.

    Actuators, engine, brakes and resistances are the plant's. The lags are integrated exactly, the rest with Euler.

    Args:
        parameters: the car as the planner believes it to be.
        ops: executor.
        curvature: position along the track -> curvature (1/m).
        dt: sub-step (s).
        substeps: sub-steps per control step.
    """

    def __init__(self, parameters: VehicleParameters, ops: Ops, curvature: Callable, dt: float, substeps: int) -> None:
        self.parameters, self.ops, self.curvature = parameters, ops, curvature
        self.dt, self.substeps = dt, substeps
        self._steer_gain = 1.0 - math.exp(-dt / parameters.steer_lag)
        self._drive_gain = 1.0 - math.exp(-dt / parameters.drive_lag)

    def step(self, car: Car, steer: Value, drive: Value) -> Car:
        """One control step under ``steer`` and ``drive``, both in [-1, 1]."""
        for _ in range(self.substeps):
            car = self._substep(car, steer, drive)
        return car

    def _substep(self, car: Car, steer: Value, drive: Value) -> Car:
        ops, p, dt = self.ops, self.parameters, self.dt
        turn = (steer * p.steer_max - car.delta) * self._steer_gain
        delta = car.delta + ops.clamp(turn, -dt * p.steer_rate, dt * p.steer_rate)
        command = car.a + (drive - car.a) * self._drive_gain
        engine = ops.minimum((dt * p.power / p.mass) / ops.maximum(car.vx, 1.0), dt * p.drive_force / p.mass)
        brake_gain = dt * p.brake_force / p.mass
        gained = ops.minimum(command, 0.0) * brake_gain + ops.maximum(command, 0.0) * engine
        slowed = car.vx * (1.0 - car.vx * (dt * p.drag / p.mass)) - dt * p.rolling / p.mass
        vx = ops.maximum(slowed + gained, 0.0)
        r = vx * ops.tan(delta) * (1.0 / p.wheelbase)
        vy = p.rear * r
        kappa = self.curvature(car.s)
        heading = car.e + (0.5 * dt) * (r - kappa * vx)
        sin, cos = ops.sin(heading), ops.cos(heading)
        ds = (vx * cos - vy * sin) / ops.maximum(1.0 - car.n * kappa, LEAST_SCALE) * dt
        n = car.n + dt * (vx * sin + vy * cos)
        return Car(car.s + ds, n, car.e + dt * r - kappa * ds, vx, vy, r, delta, command)
