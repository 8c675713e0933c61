"""The shipped circuit, and the coordinates along a track."""

import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest

from pompc.envs.carla_racing.track import opendrive
from pompc.envs.carla_racing.track.design_track import WIDTH, circuit, document
from pompc.envs.carla_racing.track.track import TRACKS, Track
from pompc.errors import UserError

FILE = TRACKS / "esses.xodr"


@pytest.fixture(scope="module")
def track():
    return Track.load("esses")


@pytest.fixture(scope="module")
def roads():
    return opendrive.read(FILE)


def same(text, other):
    """Whether two attributes agree, numbers up to rounding."""
    try:
        return float(text) == pytest.approx(float(other), abs=1e-9)
    except ValueError:
        return text == other


def test_the_file_is_what_the_generator_writes():
    written, designed = ET.parse(FILE), document("esses", circuit())
    for element, other in zip(written.iter(), designed.iter(), strict=True):
        assert (element.tag, element.keys()) == (other.tag, other.keys())
        for key, value in element.items():
            assert same(value, other.get(key)), (element.tag, key)


def test_the_circuit_closes_and_its_curvature_is_continuous(roads):
    pieces = [piece for road in roads for piece in road.pieces]
    assert len(roads) >= 3
    assert {type(piece.shape).__name__ for piece in pieces} == {"Line", "Arc", "Spiral", "ParamPoly3"}
    for before, after in pairwise([*pieces, pieces[0]]):
        x, y, heading, curvature = before.at(before.end)
        assert np.hypot(x - after.x, y - after.y) < 1e-9
        assert abs(np.angle(np.exp(1j * (heading - after.heading)))) < 1e-9
        assert curvature == pytest.approx(after.at(after.s)[3], abs=1e-9)


def test_the_circuit_has_the_wanted_figures(track):
    assert 580 < track.length < 660
    assert track.turn == pytest.approx(2 * np.pi)
    assert track.length / len(track.x) == pytest.approx(track.spacing)
    assert track.spacing == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(track.half_width, WIDTH / 2)
    radius = 1 / np.abs(track.curvature).max()
    assert 15 <= radius <= 18
    assert (1 - 7 * np.abs(track.curvature)).min() > 0.2
    assert track.curvature.max() > 1 / 20
    assert track.curvature.min() < -1 / 20


def test_the_road_does_not_come_near_itself(track):
    s = np.arange(len(track.x)) * track.spacing
    apart = np.abs(s[:, None] - s)
    apart = np.minimum(apart, track.length - apart)
    distance = np.hypot(track.x[:, None] - track.x, track.y[:, None] - track.y)
    # Half a turn round the hairpin is about 50 m: closer along the road, the curvature bound above is what counts.
    assert distance[apart > 50].min() > WIDTH + 6


def test_danger_zones_lie_on_both_sides_and_leave_room(track):
    assert 4 <= len(track.zones) <= 6
    assert {np.sign(zone.n_min + zone.n_max) for zone in track.zones} == {-1.0, 1.0}
    for zone in track.zones:
        assert 0 <= zone.s_start < zone.s_end < track.length
        assert 8 <= zone.s_end - zone.s_start <= 15
        assert 3 <= zone.n_max - zone.n_min <= 4.5
        assert max(zone.n_min + WIDTH / 2, WIDTH / 2 - zone.n_max) >= 6
    for before, after in pairwise(track.zones):
        assert after.s_start - before.s_end > 30


def test_samples_agree_with_each_other(track):
    x, y, heading, curvature = (np.append(v, v[0]) for v in (track.x, track.y, track.heading, track.curvature))
    heading[-1] += track.turn
    middle = (heading[1:] + heading[:-1]) / 2
    np.testing.assert_allclose(np.diff(x), track.spacing * np.cos(middle), atol=2e-4)
    np.testing.assert_allclose(np.diff(y), track.spacing * np.sin(middle), atol=2e-4)
    np.testing.assert_allclose(np.diff(heading) / track.spacing, (curvature[1:] + curvature[:-1]) / 2, atol=5e-4)


def test_interpolation_is_exact_to_a_tenth_of_a_millimetre(track, roads):
    start = 0.0
    for road in roads:
        s = np.linspace(0.0, road.length, 997)
        x, y, heading, curvature = road.reference(s)
        at_x, at_y, yaw = track.cartesian(start + s, 0.0)
        np.testing.assert_allclose(np.hypot(at_x - x, at_y - y), 0.0, atol=1e-4)
        np.testing.assert_allclose(np.angle(np.exp(1j * (yaw - heading))), 0.0, atol=1e-3)
        np.testing.assert_allclose(track.curvature_at(start + s), curvature, atol=2e-3)
        start += road.length
    assert start == pytest.approx(track.length, abs=1e-9)


@pytest.mark.parametrize("hint", [None, 8.0, -25.0])
def test_project_inverts_cartesian(track, hint):
    rng = np.random.default_rng(0)
    s, n = rng.uniform(0, track.length, (20, 50)), rng.uniform(-7, 7, (20, 50))
    x, y, _ = track.cartesian(s, n)
    back_s, back_n = track.project(x, y, None if hint is None else s + hint)
    gap = (back_s - s + track.length / 2) % track.length - track.length / 2
    np.testing.assert_allclose(gap, 0.0, atol=1e-8)
    np.testing.assert_allclose(back_n, n, atol=1e-8)
    assert ((back_s >= 0) & (back_s < track.length)).all()


def test_project_takes_numbers_and_prefers_the_near_part(track):
    # Between the two legs of the left hairpin, a little nearer to the second.
    x, y, _ = track.cartesian(300.0, 17.0)
    near_s, near_n = track.project(float(x), float(y), near=305.0)
    assert np.shape(near_s) == np.shape(near_n) == ()
    assert (float(near_s), float(near_n)) == pytest.approx((300.0, 17.0))
    free_s, free_n = track.project(float(x), float(y))
    assert free_s > 360
    assert 0 < free_n < 17


def test_laps_are_periodic(track):
    s, n = np.linspace(0, track.length, 40), np.linspace(-6, 6, 40)
    x, y, yaw = track.cartesian(s, n, 0.1)
    for lap in (-2, 1, 3):
        other = track.cartesian(s + lap * track.length, n, 0.1)
        np.testing.assert_allclose(other, [x, y, yaw + lap * track.turn], atol=1e-7)
        np.testing.assert_allclose(track.curvature_at(s + lap * track.length), track.curvature_at(s), atol=1e-9)


def test_left_is_positive(track):
    # The first straight runs along the x axis.
    x, y, yaw = track.cartesian(20.0, 2.0, 0.3)
    np.testing.assert_allclose([x, y, yaw], [20.0, 2.0, 0.3], atol=1e-9)


def test_an_unknown_track_lists_the_shipped_ones():
    with pytest.raises(UserError, match=r"'monza'.*esses"):
        Track.load("monza")


def test_load_takes_a_path(track):
    other = Track.load(FILE)
    assert (other.name, other.path) == (track.name, track.path)
    np.testing.assert_array_equal(other.x, track.x)


def test_carla_reads_the_same_track(track):
    carla = pytest.importorskip("carla", reason="the carla client (extra pompc[carla]) is not installed")
    client_map = carla.Map("esses", FILE.read_text())
    waypoint = client_map.get_waypoint_xodr(0, -1, 0.0)
    poses = []
    # Twice round in steps of a metre: CARLA must find the way over the seam.
    for _ in range(2 * int(track.length)):
        poses.append((waypoint.transform.location.x, waypoint.transform.location.y, waypoint.transform.rotation.yaw))
        assert waypoint.lane_width == pytest.approx(WIDTH)
        (waypoint,) = waypoint.next(1.0)
    x, y, yaw = np.array(poses).T
    # CARLA is left-handed.
    s, n = track.project(x, -y)
    assert np.abs(n).max() < 0.01
    step = np.diff(s) % track.length
    assert np.abs(step - 1).max() < 0.01
    off = np.radians(-yaw) - track.cartesian(s, 0.0)[2]
    assert np.abs(np.angle(np.exp(1j * off))).max() < 0.005
