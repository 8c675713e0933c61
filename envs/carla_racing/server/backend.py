"""The racing car on CARLA servers: a pool of connections, and the backend that drives over one of them."""

from __future__ import annotations

import atexit
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pompc.errors import Unavailable, UserError

from ..backend import Motion
from ..config import Address, CarlaRacingConfig
from ..physics.opponents import Opponents
from ..physics.vehicle import Car, VehicleParameters
from ..plant import Factors
from ..track.track import Track
from .cast import Cast
from .frames import Pose, car_velocity, heading_error, pose_of, turning
from .library import Interrupted, NoServer, ServerFault
from .server import Server
from .world import leased

LONGEST_PAUSE = 16.0  # s between two attempts to connect
MISPLACED = 0.5  # m allowed between the wanted and the actual place of a car
LOST_SPEED = 2.0  # m/s that a car may have lost in the first step of an episode


class Connection:
    """The connection to one server, opened on first use and closed with its last user.

    Several environments may share a server, such as one for training and one for evaluation. The environment that began the
    last episode holds the server; the episode of the holder before it is over.

    Args:
        address: the server.
        config: the family's options.
        track: the circuit.

    Attributes:
        holder: the backend that drives.
        users: environments that have not been closed.
        faults: how often the server has failed in an episode.
        fruitless: how often in a row it has done so before the first step.
        slow_start: whether an episode has begun without the speed it was given.
    """

    def __init__(self, address: Address, config: CarlaRacingConfig, track: Track) -> None:
        self.address, self._config, self._track = address, config, track
        self.holder: Any = None
        self.users: set[Any] = set()
        self.faults, self.fruitless, self.slow_start = 0, 0, False
        self._found: Any = None  # the settings before the first connection, which the last one leaves
        self._server: Server | None = None
        self._cast: Cast | None = None
        self._lease = ExitStack()

    def cast(self) -> Cast:
        """Return the actors; connect first if there is no connection.

        Raises:
            ServerFault: connecting failed.
            UserError: it cannot work, or another run uses it.
        """
        if self._cast is None:
            if not self.begun:
                self._lease.enter_context(leased(self.address))
            atexit.register(self.close)
            try:
                self._server = Server(self.address, self._config, self._track, self._found)
                self._found = self._server.found
                self._cast = Cast(self._server, self._config.num_opponents)
            except BaseException:
                self.close()
                raise
        return self._cast

    @property
    def begun(self) -> bool:
        """Whether the connection has ever been open."""
        return self._found is not None

    def try_again(self, failures: int, fault: ServerFault, leaving: threading.Event) -> None:
        """Wait for the next attempt after ``failures`` failures in a row.

        Raises:
            Unavailable: no attempt is left, or no server has ever answered.
            Interrupted: the environment is being closed.
        """
        self.close()
        if isinstance(fault, NoServer) and not self.begun:
            raise Unavailable(
                f"there is no CARLA server at {self.address} ({fault}): start one, or name another with "
                "env.servers=[host:port]"
            ) from fault
        if failures > self._config.retries:
            raise self.unavailable(f"has failed {failures} times in a row ({fault})") from fault
        pause = min(2.0 ** (failures - 1), LONGEST_PAUSE)
        warnings.warn(f"{self.address}: {fault}; attempt {failures + 1} of {self._config.retries + 1} in {pause:g} s")
        if leaving.wait(pause):
            raise Interrupted(f"the environment on {self.address} is being closed")

    def unavailable(self, why: str) -> Unavailable:
        """Make the error that ends a run after saving it; ``why`` says what the server did."""
        return Unavailable(
            f"the CARLA server at {self.address} {why}: see to it and run the same command again; "
            f"`pompc carla check {self.address}` says what is there"
        )

    def release(self, user: Any) -> None:
        """Remove a user; the last one leaves the server as it was found."""
        self.users.discard(user)
        if not self.users:
            self.close()
            self._found = None
            self._lease.close()

    def close(self) -> None:
        """Remove the actors and restore the settings if the server answers; the next use connects again."""
        atexit.unregister(self.close)
        server, self._server, self._cast, self.holder = self._server, None, None, None
        if server is not None:
            server.close()
        if not self.begun:
            self._lease.close()


class CarlaBackend:
    """A ``Backend`` over a connection. All sign flips are in ``frames``.

    Position, velocities and yaw rate come from the snapshot of the tick, the wheel angle from the server. CARLA does not
    report the drive at the wheels: it is modelled with the lag of ``VehicleParameters``.

    Args:
        connection: shared with other environments.
        config: the family's options.
        track: the circuit.
        views: names of the cameras that this environment needs.
    """

    def __init__(
        self, connection: Connection, config: CarlaRacingConfig, track: Track, views: tuple[str, ...] = ()
    ) -> None:
        self._connection, self._config, self._track, self._views = connection, config, track, views
        self._car = Car(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        self._frame = self._began = 0
        self._leaving = threading.Event()
        connection.users.add(self)

    def reset(self, car: Car, traffic: Opponents, factors: Factors) -> Car:
        """Begin an episode as ``Backend.reset`` does; connect first if there is no connection.

        The server's car is as it is: ``CarlaServers`` refuses other ``factors`` than 1.

        Raises:
            Unavailable: every attempt failed, too many episodes in a row broke before their first step, or a server that
                was usable no longer is.
            UserError: the server cannot be used.
        """
        connection, failures = self._connection, 0
        if (broken := connection.fruitless) > self._config.retries + 1:
            connection.fruitless = 0
            raise connection.unavailable(f"has broken off {broken} episodes in a row at their first step")
        while True:
            try:
                self._car = self._place(car, traffic)
                return self._car
            except ServerFault as fault:
                failures += 1
                connection.try_again(failures, fault, self._leaving)
            except UserError as error:
                if not connection.begun:
                    raise
                raise Unavailable(str(error)) from error

    def _place(self, car: Car, traffic: Opponents) -> Car:
        cast = self._connection.cast()
        cast.equip(self._views)
        pose = self._pose(car.s, car.n, car.e)
        snapshot = cast.place(pose, car.vx, self._poses(traffic))
        seen = self._read(cast, snapshot, car.s)
        lap = round((seen.s - car.s) / self._track.length) * self._track.length
        away = math.hypot(seen.s - car.s - lap, seen.n - car.n)
        if away > MISPLACED:
            raise ServerFault(f"the car is {away:.1f} m from where it was put")
        for view in self._views:
            cast.picture(view, snapshot.frame)  # fail now, not within the episode, if no picture comes
        self._connection.holder, self._frame, self._began = self, snapshot.frame, snapshot.frame
        return Car(seen.s, seen.n, seen.e, car.vx, 0.0, 0.0, 0.0, 0.0)

    def step(self, steer: float, drive: float, traffic: Opponents) -> Motion:
        """Make one control step as ``Backend.step`` does.

        Raises:
            Interrupted: the server failed, or another environment has taken it; the next reset repairs both.
        """
        with self._driving() as cast:
            snapshot = cast.drive(steer, drive, self._car.vx, self._poses(traffic))
            if snapshot.frame != self._frame + 1:
                raise ServerFault(f"{snapshot.frame - self._frame} ticks in one step: another client ticks, too")
            car = self._read(cast, snapshot, self._car.s)
            lost = self._frame == self._began and abs(car.vx - self._car.vx) > LOST_SPEED
            if lost and not self._connection.slow_start:
                self._connection.slow_start = True
                warnings.warn(
                    f"{self._connection.address} begins an episode with {car.vx:.1f} m/s, not {self._car.vx:.1f}"
                )
            self._car = car._replace(delta=turning(cast.wheel()), a=self._arrived(drive))
        self._frame, self._connection.fruitless = snapshot.frame, 0
        return Motion(self._car, cast.touched(self._began))

    def picture(self, view: str) -> NDArray[np.uint8]:
        """Return a camera's picture of the last step, ``[height, width, 3]``.

        Raises:
            Interrupted: as for a step.
        """
        with self._driving() as cast:
            return cast.picture(view, self._frame)

    @contextmanager
    def _driving(self) -> Iterator[Cast]:
        """A block in which the server is this environment's; a fault in it ends the connection."""
        self.require()
        connection = self._connection
        try:
            yield connection.cast()
        except ServerFault as fault:
            connection.faults += 1  # the number makes every warning another one: Python shows equal ones once
            connection.fruitless += 1
            warnings.warn(
                f"{connection.address}: {fault}; the episode ends here, the server is connected again "
                f"({connection.faults})"
            )
            connection.close()
            raise

    def require(self) -> None:
        """Make sure that this environment has an episode on the server.

        Raises:
            Interrupted: another one has taken the server, or it has failed.
        """
        if self._connection.holder is not self:
            raise Interrupted(f"there is no episode of this environment on {self._connection.address}")

    def let_go(self) -> None:
        """Give up the server until the next reset."""
        if self._connection.holder is self:
            self._connection.holder = None

    def leave(self) -> None:
        """Stop waiting for the server; call it from another thread before :meth:`close`."""
        self._leaving.set()

    def close(self) -> None:
        """See ``Backend.close``."""
        self._connection.release(self)

    def _pose(self, s: float, n: float, e: float) -> Pose:
        x, y, heading = self._track.cartesian(s, n, e)
        return Pose(float(x), float(y), float(heading))

    def _poses(self, traffic: Opponents) -> list[Pose]:
        return [self._pose(s, n, 0.0) for s, n in zip(traffic.s, traffic.n, strict=True)]

    def _read(self, cast: Cast, snapshot: Any, near: float) -> Car:
        """Read the car from a snapshot, without wheel angle and drive."""
        actor = cast.seen(snapshot)
        pose, velocity = pose_of(actor.get_transform()), actor.get_velocity()
        s, n = (float(value) for value in self._track.project(pose.x, pose.y, near))
        centre = float(self._track.cartesian(s, 0.0)[2])
        vx, vy = car_velocity(pose.heading, velocity.x, velocity.y)
        r = turning(actor.get_angular_velocity().z)
        return Car(s, n, heading_error(pose.heading, centre), vx, vy, r, 0.0, 0.0)

    def _arrived(self, drive: float) -> float:
        arrived, gain = self._car.a, self._config.substep / VehicleParameters().drive_lag
        for _ in range(self._config.substeps):
            arrived += gain * (drive - arrived)
        return arrived
