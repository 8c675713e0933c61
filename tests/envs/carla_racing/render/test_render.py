"""The picture of a race: its parts, places and colours."""

import numpy as np
import pytest

from pompc.envs.carla_racing.render.renderer import BEST, EGO, OPPONENT, Renderer
from pompc.envs.carla_racing.render.scenery import ASPHALT, DANGER, GRAIN, GRASS
from pompc.envs.carla_racing.track.track import Track

NOBODY = np.zeros((0, 3))


@pytest.fixture(scope="module")
def track():
    return Track.load("esses")


@pytest.fixture(scope="module")
def renderer(track):
    return Renderer(track)


def pose(track, s, n=0.0, heading_error=0.0):
    x, y, yaw = track.cartesian(s, n, heading_error)
    return float(x), float(y), float(yaw)


def colour(renderer, image, ego, point):
    right, down = renderer.pixel(ego, point)
    return image[round(down), round(right)].astype(int)


def like(found, wanted, tolerance=GRAIN + 2):
    return np.abs(found - np.array(wanted[:3])).max() <= tolerance


@pytest.mark.parametrize("size", [(960, 720), (480, 480), (320, 240)])
def test_a_frame_has_the_size_asked_for(track, size):
    image = Renderer(track, size).frame(pose(track, 10.0), NOBODY, None, None, {})
    assert image.shape == (size[1], size[0], 3)
    assert image.dtype == np.uint8


def test_frames_do_not_depend_on_earlier_ones(track, renderer):
    ego, others = pose(track, 50.0), np.array([pose(track, 62.0, 2.0)])
    fan = np.random.default_rng(0).normal(ego[:2], 5.0, (30, 8, 2))
    hud = {"speed": "50 km/h"}
    first = renderer.frame(ego, others, fan, fan[0], hud)
    renderer.frame(pose(track, 400.0), others, None, None, {})
    np.testing.assert_array_equal(renderer.frame(ego, others, fan, fan[0], hud), first)
    np.testing.assert_array_equal(Renderer(track).frame(ego, others, fan, fan[0], hud), first)


@pytest.mark.parametrize(
    ("s", "n", "turned"), [(20.0, 0.0, 0.0), (340.0, -3.0, 0.4), (470.0, 2.0, -1.2), (600.0, 0.0, 3.0)]
)
def test_the_cars_are_drawn_at_their_places(track, renderer, s, n, turned):
    ego, other = pose(track, s, n, turned), pose(track, s + 15.0, -n, turned)
    image = renderer.frame(ego, np.array([other]), None, None, {})
    for (x, y, yaw), paint in ((ego, EGO), (other, OPPONENT)):
        # The bonnet, 1.5 m ahead of the middle, has the car's colour; the same distance to the side is not the car.
        assert like(colour(renderer, image, ego, (x + 1.5 * np.cos(yaw), y + 1.5 * np.sin(yaw))), paint)
        assert not like(colour(renderer, image, ego, (x - 1.5 * np.sin(yaw), y + 1.5 * np.cos(yaw))), paint)


def test_a_car_has_its_length_and_width(track):
    ego = pose(track, 20.0)
    for length, width in ((4.5, 1.8), (6.0, 3.0)):
        renderer = Renderer(track, car_length=length, car_width=width)
        image = renderer.frame(ego, NOBODY, None, None, {})
        with_car = (np.abs(image.astype(int) - EGO).max(-1) < 12) & (np.arange(len(image)) > 250)[:, None]
        rows, columns = np.nonzero(with_car)
        assert np.ptp(columns) / renderer.scale == pytest.approx(length, abs=0.35)
        assert np.ptp(rows) / renderer.scale == pytest.approx(width, abs=0.35)


def test_road_grass_and_danger_zones_have_their_colours(track, renderer):
    zone = track.zones[2]
    middle = (zone.s_start + zone.s_end) / 2
    ego = pose(track, middle - 8.0, 2.0)
    image = renderer.frame(ego, NOBODY, None, None, {})
    assert like(colour(renderer, image, ego, pose(track, middle, 3.0)[:2]), ASPHALT)
    grass = colour(renderer, image, ego, pose(track, middle, 14.0)[:2])
    assert like(grass, GRASS[0]) or like(grass, GRASS[1])
    for n in (zone.n_min + 0.8, zone.n_max - 0.8):
        red, green, blue = colour(renderer, image, ego, pose(track, middle, n)[:2])
        assert red > 1.5 * max(green, blue)
    border = colour(renderer, image, ego, pose(track, middle, zone.n_max)[:2])
    assert like(border, DANGER, tolerance=60)


def test_the_fan_and_the_chosen_trajectory_show(track, renderer):
    ego = pose(track, 20.0)
    ahead = np.linspace(0.0, 20.0, 12)
    fan = np.stack([np.stack(track.cartesian(20.0 + ahead, slope * ahead)[:2], -1) for slope in (-0.2, 0.0, 0.2)])
    plain = renderer.frame(ego, NOBODY, None, None, {})
    fanned = renderer.frame(ego, NOBODY, fan, None, {}, weights=np.array([0.1, 0.2, 0.7]))
    changed = np.argwhere((fanned != plain).any(-1))
    corners = np.array([renderer.pixel(ego, point) for point in fan.reshape(-1, 2)])[:, ::-1]
    assert len(changed) > 100
    assert (changed >= corners.min(0) - 3).all()
    assert (changed <= corners.max(0) + 3).all()
    best, worst = (colour(renderer, fanned, ego, fan[i, 8]) for i in (2, 0))
    assert np.abs(best - BEST[:3]).sum() < np.abs(worst - BEST[:3]).sum()
    chosen = renderer.frame(ego, NOBODY, fan, fan[1], {})
    assert colour(renderer, chosen, ego, fan[1, 8]).min() > 200


def test_the_figures_show_in_the_lower_left(track, renderer):
    ego = pose(track, 20.0)
    plain, shown, faster = (
        renderer.frame(ego, NOBODY, None, None, hud) for hud in ({}, {"speed": "10 km/h"}, {"speed": "90 km/h"})
    )
    for changed in ((shown != plain).any(-1), (faster != shown).any(-1)):
        rows, columns = np.nonzero(changed)
        assert rows.min() > 600
        assert columns.max() < 300


@pytest.mark.parametrize("where", [(-500.0, 40.0, 0.0), (500.0, 900.0, 2.0)])
def test_a_car_far_off_the_track_still_gives_a_frame(renderer, where):
    assert renderer.frame(where, NOBODY, None, None, {}).shape == (720, 960, 3)
