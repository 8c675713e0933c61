"""The options of the racing family."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

from annotated_types import Gt, Interval

from pompc.config.options import NonNegativeFloat, NonNegativeInt, Options, PositiveFloat, PositiveInt, ShareBelowOne
from pompc.errors import UserError

from .track.xodr import locate


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """``"host:port"`` -> host and port.

        Raises:
            UserError: it has another form.
        """
        match = re.fullmatch(r"([\w.-]+):(\d{1,5})", text)
        if match is None or not 0 < int(match[2]) < 65536:
            raise UserError(f"{text!r} is no address of a server: give host:port, such as 127.0.0.1:2000")
        return cls(match[1], int(match[2]))


@dataclass(frozen=True, kw_only=True)
class CarlaRacingConfig(Options):
    """Racing against scripted traffic on a closed track with danger zones.

    Attributes:
        track: name of a shipped track (``track/circuits/``), or the path of an OpenDRIVE circuit (``.xodr``).
        joint_tolerance: gap (m) and kink (rad) allowed between two pieces or two roads of the track.
        num_opponents: scripted cars on the track, 0 to 3.
        danger_zones: whether the track's danger zones count.
        backend: what moves the car: ``embedded``, the simulator of this package, or ``carla``, servers of that name.
        control_step: time between actions (s).
        substep: time step of the physics (s); divides ``control_step``.
        time_limit: length of an episode (s); it ends truncated.
        compile: compile a step of the embedded simulator with ``torch.compile``; needs a C++ compiler.
        reward_speed: speed (m/s) along the track that earns a reward of 1 per step.
        off_track_penalty: subtracted when the car's side leaves the track.
        zone_penalty: subtracted when the car enters a danger zone.
        collision_penalty: subtracted when the car touches an opponent.
        spin_penalty: subtracted when the car points across or against the track.
        stall_penalty: subtracted when the car has been slower than ``stall_speed`` for ``stall_time``.
        stall_speed: m/s.
        stall_time: s.
        planner_model: ``kinematic`` (no slip, unlimited grip) or ``single_track`` (the plant's equations).
        planner_substeps: sub-steps of the planner model per control step; null takes what the model needs: 1 for the
            kinematic one, those of the plant for the single-track one.
        mass: the car's mass (and yaw inertia), relative to the nominal car's. The planner believes in the nominal car, so
            another value than 1 of this and of the next two is a model error. They need ``backend: embedded``, as the three
            variations do.
        friction: the car's tyre friction, relative.
        drive: the car's engine and brake forces, relative.
        mass_variation: every episode has another mass, drawn uniformly from ``mass`` times 1 - this to 1 + this; 0 draws
            nothing. ``info`` tells the drawn factors, observation and planner do not.
        friction_variation: the same for ``friction``.
        drive_variation: the same for ``drive``.
        planner_friction: the tyre friction that the planner believes in, relative to the nominal car's; the kinematic model
            has no tyres and ignores it.
        planner_mass: the mass (and yaw inertia) that the planner believes in, relative.
        planner_drive: the engine and brake forces that the planner believes in, relative.
        servers: ``host:port`` of CARLA servers; each drives one environment, and ``num_envs`` is at most their number
            unless it is given. This and everything below concerns ``backend: carla`` alone.
        map: a town that the servers load; null makes a world of the track itself. A town's ``track`` is the path of an
            OpenDRIVE circuit in the town's coordinates.
        wall_height: of the walls along the edges of a world made of the track (m).
        additional_width: of the road on such a world's junctions, beyond the lanes (m); a track without any, such as
            ``esses``, has its walls on the edges of its lanes.
        vehicle: blueprint of every car.
        timeout: s until a server that does not answer counts as failed.
        retries: how often a failed server is connected again, after 1, 2, 4, .. s, before the run ends.
        chase_camera: videos show the picture of the server's chase camera in the place of the plan view.
        observe_camera: observe pictures of 64 x 64 pixels from a front camera in the place of the state.
        frame_stack: how many pictures, one per action, make an observation.
    """

    files: ClassVar[Mapping[str, Callable[[str], Path]]] = {"track": locate}

    section = "env"

    track: str = "esses"
    joint_tolerance: Annotated[float, Interval(gt=0, le=1)] = 0.01
    num_opponents: Annotated[int, Interval(ge=0, le=3)] = 2
    danger_zones: bool = True
    backend: Literal["embedded", "carla"] = "embedded"
    control_step: PositiveFloat = 0.05
    substep: Annotated[float, Interval(ge=0.001, le=0.025)] = 0.01
    time_limit: PositiveFloat = 50.0
    compile: bool = False
    reward_speed: PositiveFloat = 20.0
    off_track_penalty: float = 20.0
    zone_penalty: float = 20.0
    collision_penalty: float = 20.0
    spin_penalty: float = 20.0
    stall_penalty: float = 20.0
    stall_speed: float = 1.0
    stall_time: float = 3.0
    mass: PositiveFloat = 1.0
    friction: PositiveFloat = 1.0
    drive: PositiveFloat = 1.0
    mass_variation: ShareBelowOne = 0.0
    friction_variation: ShareBelowOne = 0.0
    drive_variation: ShareBelowOne = 0.0
    planner_model: Literal["kinematic", "single_track"] = "kinematic"
    planner_substeps: PositiveInt | None = None
    planner_friction: PositiveFloat = 1.0
    planner_mass: PositiveFloat = 1.0
    planner_drive: PositiveFloat = 1.0
    servers: tuple[str, ...] = ("127.0.0.1:2000",)
    map: str | None = None
    wall_height: NonNegativeFloat = 1.0
    additional_width: NonNegativeFloat = 0.6
    vehicle: str = "vehicle.tesla.model3"
    timeout: Annotated[float, Gt(0)] = 10.0
    retries: NonNegativeInt = 8
    chase_camera: bool = True
    observe_camera: bool = False
    frame_stack: PositiveInt = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if abs(self.substeps * self.substep - self.control_step) > 1e-9:
            raise UserError(
                f"env.substep is {self.substep}: take a divisor in 0.001..0.025 of env.control_step={self.control_step}"
            )
        self.addresses  # noqa: B018 (a wrong one is said now)

    @property
    def substeps(self) -> int:
        """Physics steps per action."""
        return round(self.control_step / self.substep)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Host and port of every server.

        Raises:
            UserError: the list is empty, an entry is no ``host:port``, or two are equal.
        """
        if not self.servers:
            raise UserError("env.servers is empty: name at least one, such as env.servers=[127.0.0.1:2000]")
        found = tuple(Address.parse(text) for text in self.servers)
        twice = [str(address) for address in dict.fromkeys(found) if found.count(address) > 1]
        if twice:
            raise UserError(f"env.servers names {', '.join(twice)} twice: each environment needs its own server")
        return found

    @property
    def max_envs(self) -> int | None:
        """The most environments at a time, one per server; ``None`` without a limit."""
        return len(self.servers) if self.backend == "carla" else None

    @property
    def max_steps(self) -> int:
        """Actions per episode."""
        return round(self.time_limit / self.control_step)
