"""The options of the racing family."""

from __future__ import annotations

from dataclasses import dataclass

from pompc.errors import UserError


@dataclass(frozen=True, kw_only=True)
class CarlaRacingConfig:
    """Racing against scripted traffic on a closed track with danger zones.

    Attributes:
        track: name of a track in ``tracks/``.
        num_opponents: scripted cars on the track, 0 to 3.
        danger_zones: whether the track's danger zones count.
        backend: what moves the car; ``embedded`` is the simulator of this package.
        control_step: time between actions (s).
        substep: time step of the physics (s); divides ``control_step``.
        time_limit: length of an episode (s); it ends truncated.
        reward_speed: speed (m/s) along the track that earns a reward of 1 per step.
        off_track_penalty: subtracted when the car's side leaves the track.
        zone_penalty: subtracted when the car enters a danger zone.
        collision_penalty: subtracted when the car touches an opponent.
        spin_penalty: subtracted when the car points across or against the track.
        stall_penalty: subtracted when the car has been slower than ``stall_speed`` for ``stall_time``.
        stall_speed: m/s.
        stall_time: s.
        planner_model: ``kinematic`` (no slip, unlimited grip) or ``single_track`` (the plant's equations).
        planner_substeps: sub-steps of the planner model per control step; none means what the model needs: 1 for the
            kinematic one, those of the plant for the single-track one.
        planner_friction: the planner's tyre friction, relative to the plant's: a model error to order; the kinematic
            model has no tyres to lose grip with.
        planner_mass: the planner's mass (and yaw inertia), relative.
        planner_drive: the planner's engine and brake forces, relative.
    """

    track: str = "esses"
    num_opponents: int = 2
    danger_zones: bool = True
    backend: str = "embedded"
    control_step: float = 0.05
    substep: float = 0.01
    time_limit: float = 50.0
    reward_speed: float = 20.0
    off_track_penalty: float = 20.0
    zone_penalty: float = 20.0
    collision_penalty: float = 20.0
    spin_penalty: float = 20.0
    stall_penalty: float = 20.0
    stall_speed: float = 1.0
    stall_time: float = 3.0
    planner_model: str = "kinematic"
    planner_substeps: int | None = None
    planner_friction: float = 1.0
    planner_mass: float = 1.0
    planner_drive: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.num_opponents <= 3:
            raise UserError(f"env.num_opponents is {self.num_opponents}: take 0 to 3")
        if self.planner_substeps is not None and self.planner_substeps < 1:
            raise UserError(f"env.planner_substeps is {self.planner_substeps}: take at least 1, or null")
        for name in ("control_step", "time_limit", "reward_speed", "planner_friction", "planner_mass", "planner_drive"):
            if getattr(self, name) <= 0:
                raise UserError(f"env.{name} must be positive, not {getattr(self, name)}")
        if not 0.001 <= self.substep <= 0.025 or abs(self.substeps * self.substep - self.control_step) > 1e-9:
            raise UserError(
                f"env.substep is {self.substep}: take a divisor in 0.001..0.025 of env.control_step={self.control_step}"
            )

    @property
    def substeps(self) -> int:
        """Physics steps per action."""
        return round(self.control_step / self.substep)

    @property
    def max_steps(self) -> int:
        """Actions per episode."""
        return round(self.time_limit / self.control_step)
