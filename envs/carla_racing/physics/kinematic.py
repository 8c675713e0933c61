"""A kinematic bicycle in track coordinates: the planner's cheap model of the car."""

from __future__ import annotations

import math
from collections.abc import Callable

from .ops import Ops, Value
from .vehicle import LEAST_SCALE, Car, VehicleParameters


class KinematicBicycle:
    """A car without slip and without a limit of grip, so that the error grows with lateral acceleration.

    Actuators, engine, brakes and resistances are the plant's. The lags are integrated exactly, the rest with Euler.

    Args:
        parameters: of the car, as the planner assumes them.
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
        self._one = ops.constant(1.0)

    def step(self, car: Car, steer: Value, drive: Value) -> Car:
        """Make one control step under ``steer`` and ``drive``, both in [-1, 1]."""
        for _ in range(self.substeps):
            car = self._substep(car, steer, drive)
        return car

    def _substep(self, car: Car, steer: Value, drive: Value) -> Car:
        ops, p, dt = self.ops, self.parameters, self.dt
        turn = ops.plus(steer * (p.steer_max * self._steer_gain), car.delta, -self._steer_gain)
        delta = car.delta + ops.clamp(turn, -dt * p.steer_rate, dt * p.steer_rate)
        command = ops.lerp(car.a, drive, self._drive_gain)
        vx = self._speed(car.vx, command)
        r = vx * ops.tan(delta) * (1.0 / p.wheelbase)
        vy = p.rear * r
        kappa = self.curvature(car.s)
        heading = ops.plus(car.e, ops.plus_product(r, kappa, vx, -1.0), 0.5 * dt)
        sin, cos = ops.sin(heading), ops.cos(heading)
        scale = ops.maximum(ops.plus_product(self._one, car.n, kappa, -1.0), LEAST_SCALE)
        progress = ops.plus_product(vx * cos, vy, sin, -1.0) / scale
        return Car(
            s=ops.plus(car.s, progress, dt),
            n=ops.plus(car.n, ops.plus_product(vx * sin, vy, cos), dt),
            e=ops.plus(car.e, ops.plus_product(r, kappa, progress, -1.0), dt),
            vx=vx,
            vy=vy,
            r=r,
            delta=delta,
            a=command,
        )

    def _speed(self, vx: Value, command: Value) -> Value:
        """Return the forward speed (m/s) after a sub-step under the drive command at the wheels."""
        ops, p, impulse = self.ops, self.parameters, self.dt / self.parameters.mass
        resisted = ops.plus_product(vx, vx, vx, -impulse * p.drag) - impulse * p.rolling
        braked = ops.plus(resisted, ops.minimum(command, 0.0), impulse * p.brake_force)
        # The engine's force is power / speed; below this speed it is its largest force.
        speed = ops.maximum(vx, max(p.power / p.drive_force, 1.0))
        return ops.maximum(ops.plus_quotient(braked, ops.maximum(command, 0.0), speed, impulse * p.power), 0.0)
