"""Kinds of actors: vehicles, all with the same body, and the sensors of ``sensors``."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from .protocol import Refusal

VEHICLES = (
    "vehicle.audi.tt",
    "vehicle.bmw.grandtourer",
    "vehicle.lincoln.mkz_2017",
    "vehicle.mercedes.coupe",
    "vehicle.mini.cooper_s",
    "vehicle.nissan.micra",
    "vehicle.tesla.model3",
    "vehicle.toyota.prius",
)


class Kind(IntEnum):
    """Types of attributes."""

    BOOL = 1
    INT = 2
    FLOAT = 3
    STRING = 4
    COLOUR = 5


def _attribute(name: str, kind: Kind, value: str, recommended: Iterable[str] = (), modifiable: bool = True) -> list:
    return [name, int(kind), value, list(recommended), modifiable, False]


_COLOURS = ("17,37,103", "180,12,12", "240,240,240", "20,20,20")
_VEHICLE = [
    _attribute("number_of_wheels", Kind.INT, "4", modifiable=False),
    _attribute("base_type", Kind.STRING, "car", modifiable=False),
    _attribute("generation", Kind.INT, "2", modifiable=False),
    _attribute("object_type", Kind.STRING, "", modifiable=False),
    _attribute("special_type", Kind.STRING, "", modifiable=False),
    _attribute("has_lights", Kind.BOOL, "true", modifiable=False),
    _attribute("color", Kind.COLOUR, _COLOURS[0], _COLOURS),
    _attribute("role_name", Kind.STRING, "autopilot", ("autopilot", "scenario", "ego_vehicle")),
    _attribute("sticky_control", Kind.BOOL, "true"),
]
_TICK = _attribute("sensor_tick", Kind.FLOAT, "0.0")
_ZERO_BY_NAME = [
    _attribute(name, Kind.FLOAT, "0.0")
    for name in (
        *(f"noise_accel_stddev_{axis}" for axis in "xyz"),
        *(f"noise_gyro_{what}_{axis}" for what in ("stddev", "bias") for axis in "xyz"),
    )
]

_SENSORS = {
    "sensor.camera.rgb": [
        _attribute("image_size_x", Kind.INT, "800"),
        _attribute("image_size_y", Kind.INT, "600"),
        _attribute("fov", Kind.FLOAT, "90.0"),
        _attribute("enable_postprocess_effects", Kind.BOOL, "true"),
        _TICK,
    ],
    "sensor.other.collision": [],
    "sensor.other.imu": [*_ZERO_BY_NAME, _attribute("noise_seed", Kind.INT, "0"), _TICK],
    "sensor.other.lane_invasion": [],
}


def definitions() -> list[list]:
    """All blueprints in the RPC form ``[uid, id, tags, [attribute, ...]]``."""
    kinds = dict.fromkeys(VEHICLES, _VEHICLE)
    kinds |= {name: [*own, _attribute("role_name", Kind.STRING, "front")] for name, own in _SENSORS.items()}
    return [[uid, name, name.replace(".", ","), kinds[name]] for uid, name in enumerate(sorted(kinds), 1)]


_NAMES = {definition[1]: definition for definition in definitions()}


def attributes(name: str, chosen: list[list]) -> dict[str, str]:
    """The values of all attributes of a new actor.

    Args:
        name: of the blueprint.
        chosen: ``[id, type, value]`` of the attributes that the client gives.

    Raises:
        Refusal: there is no such blueprint.
    """
    if name not in _NAMES:
        raise Refusal(f"invalid actor description: no blueprint '{name}'")
    return {entry[0]: entry[2] for entry in _NAMES[name][3]} | {entry[0]: entry[2] for entry in chosen}
