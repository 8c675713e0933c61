"""Circuits with one change: links, lanes, zones and curves."""

import math

import numpy as np
import pytest
from circuits import BASE, LENGTH, changed, lanes, section, width

from pompc.envs.carla_racing import CarlaRacing, CarlaRacingConfig
from pompc.envs.carla_racing.track.track import Track
from pompc.errors import UserError

LANE = ("driving", width(6))
SUCCESSOR = '<successor elementType="road" elementId="{}" contactPoint="start"/>'
PREDECESSOR = '<predecessor elementType="road" elementId="{}" contactPoint="end"/>'
ARC = '<arc curvature="0.0166666666666667"/>'


@pytest.mark.parametrize(
    "pairs",
    [
        [(SUCCESSOR.format(2), "")],
        [(SUCCESSOR.format(2), ""), (PREDECESSOR.format(1), "")],
        [(SUCCESSOR.format(n), "") for n in (1, 2)] + [(PREDECESSOR.format(n), "") for n in (1, 2)],
        [('<link>', '<links>'), ('</link>', '</links>')],
        [(' contactPoint="start"', "")],
        [(PREDECESSOR.format(1), '<predecessor elementType="road" contactPoint="end"/>')],
    ],
)  # fmt: skip
def test_a_loop_is_found_by_its_links_and_by_the_ends_of_roads(load, pairs):
    np.testing.assert_array_equal(load(changed(*pairs)).x, load(BASE).x)


def test_a_road_without_link_or_neighbour_is_refused(refused):
    moved = changed((SUCCESSOR.format(2), ""), (PREDECESSOR.format(1), ""), ('y="120"', 'y="121.5"'))
    refused(moved, "road 1", "no <successor>", "road 2 misses it by 1.500 m", "env.joint_tolerance=0.01")
    refused(changed(('id="2" junction', 'id="1" junction')), "two roads have the id 1")


def test_the_tolerance_of_joints_is_an_option(load, racing):
    text = changed(('y="120"', 'y="120.05"'))
    with pytest.raises(UserError, match=r"road 1 to road 2: open loop.*0\.050 m.*env\.joint_tolerance=0\.01"):
        load(text)
    assert load(text, tolerance=0.1).length == pytest.approx(2 * LENGTH, abs=0.2)
    racing(text, joint_tolerance=0.1)
    for wrong in (0.0, -1.0, 2.0, math.nan):
        with pytest.raises(UserError, match=r"env\.joint_tolerance"):
            CarlaRacingConfig(joint_tolerance=wrong)


@pytest.mark.parametrize(
    ("left", "right", "radius", "half_width"),
    [
        ([("median", width(1)), LANE], [], 60 - 4, 3),
        ([], [("shoulder", width(1)), ("parking", width(2)), ("driving", width(8))], 60 + 7, 4),
        ([("driving", width(4)), ("sidewalk", width(9))], [("driving", width(4)), ("border", "")], 60, 4),
        ([LANE, ("median", width(0)), LANE], [], 60 - 6, 6),
    ],
)
def test_every_lane_counts_on_the_way_to_the_driving_ones(load, left, right, radius, half_width):
    track = load(lanes(section(0, left, right)))
    np.testing.assert_allclose(np.hypot(track.x, track.y - 60.0), radius, atol=1e-6)
    np.testing.assert_allclose(track.half_width, half_width, atol=1e-9)
    np.testing.assert_allclose(track.curvature, 1 / radius, rtol=1e-6)


def test_lanes_count_by_their_id_and_not_by_their_place(load):
    text = lanes(section(0, [], [("shoulder", width(4)), ("driving", width(8))]))
    swapped = text.replace('id="-1"', 'id="x"').replace('id="-2"', 'id="-1"').replace('id="x"', 'id="-2"')
    np.testing.assert_allclose(load(swapped).half_width, 4.0)
    np.testing.assert_allclose(np.hypot(load(swapped).x, load(swapped).y - 60.0), 64.0, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (section(0, [LANE, ("median", width(2)), LANE], [LANE]), ["road 1", "lane 2 of type='median'", "side by side"]),
        (section(0, [LANE], [("shoulder", width(2)), LANE]), ["road 1", "lane -1 of type='shoulder'"]),
        (section(0, [LANE], [("driving", width(6, -0.1))]), ["lane -1 is -12.850 m wide at s=188.496"]),
        (section(0, [LANE], [("driving", width(-6))]), ["lane -1 is -6.000 m wide"]),
        (section(0, [LANE], [("driving", width(math.nan))]), ["a='nan' is not a finite number"]),
        (section(0, [LANE], [("driving", width(6, offset=30))]), ["lane -1 has no <width> before sOffset=30"]),
        (section(0, [LANE], [("shoulder", ""), LANE]), ["lane -1 has no <width>"]),
        (section(0, [("driving", width(0))], []), ["have no width at all"]),
        (section(20, [LANE], [LANE]), ["first <laneSection> starts at s=20"]),
        (2 * section(0, [LANE], [LANE]), ["two <laneSection> start at s=0"]),
        (section(0, [LANE], [LANE]) + section(90, [LANE], [("driving", width(3))]), ["road 1, s=90.0", "by 1.500 m"]),
        (section(0, [LANE], [LANE]).replace('id="1"', 'id="-1"'), ["<left> has a lane with id='-1'"]),
        (section(0, [LANE], [LANE]).replace('id="1"', 'id="one"'), ["<left> has a lane with id='one'"]),
        (section(0, [LANE], [LANE]).replace(' id="1"', ""), ["<lane> has no attribute 'id'"]),
        (section(0, [LANE, LANE], [LANE]).replace('id="2"', 'id="1"'), ["two lanes have the id 1"]),
        (section(0, [LANE], [LANE]).replace('s="0"', 's="0" singleSide="true"', 1), ["singleSide"]),
    ],
)
def test_lanes_that_make_no_road_are_refused_by_name(refused, text, words):
    refused(lanes(text), *words)


def test_starts_that_differ_by_rounding_are_one(load):
    offset = '<laneOffset s="{}" a="-3" b="0" c="0" d="0"/>'
    inner = section(0, [], [("shoulder", width(3)), LANE])
    beyond = section(LENGTH, [], [("driving", width(1))])  # begins where the road ends
    track = load(lanes(offset.format(94.25) + inner + section(94.2503, [], [LANE]) + beyond))
    np.testing.assert_allclose(np.hypot(track.x, track.y - 60.0), 66.0, atol=1e-5)
    with pytest.raises(UserError, match=r"road 1, s=94\.2: the driving lanes do not meet: .* by 3\.000 m"):
        load(lanes(offset.format(94.25) + inner + section(94.5, [], [LANE])))


def test_folding_edges_are_refused(refused, load):
    refused(changed(('a="6"', 'a="61"')), "road 1, s=0.0", "inner edge folds", "radius of 60.00 m", "61.00 m wide")
    off_centre = '<laneOffset s="0" a="64" b="0" c="0" d="0"/>'
    refused(changed(("<laneSection", f"{off_centre}<laneSection")), "the inner edge folds")


def taper(slope):
    """A lane on the left that widens linearly from s=30 to 90 and narrows linearly to 150."""
    top = 6 + 60 * slope
    records = width(6) + width(6, slope, 30) + width(top, -slope, 90) + width(6, offset=150)
    return lanes(section(0, [("driving", records)], [LANE]))


def test_a_road_that_widens_in_a_line_is_driven(load):
    track = load(taper(0.03))
    assert track.half_width.max() == pytest.approx(6.9, abs=0.01)
    assert np.abs(track.curvature).max() < 1 / 50, "the curvature at a sample is not that of a kink beside it"
    with pytest.raises(UserError, match=r"road 1, s=30\.0: .* 0\.000 m and 0\.245 rad"):
        load(taper(0.5))


def test_banks_of_numbers_without_end_are_refused(refused):
    refused(changed(('length="188.495559215"', 'length="1e12"')), "length='1e+12' must be positive and at most 100000")
    refused(changed((ARC, '<arc curvature="1e308"/>')), "open loop")


CURVE = '<paramPoly3 pRange="{}" aU="0" bU="{}" cU="0" dU="0" aV="0" bV="0" cV="0" dV="0"/>'


@pytest.mark.parametrize(
    ("curve", "words"),
    [
        (CURVE.format("arcLength", 0), "is 0 m long, but its <geometry> says length='188.496'"),
        (CURVE.format("normalized", 1), "is 1 m long"),
        ('<spiral curvStart="0" curvEnd="inf"/>', "curvEnd='inf' is not a finite number"),
    ],
)
def test_invalid_curves_are_refused(refused, curve, words):
    refused(changed((ARC, curve)), "road 1", words)


def test_a_figure_eight_is_driven(write):
    """Two full circles of opposite turn that touch: the road crosses itself, and a lap turns by nothing."""
    length = 2 * math.pi * 60
    text = changed(
        ("188.495559215", repr(length)),
        ('y="120" hdg="3.1415926535898"', 'y="0" hdg="0"'),
    ).replace(ARC, ARC.replace('"0', '"-0'), 1)
    track = Track.load(write(text))
    assert track.turn == pytest.approx(0.0, abs=1e-6)
    CarlaRacing(CarlaRacingConfig(track=str(track.path))).make().reset(seed=0)
