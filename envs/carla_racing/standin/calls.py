"""The remote procedures: every public method of ``Calls``, under the name that the client calls.

A method that returns ``None`` answers a ``Response<void>``. Velocities are m/s and deg/s, transforms in CARLA's frame.
"""

from __future__ import annotations

import math
from asyncio import Event
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from . import blueprints
from .actors import Control
from .protocol import Bare, Call, Refusal, refused, success
from .wire import Pose, Vector
from .world import Settings, World

FRONT_WHEELS = (0, 1)


def _finite(values: Iterable[float]) -> Vector:
    """Three finite numbers."""
    x, y, z = values
    if not (math.isfinite(x) and math.isfinite(y) and math.isfinite(z)):
        raise Refusal("not finite")
    return x, y, z


def _pose(transform: list) -> Pose:
    return Pose(*_finite(transform[0]), *_finite(transform[1]))


class Calls:
    """The procedures on a world.

    Args:
        world: the world they act on.
        mode_changed: set whenever the settings may have changed.
    """

    def __init__(self, world: World, mode_changed: Event) -> None:
        self._world, self._mode_changed = world, mode_changed

    # The server and its maps

    def version(self) -> str:
        """The server's version."""
        return self._world.faults.server_version

    def get_available_maps(self) -> list[str]:
        """Names of the maps that can be loaded."""
        return self._world.atlas.names

    def get_required_files(self, folder: str, download: bool = True) -> list[str]:
        """Files that the client should fetch: an empty list."""
        return []

    def get_map_info(self) -> list:
        """Name and spawn points of the loaded map."""
        world = self._world
        return [f"Carla/Maps/{world.map.name}", [pose.encode() for pose in world.map.spawn_points]]

    def get_map_data(self) -> str:
        """The loaded map as OpenDRIVE."""
        return self._world.map.xodr

    async def load_new_episode(self, name: str, reset_settings: bool = True, layers: int = 0) -> None:
        """Begin an episode on a map, by default the loaded one."""
        self._world.load(name or self._world.map.name, reset_settings)
        self._mode_changed.set()
        await self._world.tick()  # shows the new episode to waiting clients, in synchronous mode too

    def copy_opendrive_to_file(self, xodr: str, parameters: list) -> None:
        """Keep a client's OpenDRIVE as a map that the next episode loads."""
        self._world.atlas.store(xodr)

    # The episode

    def get_episode_info(self) -> list:
        """The episode's number and the token of the world's snapshots."""
        return [self._world.episode, [self._world.streams.token(self._world.observer)]]

    def get_sensor_token(self, stream: int) -> list:
        """The token of a sensor's stream."""
        return [self._world.streams.token(stream)]

    def get_episode_settings(self) -> list:
        """The world's settings."""
        return self._world.settings.encode()

    def set_episode_settings(self, values: list) -> int:
        """Replace the settings; return the frame of the change."""
        self._world.settings = Settings.decode(values)
        self._mode_changed.set()
        return self._world.frame

    async def tick_cue(self) -> int:
        """Make a tick; return its frame."""
        world = self._world
        # In asynchronous mode the server's own clock makes the frame that the client then waits for.
        return await world.tick() if world.settings.synchronous else world.frame + 1

    def get_weather_parameters(self) -> list[float]:
        """The stored weather."""
        return self._world.weather

    def set_weather_parameters(self, weather: list[float]) -> None:
        """Store the weather for clients to read."""
        self._world.weather = weather

    def get_actor_definitions(self) -> list[list]:
        """The blueprints."""
        return blueprints.definitions()

    def draw_debug_shape(self, shape: list) -> None:
        """Accept and ignore: there is no picture to draw on."""

    def query_lights_state(self, client: str) -> list:
        """Street lights: an empty list."""
        return []

    def get_environment_objects(self, tag: int) -> list:
        """Objects of the scenery: an empty list."""
        return []

    def get_level_bbs(self, tag: int) -> list:
        """Boxes of the scenery: an empty list."""
        return []

    # Actors

    def spawn_actor(self, description: list, transform: list) -> list:
        """Spawn an actor; return its description."""
        return self._world.encode(self._world.spawn(description, _pose(transform)))

    def spawn_actor_with_parent(
        self, description: list, transform: list, parent: int, attachment: int = 0, socket: str = ""
    ) -> list:
        """Spawn an actor that is fixed to another; return its description."""
        world = self._world
        return world.encode(world.spawn(description, _pose(transform), world.actor(parent)))

    def destroy_actor(self, actor: int) -> bool:
        """Remove an actor."""
        self._world.destroy(actor)
        return True

    def get_actors_by_id(self, ids: list[int]) -> list[list]:
        """Descriptions of the actors that exist."""
        world = self._world
        return [world.encode(world.actors[number]) for number in ids if number in world.actors]

    def get_spectator(self) -> list:
        """Description of the spectator."""
        return self._world.encode(self._world.spectator)

    def get_actor_bounding_box(self, actor: int) -> list:
        """An actor's box."""
        return self._world.actor(actor).box

    def set_actor_transform(self, actor: int, transform: list) -> None:
        """Put an actor somewhere."""
        self._world.actor(actor).place(_pose(transform))

    def set_actor_location(self, actor: int, location: list) -> None:
        """Move an actor and keep its rotation."""
        moved = self._world.actor(actor)
        x, y, z = _finite(location)
        moved.place(moved.pose._replace(x=x, y=y, z=z))

    def set_actor_target_velocity(self, actor: int, velocity: list) -> None:
        """Set a car's velocity (m/s)."""
        self._world.vehicle(actor).set_velocity(_finite(velocity))

    def set_actor_target_angular_velocity(self, actor: int, velocity: list) -> None:
        """Set a car's angular velocity (deg/s)."""
        self._world.vehicle(actor).set_angular_velocity(_finite(velocity))

    def set_actor_simulate_physics(self, actor: int, enabled: bool) -> None:
        """Switch a car's physics."""
        self._world.vehicle(actor).simulate(enabled)

    def set_actor_enable_gravity(self, actor: int, enabled: bool) -> None:
        """Accept and ignore: the cars are on the ground."""
        self._world.actor(actor)

    # Vehicles

    def apply_control_to_vehicle(self, actor: int, control: list) -> None:
        """Set a car's control from the next tick on."""
        command = Control(*control)
        _finite(command[:3])
        self._world.vehicle(actor).control = command

    def get_physics_control(self, actor: int) -> list:
        """A car's stored physics."""
        return self._world.vehicle(actor).physics

    def apply_physics_control(self, actor: int, physics: list) -> None:
        """Store a car's physics; see ``Vehicle.apply_physics``."""
        self._world.vehicle(actor).apply_physics(physics)

    def get_telemetry_data(self, actor: int) -> list:
        """A car's telemetry."""
        return self._world.vehicle(actor).telemetry()

    def get_wheel_steer_angle(self, actor: int, wheel: int) -> float:
        """A wheel's angle (deg); zero at the rear."""
        angle = self._world.vehicle(actor).body.wheel_angle
        return angle if wheel in FRONT_WHEELS else 0.0

    def get_vehicle_light_state(self, actor: int) -> list:
        """A car's lights."""
        return [self._world.vehicle(actor).lights]

    def set_vehicle_light_state(self, actor: int, state: list) -> None:
        """Store a car's lights."""
        self._world.vehicle(actor).lights = state[0]

    def get_vehicle_light_states(self) -> list:
        """The lights of all cars by their number."""
        return [[vehicle.id, vehicle.lights] for vehicle in self._world.vehicles]

    # Batches

    async def apply_batch(self, commands: list, do_tick: bool) -> Bare:
        """Carry out commands, and a tick on request; return one answer per command."""
        answers = [self._command(command) for command in commands]
        if do_tick:
            await self.tick_cue()
        return Bare(answers)

    def _command(self, command: list, spawned: int = 0) -> list:
        """Carry out one command ``[[index, [actor, ...]]]``; actor 0 in commands after a spawn is the spawned one."""
        index, (first, *rest) = command[0]
        try:
            if index == SPAWN:
                return success(self._spawn_command(first, *rest))
            if index not in COMMANDS:
                raise Refusal(f"the CARLA stand-in has no batch command {index}")
            number = first or spawned
            COMMANDS[index](self, number, *rest)
        except Refusal as refusal:
            return refused(str(refusal))
        return success(number)

    def _spawn_command(
        self, description: list, transform: list, parent: list, attachment: int, socket: str, after: list
    ) -> int:
        base = self._world.actor(parent[1]) if parent[0] else None
        number = self._world.spawn(description, _pose(transform), base).id
        for command in after:
            self._command(command, number)
        return number

    # The stand-in itself

    def standin_fault(self, name: str, value: float | int | str) -> None:
        """Set a fault: not a procedure of CARLA's."""
        self._world.faults.set(name, value)

    def standin_state(self) -> dict[str, Any]:
        """State for tests: not a procedure of CARLA's."""
        world = self._world
        return {
            "frame": world.frame,
            "episode": world.episode,
            "map": world.map.name,
            "synchronous": world.settings.synchronous,
            "settings": world.settings._asdict(),
            "actors": [actor.description[1] for actor in world.actors.values()],
            "listeners": world.streams.connections,
            "faults": asdict(world.faults),
        }


SPAWN = 0
COMMANDS = {
    1: Calls.destroy_actor,
    2: Calls.apply_control_to_vehicle,
    5: Calls.apply_physics_control,
    6: Calls.set_actor_transform,
    8: Calls.set_actor_target_velocity,
    9: Calls.set_actor_target_angular_velocity,
    14: Calls.set_actor_simulate_physics,
    15: Calls.set_actor_enable_gravity,
    19: Calls.set_actor_location,
}
"""Batch commands by their place in the client's variant, without the spawn."""


def procedures(calls: Calls) -> dict[str, Call]:
    """The procedures by name."""
    return {name: getattr(calls, name) for name in dir(calls) if not name.startswith("_")}
