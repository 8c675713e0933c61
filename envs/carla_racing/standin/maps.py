"""Maps: OpenDRIVE text, ground and spawn points."""

from __future__ import annotations

import warnings
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import cos, sin
from pathlib import Path

import numpy as np

from pompc.errors import UserError

from ..track.track import Track
from ..track.xodr import TRACKS, parse, read_text
from .physics import FLAT, Circuit, Ground, carla_pose
from .protocol import Refusal
from .wire import Pose

GENERATED = "OpenDriveMap"
JOINT_TOLERANCE = 1.0  # m and rad: the most that env.joint_tolerance allows
DEFAULT = "Town10HD_Opt"
SPAWN_SPACING, SPAWN_HEIGHT, SPAWN_SIDE = 25.0, 0.5, 2.0  # m: along a circuit, above ground, right of a road's line

STRAIGHT = """<?xml version="1.0"?>
<OpenDRIVE>
  <header revMajor="1" revMinor="4" name="straight" version="1.00"/>
  <road name="straight" length="2000" id="0" junction="-1">
    <link/>
    <type s="0" type="town"><speed max="100" unit="km/h"/></type>
    <planView><geometry s="0" x="-1000" y="0" hdg="0" length="2000"><line/></geometry></planView>
    <elevationProfile><elevation s="0" a="0" b="0" c="0" d="0"/></elevationProfile>
    <lanes><laneSection s="0">
      <left><lane id="1" type="driving" level="false"><width sOffset="0" a="4" b="0" c="0" d="0"/></lane></left>
      <center><lane id="0" type="none" level="false"><roadMark sOffset="0" type="broken" color="white" width="0.15"/>
      </lane></center>
      <right><lane id="-1" type="driving" level="false"><width sOffset="0" a="4" b="0" c="0" d="0"/></lane></right>
    </laneSection></lanes>
  </road>
</OpenDRIVE>
"""


@dataclass(frozen=True)
class Map:
    """A loaded map.

    Attributes:
        name: without folders.
        xodr: the OpenDRIVE text that the client receives.
        grounds: coordinates for the cars, see ``physics.Body``.
        spawn_points: recommended places.
    """

    name: str
    xodr: str
    grounds: Sequence[Ground]
    spawn_points: Sequence[Pose]

    @classmethod
    def read(cls, name: str, xodr: str) -> Map:
        """Make a map of its text.

        Raises:
            Refusal: not an OpenDRIVE file.
        """
        try:
            root = parse(xodr, name)
        except UserError as error:
            raise Refusal("opendrive could not be correctly parsed") from error
        if root.find("road") is None:
            raise Refusal("opendrive could not be correctly parsed")
        circuit = _circuit(xodr)
        if circuit is None:
            return cls(name, xodr, (FLAT,), _beside_roads(root))
        return cls(name, xodr, (circuit, FLAT), _round_track(circuit.track))


class Atlas:
    """The maps of the server, each read once."""

    def __init__(self) -> None:
        self._texts = {DEFAULT: read_text(TRACKS / "esses.xodr"), "Town01": STRAIGHT}
        self._read: dict[str, Map] = {}

    @property
    def names(self) -> list[str]:
        """Names of the maps, as the client receives them."""
        return [f"/Game/Carla/Maps/{name}" for name in self._texts]

    def load(self, name: str) -> Map:
        """Load a map by name, with or without folders.

        Raises:
            Refusal: no map has that name.
        """
        short = name.rsplit("/", 1)[-1]
        if short not in self._texts:
            raise Refusal("map not found")
        if short not in self._read:
            self._read[short] = Map.read(short, self._texts[short])
        return self._read[short]

    def store(self, xodr: str) -> None:
        """Take the text of the generated map.

        Raises:
            Refusal: not an OpenDRIVE file.
        """
        if self._texts.get(GENERATED) != xodr:
            self._read[GENERATED] = Map.read(GENERATED, xodr)
            self._texts[GENERATED] = xodr


def _circuit(xodr: str) -> Circuit | None:
    """Read the circuit in the text; ``None`` if the racing family cannot read it."""
    with warnings.catch_warnings(), suppress(UserError):
        warnings.simplefilter("ignore")  # the family warns its user itself
        return Circuit(Track.parse(Path("map.xodr"), xodr, JOINT_TOLERANCE))
    return None


def _round_track(track: Track) -> list[Pose]:
    """Spawn points along the centre of a circuit."""
    s = np.arange(0.0, track.length - SPAWN_SPACING / 2, SPAWN_SPACING)
    x, y, heading = track.cartesian(s, 0.0)
    places = np.column_stack([x, y, heading]).tolist()
    return [carla_pose(x, y, heading, SPAWN_HEIGHT) for x, y, heading in places]


def _beside_roads(root: ET.Element) -> list[Pose]:
    """Spawn points at the start of every piece of road, on its right."""
    poses = []
    for piece in root.iterfind("road/planView/geometry"):
        x, y, heading = (float(piece.get(key, 0.0)) for key in ("x", "y", "hdg"))
        x, y = x + SPAWN_SIDE * sin(heading), y - SPAWN_SIDE * cos(heading)
        poses.append(carla_pose(x, y, heading, SPAWN_HEIGHT))
    return poses
