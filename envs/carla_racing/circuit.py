"""The track of a configuration, checked to be one on which the task can be driven."""

from __future__ import annotations

from collections.abc import Iterator

from pompc.errors import UserError

from .config import CarlaRacingConfig
from .physics.road import CAR_REACH
from .task import TOUCH_WIDTH
from .track.track import DangerZone, Track

CAR_WIDTH = 2 * CAR_REACH  # m
WEAVE = 1.0  # m between two zones: too short for a car to change the side of the road


def load(config: CarlaRacingConfig) -> Track:
    """Read the track that ``env.track`` names.

    Raises:
        UserError: ``Track.load`` refuses it, it is too narrow, or a danger zone blocks it.
    """
    track = Track.load(config.track, config.joint_tolerance)
    _require_wide(track, config.num_opponents)
    if config.danger_zones:
        _require_free(track)
    return track


def _require_wide(track: Track, num_opponents: int) -> None:
    i = int(track.half_width.argmin())
    width, where = 2 * float(track.half_width[i]), f"{track.path}: at {i * track.spacing:.1f} m of the lap the road is"
    if width <= CAR_WIDTH:
        raise UserError(f"{where} {width:.2f} m wide, and the car {CAR_WIDTH:g} m: give it wider driving lanes")
    if num_opponents and width < CAR_WIDTH + TOUCH_WIDTH:
        raise UserError(
            f"{where} {width:.2f} m wide: to pass another car takes {CAR_WIDTH + TOUCH_WIDTH:g} m: give it wider "
            "driving lanes, or take env.num_opponents=0"
        )


def _require_free(track: Track) -> None:
    for zones in _obstacles(track):
        half = min(float(track.half_width_at([zone.s_start, zone.s_end]).min()) for zone in zones)
        inside = (track.half_width_between(zone.s_start, zone.s_end) for zone in zones)
        half = min(half, *(float(widths.min()) for widths in inside if widths.size))
        free = max(half - max(zone.n_max for zone in zones), half + min(zone.n_min for zone in zones))
        if free <= CAR_WIDTH:
            names = " with ".join(zone.name for zone in zones)
            raise UserError(
                f"{track.path}: {names}: the danger zone at {zones[0].s_start:.1f}..{zones[-1].s_end:.1f} m of the lap "
                f"leaves {max(free, 0.0):.2f} m of the road free, and the car is {CAR_WIDTH:g} m wide: make it narrower, "
                "or take env.danger_zones=false"
            )


def _obstacles(track: Track) -> Iterator[list[DangerZone]]:
    """Yield every zone, and every two zones so close that they are one obstacle."""
    zones = list(track.zones)
    for zone, following in zip(zones, zones[1:] + zones[:1], strict=True):
        yield [zone]
        if following is not zone and (following.s_start - zone.s_end) % track.length < WEAVE:
            yield [zone, following]
