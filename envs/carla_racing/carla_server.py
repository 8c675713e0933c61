"""One CARLA server made ready for an environment: version, world, synchronous ticks; and left as it was found."""

from __future__ import annotations

import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from pompc.errors import UserError

from .carla_frames import Pose, to_carla
from .carla_library import NoServer, ServerFault, asking, client_library
from .config import Address, CarlaRacingConfig
from .track import Track

TAG = "pompc"
"""How the role name of every actor begins that this package has spawned."""
LOADING = 180.0  # s that a server may take for a world
CLOSING = 2.0  # s that a failed server may take for each of the last requests
WATCHING = 1.0  # s
PLAYERS = ("vehicle.", "walker.", "sensor.", "controller.")


def connect(address: Address, timeout: float) -> Any:
    """A client of a server that speaks its version, nothing of the world asked yet.

    The order matters: a client that reads the stream of another version is aborted with its whole process.

    Raises:
        ServerFault: no answer.
        UserError: the versions differ.
    """
    carla = client_library()
    try:
        socket.create_connection(address, timeout).close()  # says at once what the client says after its time-out
    except OSError as error:
        raise NoServer(f"connect: {error.strerror or error}") from error
    client = carla.Client(address.host, address.port, worker_threads=1)
    client.set_timeout(timeout)
    with asking("ask for the version"):
        server, own = client.get_server_version(), client.get_client_version()
    if server != own:
        raise UserError(
            f"{address} is a CARLA server of version {server}, the client is {own}: start a server {own}, because data of "
            "another version abort the process"
        )
    return client


def short(name: str) -> str:
    """A map's name without its folders."""
    return name.rpartition("/")[2]


def role(actor: Any) -> str:
    """The role name of an actor; empty where it has none."""
    return actor.attributes.get("role_name", "")


def is_own(actor: Any) -> bool:
    """Whether this package has spawned an actor, in this process or in one that is gone."""
    parent = actor.parent
    return role(actor).startswith(TAG) or (parent is not None and role(parent).startswith(TAG))


def others(world: Any) -> list[str]:
    """Cars, walkers and sensors of other clients, in words; what belongs to the map is not among them."""
    players = [actor for actor in world.get_actors() if actor.type_id.startswith(PLAYERS) and not is_own(actor)]
    return [f"{actor.type_id} (id {actor.id}{', ' + role(actor) if role(actor) else ''})" for actor in players]


def is_driven(world: Any) -> bool:
    """Whether another client ticks the server in synchronous mode; the late answer to one old tick is not yet a client."""
    frames, end = set(), time.monotonic() + WATCHING
    while world.get_settings().synchronous_mode and time.monotonic() < end:
        frames.add(world.get_snapshot().frame)
        if len(frames) > 3:
            return True
        time.sleep(0.01)
    return False


@contextmanager
def synchronous(world: Any, config: CarlaRacingConfig, found: Any) -> Iterator[None]:
    """A block in which the server waits for ticks of one control step each, without rendering; then as ``found``."""
    settings = world.get_settings()
    settings.synchronous_mode, settings.no_rendering_mode = True, True
    settings.fixed_delta_seconds = config.control_step
    settings.substepping, settings.max_substep_delta_time = True, config.substep
    settings.max_substeps = max(config.substeps, 10)
    try:
        with asking("switch to synchronous mode"):
            world.apply_settings(settings)
        yield
    finally:
        with suppress(ServerFault), asking("restore the settings"):
            world.apply_settings(found)


class Server:
    """A server in synchronous mode with the track's world.

    Args:
        address: where it listens.
        config: the family's options.
        track: the circuit.

    Raises:
        ServerFault: it does not answer, or not in time.
        UserError: another version, another client at work, or a map without the track.
    """

    def __init__(self, address: Address, config: CarlaRacingConfig, track: Track) -> None:
        self.address, self.config, self.track = address, config, track
        self.carla = client_library()
        self.client = connect(address, config.timeout)
        with ExitStack() as stack:
            with asking("take over the world"):
                found = self._free()
                self.world = self._load()
                self.map = self.world.get_map()
            self._check_map()
            stack.enter_context(synchronous(self.world, config, found))
            self._stack = stack.pop_all()

    def _free(self) -> Any:
        """Make sure that nobody else drives the server, and clear away what a dead run left: the settings to leave."""
        world = self.client.get_world()
        if is_driven(world):
            raise UserError(
                f"{self.address} is driven by another client, which ticks it in synchronous mode: stop that client, or "
                "name another server in env.servers"
            )
        found = world.get_settings()
        if found.synchronous_mode:
            warnings.warn(f"{self.address} was left in synchronous mode by a client that is gone: repaired")
            found.synchronous_mode, found.fixed_delta_seconds = False, None
            world.apply_settings(found)
        world.wait_for_tick(self.config.timeout)  # before the first one no actor is known
        left = [actor.id for actor in world.get_actors() if is_own(actor)]
        if left:
            self.client.apply_batch_sync([self.carla.command.DestroyActor(each) for each in left], False)
        return found

    def _load(self) -> Any:
        """The wanted world; it is loaded only if it is not there, because loading destroys all actors."""
        world, config = self.client.get_world(), self.config
        definition = self.track.path.read_text(encoding="utf-8")
        present = world.get_map()
        if config.map is None:
            there = present.to_opendrive().split() == definition.split()
        else:
            there = short(present.name) == config.map
        if there:
            return world
        if strangers := others(world):
            wanted = config.map or f"the track {self.track.name}"
            raise UserError(
                f"{self.address} shows {short(present.name)} with {len(strangers)} actors of other clients, which "
                f"loading {wanted}"
                f" would destroy: remove {', '.join(strangers[:3])}{', ..' if len(strangers) > 3 else ''} first"
            )
        self.client.set_timeout(LOADING)
        try:
            return self._generate(definition) if config.map is None else self._load_town(config.map)
        finally:
            self.client.set_timeout(config.timeout)

    def _generate(self, definition: str) -> Any:
        walls = {"wall_height": self.config.wall_height, "additional_width": self.config.additional_width}
        return self.client.generate_opendrive_world(definition, self.carla.OpendriveGenerationParameters(**walls))

    def _load_town(self, name: str) -> Any:
        towns = sorted(map(short, self.client.get_available_maps()))
        if name not in towns:
            raise UserError(f"{self.address} has no map {name!r}: take one of {', '.join(towns)} for env.map")
        return self.client.load_world(name)

    def _check_map(self) -> None:
        """A circuit drawn for another place is a mistake that no other connection mends."""
        for s in (0.0, 0.25, 0.5, 0.75):
            x, y, heading = (float(value) for value in self.track.cartesian(s * self.track.length, 0.0))
            if self._waypoint(Pose(x, y, heading), project=False) is None:
                raise UserError(
                    f"the track {self.track.name} leaves the roads of {short(self.map.name)} on {self.address}: give "
                    "env.track "
                    "the path of an OpenDRIVE circuit in that map's coordinates, or env.map=null"
                )

    def _waypoint(self, pose: Pose, *, project: bool) -> Any:
        x, y, _ = to_carla(pose)
        return self.map.get_waypoint(self.carla.Location(x=x, y=y), project_to_road=project)

    def ground(self, pose: Pose) -> float:
        """Height (m) of the road at a pose."""
        waypoint = self._waypoint(pose, project=True)
        return 0.0 if waypoint is None else waypoint.transform.location.z

    def defer(self, last: Callable[[], None]) -> None:
        """Do something before the server is left, or not reached any more."""
        self._stack.callback(last)

    def render(self, wanted: bool) -> None:
        """Have the server render, or not."""
        with asking("switch rendering"):
            settings = self.world.get_settings()
            if settings.no_rendering_mode is wanted:
                settings.no_rendering_mode = not wanted
                self.world.apply_settings(settings)

    def order(self, what: str, commands: list[Any]) -> None:
        """Send commands that are obeyed before the next tick.

        Raises:
            ServerFault: no answer, or one of them was refused, such as for an actor that is gone.
        """
        with asking(what):
            answers = self.client.apply_batch_sync(commands, False)
        refused = [answer.error for answer in answers if answer.has_error()]
        if refused:
            raise ServerFault(f"{what}: {refused[0]}")

    def tick(self) -> Any:
        """Let one control step pass: the snapshot after it.

        Raises:
            ServerFault: no answer in time, or a snapshot of another frame: reads of it would be stale or a stranger's.
        """
        with asking("tick"):
            frame = self.world.tick(self.config.timeout)
            snapshot = self.world.get_snapshot()
        if snapshot.frame != frame:
            raise ServerFault(f"tick: asked for frame {frame}, got {snapshot.frame}: another client ticks, too")
        return snapshot

    def close(self) -> None:
        """Leave the server as it was found, as far as it answers."""
        self.client.set_timeout(min(CLOSING, self.config.timeout))
        self._stack.close()
