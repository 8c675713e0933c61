"""One CARLA server, prepared for an environment (version, world, synchronous ticks) and left as it was found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from pompc.errors import UserError

from ..config import Address, CarlaRacingConfig
from ..track.track import Track
from .frames import Pose, to_carla
from .library import ServerFault, asking, client_library
from .world import short, take_over

SEAM = 0.05  # m by which a place may miss the edge of a lane, because maps are computed in 32-bit numbers
CLOSING = 2.0  # s that a failed server may take for each of the last requests


@contextmanager
def synchronous(world: Any, config: CarlaRacingConfig, found: Any) -> Iterator[None]:
    """Make the server wait for ticks of one control step each, without rendering; restore ``found`` afterwards."""
    with asking("look at the settings"):
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
        address: of the server.
        config: the family's options.
        track: the circuit.
        found: the settings to restore at the end; ``None`` means those it has now.

    Attributes:
        found: the settings that are restored at the end.

    Raises:
        ServerFault: it does not answer, or not in time.
        UserError: another version, another client at work, or a map without the track.
    """

    def __init__(self, address: Address, config: CarlaRacingConfig, track: Track, found: Any = None) -> None:
        self.address, self.config, self.track = address, config, track
        self.carla = client_library()
        self.client, present = take_over(address, config, track)
        self.found = found or present
        with ExitStack() as stack:
            with asking("look at the world"):
                self.world = self.client.get_world()
                self.map = self.world.get_map()
            self._check_map()
            stack.enter_context(synchronous(self.world, config, self.found))
            self._stack = stack.pop_all()

    def _check_map(self) -> None:
        """Refuse a circuit drawn for another map; another connection would not help."""
        for s in (0.0, 0.25, 0.5, 0.75):
            x, y, heading = (float(value) for value in self.track.cartesian(s * self.track.length, 0.0))
            if not self._on_road(Pose(x, y, heading)):
                raise UserError(
                    f"the track {self.track.name} leaves the roads of {short(self.map.name)} on {self.address}: "
                    + (
                        "the server reads the file in another way; compare its lanes with what CARLA's map shows of them"
                        if self.config.map is None
                        else "give env.track the path of an OpenDRIVE circuit in that map's coordinates, or env.map=null"
                    )
                )

    def _on_road(self, pose: Pose) -> bool:
        """Whether a place lies on a driving lane or on the seam of two, which the client counts to neither."""
        nearest = self._waypoint(pose)
        if nearest is None:
            return False
        x, y, _ = to_carla(pose)
        place = self.carla.Location(x=x, y=y)
        # The place may lie on another lane than the one with the nearest middle.
        lanes = (nearest, nearest.get_left_lane(), nearest.get_right_lane())
        return any(
            math.hypot(place.x - lane.transform.location.x, place.y - lane.transform.location.y)
            <= lane.lane_width / 2 + SEAM
            for lane in lanes
            if lane is not None and lane.lane_type == self.carla.LaneType.Driving
        )

    def _waypoint(self, pose: Pose) -> Any:
        """Find the middle of the nearest driving lane."""
        x, y, _ = to_carla(pose)
        return self.map.get_waypoint(self.carla.Location(x=x, y=y))

    def ground(self, pose: Pose) -> float:
        """Return the height (m) of the road at a pose."""
        waypoint = self._waypoint(pose)
        return 0.0 if waypoint is None else waypoint.transform.location.z

    def defer(self, last: Callable[[], None]) -> None:
        """Call ``last`` when the server is closed."""
        self._stack.callback(last)

    def render(self, wanted: bool) -> None:
        """Switch rendering on or off."""
        with asking("switch rendering"):
            settings = self.world.get_settings()
            if settings.no_rendering_mode is wanted:
                settings.no_rendering_mode = not wanted
                self.world.apply_settings(settings)

    def order(self, what: str, commands: list[Any]) -> None:
        """Send commands that take effect before the next tick.

        Raises:
            ServerFault: no answer, or the server refused a command, such as one for an actor that is gone.
        """
        with asking(what):
            answers = self.client.apply_batch_sync(commands, False)
        refused = [answer.error for answer in answers if answer.has_error()]
        if refused:
            raise ServerFault(f"{what}: {refused[0]}")

    def tick(self) -> Any:
        """Make one tick; return the snapshot after it.

        Raises:
            ServerFault: no answer in time, or the snapshot of another frame, which would be stale or another client's.
        """
        with asking("tick"):
            frame = self.world.tick(self.config.timeout)
            snapshot = self.world.get_snapshot()
        if snapshot.frame != frame:
            raise ServerFault(f"tick: asked for frame {frame}, got {snapshot.frame}: another client ticks, too")
        return snapshot

    def close(self) -> None:
        """Restore the server's settings and remove the actors if the server answers."""
        self.client.set_timeout(min(CLOSING, self.config.timeout))
        self._stack.close()
