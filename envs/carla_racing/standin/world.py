"""The episode: its settings, its actors, and the tick."""

from __future__ import annotations

import time
from itertools import combinations, count
from typing import Any, NamedTuple

from . import blueprints, sensors, wire
from .actors import Actor, Vehicle, overlap
from .faults import Faults
from .maps import DEFAULT, Atlas
from .physics import Clock
from .protocol import Refusal
from .sensors import Sensor
from .streams import Streams
from .wire import Pose

VARIABLE_STEP = 0.05  # s, unless the client fixes one
WEATHER = [0.0] * 5 + [70.0] + [0.0] * 8  # a clear noon


class Settings(NamedTuple):
    """Episode settings in the order of the RPC; ``fixed_delta`` is ``None`` unless the client fixes it."""

    synchronous: bool = False
    no_rendering: bool = False
    fixed_delta: float | None = None
    substepping: bool = True
    max_substep: float = 0.01
    max_substeps: int = 10
    culling: float = 0.0
    deterministic_ragdolls: bool = True
    tile_distance: float = 3000.0
    active_distance: float = 2000.0
    spectator_as_ego: bool = True

    @classmethod
    def decode(cls, values: list) -> Settings:
        """From the RPC form."""
        settings = cls(*values)
        fixed = values[2][1] if values[2][0] else None
        if (fixed is not None and not 0.0 < fixed <= 1.0) or settings.max_substep <= 0.0:
            raise Refusal("invalid settings: take a fixed_delta_seconds in (0, 1] and a positive sub-step")
        return settings._replace(fixed_delta=fixed)

    def encode(self) -> list:
        """The RPC form."""
        fixed = [False] if self.fixed_delta is None else [True, self.fixed_delta]
        return [*self[:2], fixed, *self[3:]]

    @property
    def step(self) -> float:
        """Simulated time of a tick (s)."""
        return self.fixed_delta or VARIABLE_STEP

    @property
    def clock(self) -> Clock:
        """Integration of a tick."""
        return Clock.of(self.step, self.max_substep, self.max_substeps if self.substepping else 1)


class World:
    """Everything the client sees.

    Args:
        streams: of the messages.
        faults: the active faults.
    """

    def __init__(self, streams: Streams, faults: Faults) -> None:
        self.streams, self.faults = streams, faults
        self.atlas = Atlas()
        self.settings = Settings()
        self.weather = list(WEATHER)
        self.frame = 0
        self.episode = 0
        self.observer = streams.open()
        self.actors: dict[int, Actor] = {}
        self._numbers = count(1)
        self.load(DEFAULT, reset_settings=True)

    def load(self, name: str, reset_settings: bool) -> None:
        """Begin an episode on a map; all actors are removed."""
        self.map = self.atlas.load(name)
        for actor in list(self.actors.values()):
            self._remove(actor)
        if reset_settings:
            self.settings = Settings()
        self.weather = list(WEATHER)
        self.episode += 1
        self.seconds = 0.0
        self.spectator = self._add(Actor(id=next(self._numbers), description=[0, "spectator", []], pose=Pose()))
        self._map_changed = True

    def actor(self, number: int) -> Actor:
        """An actor by id."""
        if number not in self.actors:
            raise Refusal(f"actor {number} not found")
        return self.actors[number]

    def vehicle(self, number: int) -> Vehicle:
        """A vehicle by id."""
        actor = self.actor(number)
        if not isinstance(actor, Vehicle):
            raise Refusal(f"actor {number} is not a vehicle")
        return actor

    def encode(self, actor: Actor) -> list:
        """The RPC form of an actor."""
        return actor.encode(self.streams.token(actor.stream))

    def spawn(self, description: list, pose: Pose, parent: Actor | None = None) -> Actor:
        """Spawn an actor.

        Args:
            description: ``[uid, id, [[attribute, type, value], ...]]``.
            pose: in the world, or relative to the parent.
            parent: the actor that it is attached to.

        Raises:
            Refusal: no such blueprint, or a vehicle is in the way.
        """
        if self.faults.take("refuse_spawn"):
            raise Refusal("Spawn failed because of collision at spawn position")
        name = description[1]
        attributes = blueprints.attributes(name, description[2])
        values: dict[str, Any] = {"id": next(self._numbers), "description": description, "pose": pose}
        if name in blueprints.VEHICLES:
            actor = Vehicle(self.map.grounds, **values)
            if any(overlap(actor, other) for other in self.vehicles):
                raise Refusal("Spawn failed because of collision at spawn position")
        else:
            stream = self.streams.open() if name in sensors.FAMILIES else 0
            actor = Sensor(attributes, parent=parent, mount=pose, stream=stream, **values)
            actor.follow()
        return self._add(actor)

    def destroy(self, number: int) -> None:
        """Remove an actor; attached actors stay, as in CARLA."""
        actor = self.actor(number)
        if actor is self.spectator:
            raise Refusal("the spectator cannot be destroyed")
        self._remove(actor)
        for other in self.actors.values():
            if other.parent is actor:
                other.parent = None

    def _add(self, actor: Actor) -> Actor:
        self.actors[actor.id] = actor
        return actor

    def _remove(self, actor: Actor) -> None:
        del self.actors[actor.id]
        self.streams.close(actor.stream)

    @property
    def vehicles(self) -> list[Vehicle]:
        """All vehicles."""
        return [actor for actor in self.actors.values() if isinstance(actor, Vehicle)]

    async def tick(self) -> int:
        """Make one step and publish it; return the new frame."""
        await self.faults.before_tick()
        self.frame += 1
        self.seconds += self.settings.step
        clock = self.settings.clock
        for vehicle in self.vehicles:
            vehicle.step(clock)
        for actor in self.actors.values():
            actor.follow()
        self._report_collisions()
        self._send_snapshot()
        self._measure()
        return self.frame

    def _report_collisions(self) -> None:
        watched: dict[int, list[Sensor]] = {}
        for actor in self.actors.values():
            if isinstance(actor, Sensor) and actor.parent and actor.description[1] == sensors.COLLISION:
                watched.setdefault(actor.parent.id, []).append(actor)
        if not watched:
            return
        for pair in combinations(self.vehicles, 2):
            if (pair[0].id in watched or pair[1].id in watched) and overlap(*pair):
                for one, other in (pair, pair[::-1]):
                    for sensor in watched.get(one.id, ()):
                        impulse = sensors.impulse(one, other)
                        self._publish(sensor, sensors.collision(self.encode(one), self.encode(other), impulse))

    def _send_snapshot(self) -> None:
        flags = wire.MAP_CHANGED if self._map_changed else 0
        message = b"".join(
            (
                wire.sensor_header(wire.WORLD_OBSERVER, self.frame, self.seconds, Pose()),
                wire.EPISODE_HEADER.pack(self.episode, time.monotonic(), self.settings.step, 0, 0, 0, flags),
                *(actor.state() for actor in self.actors.values()),
            )
        )
        self._map_changed = False
        if self.faults.take("drop_snapshots"):
            return
        send = self.streams.cut if self.faults.take("cut_stream") else self.streams.publish
        send(self.observer, message)

    def _measure(self) -> None:
        for actor in self.actors.values():
            if not isinstance(actor, Sensor) or not self.streams.heard(actor.stream):
                continue
            family = sensors.FAMILIES[actor.description[1]]
            blind = family.rendered and self.settings.no_rendering
            if family.measure and not blind and actor.is_due(self.seconds):
                self._publish(actor, family.measure(actor))

    def _publish(self, sensor: Sensor, payload: bytes) -> None:
        kind = sensors.FAMILIES[sensor.description[1]].kind
        self.streams.publish(sensor.stream, wire.sensor_header(kind, self.frame, self.seconds, sensor.pose) + payload)
