"""A file with something missing or wrong gives a track that can be driven, or one line that refuses it."""

import copy
import warnings
import xml.etree.ElementTree as ET

import pytest
from circuits import changed, danger

from pompc.envs.carla_racing import CarlaRacingConfig
from pompc.envs.carla_racing.circuit import load
from pompc.envs.carla_racing.physics.road import tabulate
from pompc.errors import UserError

REPEAT = '<repeat s="50" length="20" distance="10" tStart="3" tEnd="3" widthStart="2" widthEnd="2"/>'
CUBIC = 's="0" a="0" b="0" c="0" d="0"'
TEXT = changed(
    (
        "</planView>",
        f"</planView><elevationProfile><elevation {CUBIC}/></elevationProfile>"
        f"<lateralProfile><superelevation {CUBIC}/></lateralProfile>"
        f"<objects>{danger(50, 3, 8, 2, REPEAT, hdg='0')}</objects>",
    ),
    ("<lanes>", f"<lanes><laneOffset {CUBIC}/>"),
    count=1,
)
ELEMENTS = len(list(ET.fromstring(TEXT)[1].iter()))
VALUES = (None, "nan", "-1", "1e9")


def element(root, index):
    """An element of the first road."""
    return list(root[1].iter())[index]


def mutants(index):
    """Yield every file in which one attribute or child of the element is missing, wrong or doubled."""
    for key in element(ET.fromstring(TEXT), index).attrib:
        for value in VALUES:
            root = ET.fromstring(TEXT)
            attributes = element(root, index).attrib
            attributes.pop(key) if value is None else attributes.update({key: value})
            yield root
    for change in ("remove", "append"):
        root = ET.fromstring(TEXT)
        changing = element(root, index)
        (parent,) = [other for other in root.iter() if changing in list(other)]
        getattr(parent, change)(changing if change == "remove" else copy.deepcopy(changing))
        yield root


@pytest.mark.parametrize("index", range(ELEMENTS))
def test_a_file_with_one_thing_wrong_is_driven_or_refused_in_a_line(tmp_path, index):
    path = tmp_path / "mutant.xodr"
    messages = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for root in mutants(index):
            path.write_bytes(ET.tostring(root))
            try:
                track = load(CarlaRacingConfig(track=str(path)))
                assert len(tabulate(track, danger_zones=True).starts)
            except UserError as error:
                messages.append(str(error))
    for message in messages:
        assert "\n" not in message
        assert str(path) in message or "danger zones" in message


def test_the_mutants_are_made_of_a_circuit_that_is_driven(tmp_path):
    path = tmp_path / "whole.xodr"
    path.write_text(TEXT)
    assert len(load(CarlaRacingConfig(track=str(path))).zones) == 3
