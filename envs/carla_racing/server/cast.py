"""The actors of one environment on a CARLA server: ego car, opponents, collision sensor, cameras."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pompc.errors import UserError

from ..physics.vehicle import VehicleParameters
from .cameras import VIEWS, Camera
from .frames import Pose, SteeringGear, pedals, transform, world_velocity
from .library import ServerFault, asking
from .server import Server
from .world import TAG

PLACES = 24  # along the track at which a car is tried to be spawned
PAUSE = 0.02  # s between the ticks for a first picture
DROP = 0.5  # m above the road at which a car is spawned
SETTLING = 20  # ticks until it rests on its wheels
LOWEST, HIGHEST = -0.5, 2.0  # m above the road at which the origin of a resting car can be
STANDING = (0.0, -1.0, 0.0)  # steer, drive and speed of a car that stands


class Cast:
    """The actors: spawned at the start, removed by :meth:`leave`. Actors of other clients are never touched.

    Opponents have no physics. The ego is never spawned again: an episode begins by moving it.

    Args:
        server: ready and in synchronous mode.
        num_opponents: how many.

    Raises:
        ServerFault: the server does not answer or has no room.
        UserError: it has no such vehicle.
    """

    def __init__(self, server: Server, num_opponents: int) -> None:
        self._server, self._carla = server, server.carla
        self._actors: list[Any] = []
        self._cameras: dict[str, Camera] = {}
        self._collisions: deque[int] = deque(maxlen=64)
        self._places = itertools.cycle(range(PLACES))
        server.defer(self.leave)
        self.ego = self._spawn_car("ego")
        with asking("ask for the car's steering"):
            self._gear = SteeringGear(self.ego.get_physics_control(), VehicleParameters().steer_max)
        self._opponents = [self._spawn_car("opponent") for _ in range(num_opponents)]
        command = self._carla.command
        server.order("take the opponents' physics", [command.SetSimulatePhysics(car, False) for car in self._opponents])
        self._listen()
        self._known = {self.ego.id}  # the actors that snapshots must show
        self.height = self._rest()

    def _spawn_car(self, name: str) -> Any:
        """Spawn a car at the first free place on the track."""
        server, vehicle = self._server, self._server.config.vehicle
        library = self._library()
        vehicles = sorted(blueprint.id for blueprint in library.filter("vehicle.*"))
        if vehicle not in vehicles:  # a filter by its name would also match tags and patterns
            some = ", ".join(vehicles[:5])
            raise UserError(f"{server.address} has no {vehicle}: take another env.vehicle, such as {some}")
        blueprint = library.find(vehicle)
        blueprint.set_attribute("role_name", f"{TAG}-{name}")
        refused = ""
        for place in itertools.islice(self._places, PLACES):
            x, y, heading = server.track.cartesian(place * server.track.length / PLACES, 0.0)
            pose = Pose(float(x), float(y), float(heading))
            try:
                with asking("spawn a car"):
                    there = transform(self._carla, pose, server.ground(pose) + DROP)
                    return self._keep(server.world.spawn_actor(blueprint, there))
            except ServerFault as error:
                if "no answer" in str(error):
                    raise
                refused = str(error)  # the place is taken: try the next one
        raise ServerFault(f"{refused}, at all of {PLACES} places")

    def _library(self) -> Any:
        """Return the blueprints of the server."""
        with asking("ask for the blueprints"):
            return self._server.world.get_blueprint_library()

    def _attach(self, blueprint: Any, there: Any) -> Any:
        """Attach a sensor to the ego."""
        if blueprint.has_attribute("role_name"):
            blueprint.set_attribute("role_name", f"{TAG}-sensor")
        with asking("spawn a sensor"):
            return self._keep(self._server.world.spawn_actor(blueprint, there, attach_to=self.ego))

    def _keep(self, actor: Any) -> Any:
        self._actors.append(actor)
        return actor

    def _listen(self) -> None:
        blueprint = self._library().find("sensor.other.collision")
        frames = self._collisions  # the callback refers to nothing else, see `cameras`
        sensor = self._attach(blueprint, self._carla.Transform())
        with asking("listen to a sensor"):
            sensor.listen(lambda event: frames.append(event.frame))

    def _rest(self) -> float:
        """Let the ego come to rest: the height (m) of its origin over the road.

        Raises:
            ServerFault: it fell through the road, or stands on something: every car would be put at that height.
        """
        self._server.order("brake", [self._drive(*STANDING)])
        for _ in range(SETTLING - 1):
            self._server.tick()
        snapshot = self._server.tick()
        self._know(snapshot)
        location = self.seen(snapshot).get_transform().location
        height = location.z - self._server.ground(Pose(location.x, -location.y, 0.0))
        if not LOWEST < height < HIGHEST:
            raise ServerFault(f"a car came to rest {height:.1f} m above the road")
        return height

    def _know(self, snapshot: Any) -> None:
        """Require all later snapshots to show the actors of this one."""
        self._known |= {actor.id for actor in self._actors if snapshot.has_actor(actor.id)}

    def _drive(self, steer: float, drive: float, speed: float) -> Any:
        throttle, brake, right = pedals(self._gear.command(steer, speed), drive)
        control = self._carla.VehicleControl(throttle=throttle, brake=brake, steer=right)
        return self._carla.command.ApplyVehicleControl(self.ego, control)

    def _move(self, car: Any, pose: Pose) -> Any:
        there = transform(self._carla, pose, self._server.ground(pose) + self.height)
        return self._carla.command.ApplyTransform(car, there)

    def _traffic(self, poses: Collection[Pose]) -> list[Any]:
        return [self._move(car, pose) for car, pose in zip(self._opponents, poses, strict=True)]

    def place(self, pose: Pose, speed: float, traffic: Collection[Pose]) -> Any:
        """Place all cars and give the ego its speed (m/s); return the snapshot that shows them.

        Without physics the ego stays in place for the tick that shows it; the next tick moves it with this speed.
        """
        command, car = self._carla.command, self.ego
        still = [command.SetSimulatePhysics(car, False), self._drive(0.0, 0.0, 0.0), self._move(car, pose)]
        self._server.order("place the cars", [*still, *self._traffic(traffic)])
        snapshot = self._server.tick()
        x, y = world_velocity(pose.heading, speed, 0.0)
        velocity, zero = self._carla.Vector3D(x, y, 0.0), self._carla.Vector3D()
        moving = [command.ApplyTargetVelocity(car, velocity), command.ApplyTargetAngularVelocity(car, zero)]
        self._server.order("give the car its speed", [command.SetSimulatePhysics(car, True), *moving])
        return snapshot

    def drive(self, steer: float, drive: float, speed: float, traffic: Collection[Pose]) -> Any:
        """Make one control step of the ego, which has that ``speed`` (m/s); return the snapshot after it."""
        self._server.order("drive", [self._drive(steer, drive, speed), *self._traffic(traffic)])
        return self._server.tick()

    def seen(self, snapshot: Any) -> Any:
        """Find the ego in a snapshot.

        Raises:
            ServerFault: one of the actors is gone.
        """
        missing = [
            actor.type_id for actor in self._actors if actor.id in self._known and not snapshot.has_actor(actor.id)
        ]
        if missing:
            raise ServerFault(f"removed by another client: {', '.join(missing)}")
        return snapshot.find(self.ego.id)

    def wheel(self) -> float:
        """Return the angle (degrees, right positive) of the ego's front wheels."""
        with asking("ask for the wheel's angle"):
            return self.ego.get_wheel_steer_angle(self._carla.VehicleWheelLocation.FL_Wheel)

    def touched(self, since: int) -> bool:
        """Whether the ego has touched anything after frame ``since``."""
        return any(frame > since for frame in list(self._collisions))

    def equip(self, views: Collection[str]) -> None:
        """Mount exactly these cameras, by their names in ``VIEWS``; without any, the server does not render."""
        if set(views) == set(self._cameras):
            return
        self._server.render(bool(views))
        for name in [name for name in self._cameras if name not in views]:
            self._dismiss([self._cameras.pop(name).sensor])
        library = self._library()
        for name in [name for name in views if name not in self._cameras]:
            view = VIEWS[name]
            location, rotation = self._carla.Location(x=view.ahead, z=view.up), self._carla.Rotation(pitch=view.pitch)
            sensor = self._attach(Camera.blueprint(library, view), self._carla.Transform(location, rotation))
            with asking("listen to a camera"):
                self._cameras[name] = Camera(sensor)
        self._await_pictures()

    def _await_pictures(self) -> None:
        """Tick until every camera has sent a picture; only from then on is there one of every frame."""
        timeout = self._server.config.timeout
        end = time.monotonic() + timeout
        while not all(camera.works() for camera in self._cameras.values()):
            if time.monotonic() > end:
                raise ServerFault(f"a new camera has sent nothing for {timeout:g} s")
            self._know(self._server.tick())
            time.sleep(PAUSE)

    def picture(self, view: str, frame: int) -> NDArray[np.uint8]:
        """Return a camera's picture of a frame, ``[height, width, 3]``."""
        return self._cameras[view].picture(frame, self._server.config.timeout)

    def _dismiss(self, actors: list[Any]) -> None:
        """Destroy actors. Sensors stop first: destroying one that is sending can abort the process."""
        for actor in actors:
            if actor.type_id.startswith("sensor."):
                with asking("stop a sensor"):
                    actor.stop()
            self._actors.remove(actor)
        destroy = self._carla.command.DestroyActor
        self._server.order("remove actors", [destroy(actor) for actor in actors])

    def leave(self) -> None:
        """Remove all actors, sensors first, if the server answers."""
        self._cameras.clear()
        with suppress(ServerFault):
            self._dismiss(self._actors[::-1])
