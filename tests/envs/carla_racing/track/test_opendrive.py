"""The plan view curves against closed forms, the lanes, and every fault of a file."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pompc.envs.carla_racing.track import opendrive
from pompc.envs.carla_racing.track.plan_view import Arc, Line, ParamPoly3, Spiral, chain
from pompc.envs.carla_racing.track.track import Track
from pompc.errors import UserError

RADIUS = 40.0
ONE_LANE = """
  <laneOffset s="0" a="6" b="0" c="0" d="0"/>
  <laneSection s="0">
    <center><lane id="0" type="none"/></center>
    <right><lane id="-1" type="driving"><width sOffset="0" a="12" b="0" c="0" d="0"/></lane></right>
  </laneSection>"""


def circle(lanes=ONE_LANE, objects="", radius=RADIUS):
    """A left-hand circle of three roads, as text."""
    third = 2 * math.pi * radius / 3
    roads = []
    for i in range(3):
        angle = 2 * math.pi * i / 3
        roads.append(f"""
 <road id="{i}" length="{third!r}" junction="-1">
  <link>
   <predecessor elementType="road" elementId="{(i - 1) % 3}" contactPoint="end"/>
   <successor elementType="road" elementId="{(i + 1) % 3}" contactPoint="start"/>
  </link>
  <planView>
   <geometry s="0" x="{radius * math.cos(angle)!r}" y="{radius * math.sin(angle)!r}" hdg="{angle + math.pi / 2!r}"
    length="{third!r}"><arc curvature="{1 / radius!r}"/></geometry>
  </planView>
  <lanes>{lanes}</lanes>
  <objects>{objects if i == 1 else ""}</objects>
 </road>""")
    return f'<?xml version="1.0"?>\n<OpenDRIVE><header/>{"".join(roads)}\n</OpenDRIVE>'


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "circle.xodr"
        path.write_text(text)
        return path

    return write


def integrate(shape, s):
    """u, v of a curve from its curvature alone."""

    def rates(at, state):
        return [np.cos(state[2]), np.sin(state[2]), float(shape.at(np.array([at]))[3][0])]

    return solve_ivp(rates, (0.0, s[-1]), [0.0, 0.0, 0.0], t_eval=s, rtol=1e-10, atol=1e-11).y


@pytest.mark.parametrize(
    "shape",
    [
        Line(30.0),
        Arc(50.0, -0.05),
        Spiral(16.0, 0.0, 1 / 28),
        Spiral(25.0, 0.06, -0.04),
        Spiral(11.0, -1 / 15.5, 0.0),
        Spiral(40.0, 0.03, 0.03 + 1e-8),
        Spiral(40.0, 0.03, 0.030001),
        ParamPoly3.fitted((0, 38, -38, 38), (0, 0, 0, -6.5)),
    ],
)
def test_curve_is_the_integral_of_its_curvature(shape):
    s = np.linspace(0.0, shape.length, 23)
    u, v, heading, _ = shape.at(s)
    np.testing.assert_allclose([u, v, heading], integrate(shape, s), atol=1e-6)


def test_arc_closed_form():
    u, v, heading, curvature = Arc(np.pi * 10, 0.1).at([0.0, np.pi * 5, np.pi * 10])
    np.testing.assert_allclose(u, [0, 10, 0], atol=1e-12)
    np.testing.assert_allclose(v, [0, 10, 20], atol=1e-12)
    np.testing.assert_allclose(heading, [0, np.pi / 2, np.pi])
    np.testing.assert_allclose(curvature, 0.1)


def test_param_poly3_of_a_parabola_in_arc_length():
    # v = u^2 / 2 on [0, 2]: its length up to u is (u sqrt(1 + u^2) + asinh u) / 2.
    curve = ParamPoly3.fitted((0, 2, 0, 0), (0, 0, 2, 0))
    true = np.array([0.0, 0.3, 1.1, 2.0])
    s = (true * np.sqrt(1 + true**2) + np.arcsinh(true)) / 2
    u, v, heading, curvature = curve.at(s)
    assert curve.length == pytest.approx(s[-1], abs=1e-10)
    np.testing.assert_allclose(u, true, atol=1e-9)
    np.testing.assert_allclose(v, true**2 / 2, atol=1e-9)
    np.testing.assert_allclose(heading, np.arctan(true), atol=1e-9)
    np.testing.assert_allclose(curvature, (1 + true**2) ** -1.5, atol=1e-9)


def test_param_poly3_does_not_depend_on_its_parametrisation():
    normalised = ParamPoly3.fitted((0, 38, -38, 38), (0, 0, 0, -6.5))
    length = normalised.length
    scale = length ** -np.arange(4.0)
    by_length = ParamPoly3(length, tuple(normalised.u * scale), tuple(normalised.v * scale), p_end=length)
    s = np.linspace(0.0, length, 17)
    np.testing.assert_allclose(by_length.at(s), normalised.at(s), atol=1e-9)


def test_chain_joins_end_to_start():
    pieces = chain([Line(10.0), Spiral(12.0, 0, 0.05), Arc(20.0, 0.05), Spiral(9.0, 0.05, 0.0)])
    for before, after in pairwise(pieces):
        np.testing.assert_allclose(before.at(before.end), after.at(after.s), atol=1e-12)


def test_circle_is_read_in_link_order(write):
    roads = opendrive.read(write(circle()))
    assert [road.name for road in roads] == ["0", "1", "2"]
    x, y, heading, curvature = roads[1].reference(np.array([0.0, roads[1].length]))
    np.testing.assert_allclose(np.hypot(x, y), RADIUS)
    np.testing.assert_allclose(np.diff(heading), 2 * np.pi / 3)
    np.testing.assert_allclose(curvature, 1 / RADIUS)


def lanes(left, right, offset="0"):
    """Lanes of constant width on both sides."""
    sides = {"left": enumerate(left, 1), "right": ((-i, width) for i, width in enumerate(right, 1))}
    text = {
        side: "".join(
            f'<lane id="{i}" type="driving"><width sOffset="0" a="{w}" b="0" c="0" d="0"/></lane>' for i, w in numbered
        )
        for side, numbered in sides.items()
    }
    return (
        f'<laneOffset s="0" a="{offset}" b="0" c="0" d="0"/><laneSection s="0"><left>{text["left"]}</left>'
        f'<center><lane id="0" type="none"/></center><right>{text["right"]}</right></laneSection>'
    )


@pytest.mark.parametrize(
    ("left", "right", "offset", "centre", "half_width"),
    [
        ([], [12], 6, 0.0, 6.0),
        ([3, 4], [5], 0, 1.0, 6.0),
        ([3], [3, 4], 1.5, -0.5, 5.0),
        ([4, 4], [], -4, 0.0, 4.0),
    ],
)
def test_the_track_is_the_middle_of_the_lanes(write, left, right, offset, centre, half_width):
    track = Track.load(write(circle(lanes(left, right, offset))))
    np.testing.assert_allclose(np.hypot(track.x, track.y), RADIUS - centre, atol=1e-6)
    np.testing.assert_allclose(track.half_width, half_width)
    np.testing.assert_allclose(track.curvature, 1 / (RADIUS - centre), rtol=1e-6)
    assert track.length == pytest.approx(2 * np.pi * (RADIUS - centre), abs=1e-5)


def test_lanes_without_traffic_do_not_count(write):
    text = circle(lanes([3], [5, 4])).replace('id="-2" type="driving"', 'id="-2" type="shoulder"')
    track = Track.load(write(text))
    np.testing.assert_allclose(track.half_width, 4.0)


def test_a_lane_that_swells_moves_the_centre_and_keeps_it_consistent(write):
    third = 2 * np.pi * RADIUS / 3
    # In every third the lane on the right goes from 8 m to 10 m and back, each by the smooth step 3 q^2 - 2 q^3.
    half = third / 2
    up = f'<width sOffset="0" a="8" b="0" c="{6 / half**2!r}" d="{-4 / half**3!r}"/>'
    down = f'<width sOffset="{half!r}" a="10" b="0" c="{-6 / half**2!r}" d="{4 / half**3!r}"/>'
    text = lanes([], [8], 4).replace('<width sOffset="0" a="8" b="0" c="0" d="0"/>', up + down)
    track = Track.load(write(circle(text)))
    assert track.half_width.min() == pytest.approx(4.0, abs=1e-6)
    assert track.half_width.max() == pytest.approx(5.0, abs=1e-3)
    x, y, heading = (np.append(values, values[0]) for values in (track.x, track.y, track.heading))
    heading[-1] += track.turn
    np.testing.assert_allclose(np.hypot(np.diff(x), np.diff(y)), track.spacing, atol=1e-4)
    assert track.turn == pytest.approx(2 * np.pi)
    middle = (track.curvature + np.roll(track.curvature, -1)) / 2
    np.testing.assert_allclose(np.diff(heading) / track.spacing, middle, atol=5e-4)


def test_lane_sections_switch_at_their_start(write):
    third = 2 * np.pi * RADIUS / 3
    wide, narrow = lanes([], [12], 6), lanes([], [10], 6)
    narrow = narrow[narrow.index("<laneSection") :].replace('s="0"', f's="{third / 2}"', 1)
    roads = opendrive.read(write(circle(wide + narrow)))
    np.testing.assert_allclose(roads[0].half_width([1.0, third / 2 + 1.0]), [6.0, 5.0])
    np.testing.assert_allclose(roads[0].centre([1.0, third / 2 + 1.0]), [0.0, 1.0], atol=1e-12)


def test_danger_objects_become_zones(write):
    box = '<object id="7" type="danger" s="10" t="-2" length="8" width="3" zOffset="0"/>'
    tree = '<object id="8" type="tree" s="10" t="-9" zOffset="0"/>'
    track = Track.load(write(circle(objects=box + tree)))
    (zone,) = track.zones
    third = track.length / 3
    np.testing.assert_allclose([zone.s_start, zone.s_end], [third + 6, third + 14], atol=1e-6)
    np.testing.assert_allclose([zone.n_min, zone.n_max], [-3.5, -0.5])


GOOD = circle(objects='<object id="7" type="danger" s="10" t="-2" length="8" width="3"/>')
ARC = f'<arc curvature="{1 / RADIUS!r}"/>'
WIDTH = '<width sOffset="0" a="12" b="0" c="0" d="0"/>'
SUCCESSOR = '<successor elementType="road" elementId="{}"'


def first(old, new):
    """The good file with the first ``old`` replaced."""
    return GOOD.replace(old, new, 1)


def renamed(old, new):
    """The good file with the first element ``old`` called ``new``."""
    return first(f"<{old}>", f"<{new}>").replace(f"</{old}>", f"</{new}>", 1)


FAULTS = {
    "bad xml": (GOOD[:-14], ["not an XML file"]),
    "empty": ("", ["not an XML file"]),
    "other document": ("<svg/>", ["<svg>", "OpenDRIVE"]),
    "no road": ("<OpenDRIVE/>", ["no <road>"]),
    "no link, no neighbour": (
        renamed("link", "links")
        .replace(SUCCESSOR.format(0), SUCCESSOR.format(9))
        .replace('elementId="0" contactPoint="end"', 'elementId="9" contactPoint="end"')
        .replace('hdg="', 'hdg="1'),
        ["road 0", "no <successor>"],
    ),
    "unknown successor": (first(SUCCESSOR.format(2), SUCCESSOR.format(9)), ["road 1", "road 9"]),
    "rejoins midway": (first(SUCCESSOR.format(0), SUCCESSOR.format(1)), ["road 2", "back to road 1"]),
    "road off the loop": (first(SUCCESSOR.format(2), SUCCESSOR.format(0)), ["road 2", "not on the loop"]),
    "junction": (first('elementType="road"', 'elementType="junction"'), ["road 0", "elementType='road'"]),
    "backwards": (
        first('contactPoint="start"', 'contactPoint="end"'),
        ["road 0", "<successor>", "contactPoint='start'"],
    ),
    "no plan view": (renamed("planView", "plan"), ["road 0", "no <planView>"]),
    "poly3": (first("<arc", "<poly3"), ["road 0", "<poly3>", "paramPoly3"]),
    "no curve": (first(ARC, ""), ["road 0", "<geometry> holds nothing"]),
    "word for a number": (first(ARC, '<arc curvature="tight"/>'), ["road 0", "<arc>", "'tight'"]),
    "nan": (first('a="12"', 'a="nan"'), ["road 0", "<width>", "'nan'"]),
    "no attribute": (first(' hdg="', ' heading="'), ["road 0", "<geometry>", "'hdg'"]),
    "gap": (first('x="40.0"', 'x="40.5"'), ["open loop", "0.500 m"]),
    "wrong length": (first('id="0" length="', 'id="0" length="1'), ["road 0", "length="]),
    "no centre": (renamed("center", "middle"), ["road 0", "<center>"]),
    "no lanes": (renamed("lanes", "lane"), ["road 0", "<lanes>"]),
    "no driving lane": (first('type="driving"', 'type="border"'), ["road 0", "driving"]),
    "no width": (first(WIDTH, ""), ["road 0", "<width>"]),
    "flat danger": (first('width="3"', 'width="0"'), ["road 1", "<object> 7"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_names_the_road_and_the_element(write, fault):
    text, words = FAULTS[fault]
    assert text != GOOD
    with pytest.raises(UserError) as caught:
        opendrive.read(write(text))
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_param_poly3_needs_a_known_range(write):
    curve = '<paramPoly3 pRange="{}" aU="0" bU="1" cU="0" dU="0" aV="0" bV="0" cV="0" dV="0"/>'
    text = first(ARC, curve.format("metres"))
    with pytest.raises(UserError, match=r"road 0.*pRange='metres'.*arcLength, normalized"):
        opendrive.read(write(text))


def test_a_missing_file_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        opendrive.read(tmp_path / "none.xodr")
