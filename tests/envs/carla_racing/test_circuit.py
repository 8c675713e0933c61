"""Danger zones and the room on a road: reading them, and refusing a road that is too narrow."""

import math

import numpy as np
import pytest
from circuits import changed, danger, lanes, section, width, with_objects

from pompc.envs.carla_racing import CarlaRacing, CarlaRacingConfig
from pompc.errors import UserError

LANE = ("driving", width(6))
ARC = '<arc curvature="0.0166666666666667"/>'


def zones(load, *objects):
    """s of the middle, length, n of the middle and width of every zone."""
    found = load(with_objects(*objects)).zones
    return [((z.s_start + z.s_end) / 2, z.s_end - z.s_start, (z.n_min + z.n_max) / 2, z.n_max - z.n_min) for z in found]


def repeat(**attributes):
    return f"<repeat {' '.join(f'{key}={str(value)!r}' for key, value in attributes.items())}/>"


def test_zones_lie_along_the_road_or_across_it(load):
    for heading in (0, math.pi, -math.pi):
        np.testing.assert_allclose(zones(load, danger(50, 3, 8, 2, hdg=heading)), [(50, 8, 3, 2)], atol=1e-6)
    np.testing.assert_allclose(zones(load, danger(50, 2, 2, 5, hdg=math.pi / 2)), [(50, 5, 2, 2)], atol=1e-6)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"s": 20, "length": 60, "distance": 30, "tStart": 4, "tEnd": 2},
            [(20, 5, 4, 2), (50, 5, 3, 2), (80, 5, 2, 2)],
        ),
        ({"length": 30, "distance": 30, "widthStart": 2, "widthEnd": 3}, [(10, 5, 4, 2), (40, 5, 4, 3)]),
        ({"length": 30, "distance": 30, "lengthStart": 2, "lengthEnd": 6}, [(10, 2, 4, 2), (40, 6, 4, 2)]),
        ({"s": 20, "length": 60, "distance": 0}, [(50, 60, 4, 2)]),
        ({"s": 20, "length": 0, "distance": 10}, [(20, 5, 4, 2)]),
    ],
)
def test_repetitions_stand_in_the_place_of_the_object(load, attributes, expected):
    np.testing.assert_allclose(zones(load, danger(10, 4, 5, 2, repeat(**attributes))), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ([danger(50, 3, 8, 2, hdg=0.4)], "<object> 7: is turned by hdg='0.4'"),
        ([danger(300, 3, 8, 2)], "<object> 7: lies at s=300, beyond the ends of its road of 188.496 m"),
        ([danger(-1, 3, 8, 2)], "<object> 7: lies at s=-1"),
        ([danger(20, 3, 8, 2, repeat(s=20, length=200, distance=50))], "lies at s=220"),
        ([danger(20, 3, 8, 2, repeat(s=20, length=-5, distance=50))], "negative length"),
        ([danger(20, 3, 8, 2, repeat(s=20, length=50, distance=0, tStart=1, tEnd=2))], "continuous <repeat>"),
        ([danger(20, 3, 8, 2, repeat(s=20, distance=9))], "<repeat> has no attribute 'length'"),
        ([danger(50, 3, 0, 2)], "<object> 7: length and width must be positive"),
        ([danger(50, 0, 8, 8.5)], "object 7 of road 1: the danger zone at 46.0..54.0 m"),
        ([danger(50, 3, 8, 6.5), danger(58.5, -3, 8, 6.5)], "object 7 of road 1 with object 7 of road 1"),
        ([danger(94, 3, 60, 2, repeat(length=94, s=20, distance=20))], "overlap along the track"),
    ],
)
def test_zones_that_cannot_be_are_refused(refused, objects, words):
    refused(with_objects(*objects), words)


def test_a_zone_everywhere_leaves_no_place_to_start(write):
    box = danger(94, 3, 188, 2)
    text = changed(("</planView>", f"</planView><objects>{box}</objects>"))
    pool = CarlaRacing(CarlaRacingConfig(track=str(write(text))))
    with pytest.raises(UserError, match=r"leave no place to start from: .* env\.danger_zones=false"):
        pool.make()


def test_an_outline_is_not_read_and_that_is_said(racing):
    with pytest.warns(UserWarning, match="<object> 7: its <outline> is not read"):
        racing(with_objects(danger(50, 3, 8, 2, "<outline/>")))


def narrow(half):
    return changed(('a="6"', f'a="{half}"'))


def test_traffic_needs_room_to_be_passed(refused, racing):
    refused(narrow(1.8), "3.60 m wide: to pass another car takes 3.7 m", "env.num_opponents=0")
    racing(narrow(1.8), num_opponents=0)


def test_on_a_narrow_road_traffic_and_starts_keep_to_it(racing):
    env = racing(narrow(2.5), num_opponents=3).make()
    for seed in range(20):
        env.reset(seed=seed)
        assert max(map(abs, env.opponents.n)) == pytest.approx(1.6)
        assert not env.step(np.zeros(2, np.float32))[2]
    env = racing(narrow(1.1), num_opponents=0).make()
    for seed in range(20):
        env.reset(seed=seed)
        assert abs(env.car.n) <= 0.1


def test_traffic_stays_on_a_road_that_becomes_narrow(racing):
    both = section(0, [LANE], [LANE]) + section(90, [("driving", width(3))], [("driving", width(3))])
    tables = racing(lanes(both)).make().road
    s = np.linspace(0.0, tables.length, 700, endpoint=False)
    for left in (0.0, 1.0):
        offsets = np.array([tables.lane(at, left)[0] for at in s])
        room = np.array([tables.edges(at)[0] for at in s]) - 0.9
        assert (np.abs(offsets) <= room + 1e-9).all()
        assert np.abs(offsets).max() == pytest.approx(2.5)


def test_a_short_lap_has_room_for_its_traffic(racing):
    ring = changed(("188.495559215", repr(math.pi * 10)), (ARC, '<arc curvature="0.1"/>'), ('y="120"', 'y="20"'))
    env = racing(ring, num_opponents=3).make()
    for seed in range(20):
        env.reset(seed=seed)
        gaps = [abs(env.road.gap(env.car.s, s)) for s in env.opponents.s]
        assert min(gaps) >= env.road.length / 3 - 1e-6


@pytest.mark.parametrize("t", [8, -7.5, 1e9])
def test_a_zone_beside_the_road_is_left_out_and_that_is_said(load, t):
    with pytest.warns(UserWarning, match="road 1: object 7 lies beside the road"):
        assert load(with_objects(danger(50, t, 8, 2))).zones == ()
