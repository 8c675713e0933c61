"""The racing task: tables of the track, starts, traffic, faults, laps."""

from dataclasses import replace

import numpy as np
import pytest

from pompc.envs.carla_racing import CarlaRacingConfig
from pompc.envs.carla_racing.physics.opponents import CLEARANCE, SPEED_RANGE, Opponents
from pompc.envs.carla_racing.physics.ops import ScalarOps
from pompc.envs.carla_racing.physics.road import CAR_REACH, LANES, Road, tabulate
from pompc.envs.carla_racing.physics.vehicle import Car
from pompc.envs.carla_racing.task import Episode, RacingTask
from pompc.envs.carla_racing.track.track import Track
from pompc.errors import UserError

CONFIG = CarlaRacingConfig()
TRACK = Track.load(CONFIG.track)
FRESH = Episode(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
NOBODY = Opponents([], [], [], [], [])


def road(danger_zones=True):
    return Road(tabulate(TRACK, danger_zones), ScalarOps())


def task(**options):
    config = replace(CONFIG, **options)
    return RacingTask(config, road(config.danger_zones))


def at(s, n=0.0, e=0.0, v=10.0):
    return Car(s, n, e, v, 0.0, 0.0, 0.0, 0.0)


def safe_place(racing):
    return racing.road.start(0.5)


def test_curvature_is_the_tracks():
    tables = road()
    for s in np.linspace(0.0, TRACK.length, 57):
        index = round(s / TRACK.spacing) % len(TRACK.curvature)
        assert tables.curvature(float(index * TRACK.spacing)) == pytest.approx(TRACK.curvature[index], abs=2e-3)
        assert tables.nearest_curvature(float(s)) == pytest.approx(tables.curvature(float(s)), abs=2e-3)


def test_preview_shows_the_curvature_and_the_zone_ahead():
    tables, zone = road(), TRACK.zones[0]
    preview = tables.preview(zone.s_start - 20.0)
    assert preview[1] / 15.0 == pytest.approx(tables.curvature(zone.s_start - 10.0), abs=2e-3)
    length = zone.s_end - zone.s_start
    expected = [0.2, min(0.2 + length / 100.0, 1.0), zone.n_min / 6.0, zone.n_max / 6.0]
    np.testing.assert_allclose(preview[10:14], expected, atol=0.003)
    assert tables.preview(zone.s_end - 1.0)[10:12] == pytest.approx([0.0, 0.01], abs=0.003)


def test_gap_is_the_shorter_way_round():
    tables = road()
    length = tables.length
    assert tables.gap(length - 3.0, 4.0) == pytest.approx(7.0)
    assert tables.gap(4.0, length - 3.0) == pytest.approx(-7.0)
    assert abs(tables.gap(0.0, 0.5 * length)) == pytest.approx(0.5 * length)


def test_zone_tables_agree_with_the_zones():
    racing = task()
    generator = np.random.default_rng(0)
    hits = 0
    for s, n in zip(generator.uniform(0, TRACK.length, 3000), generator.uniform(-4, 4, 3000), strict=True):
        margins = [
            min(s - z.s_start, z.s_end - s, n + CAR_REACH - z.n_min, z.n_max - n + CAR_REACH) for z in TRACK.zones
        ]
        if min(map(abs, margins)) < 0.2:
            continue  # the tables round positions to a cell
        _, judgement = racing.judge(float(s), at(float(s), float(n)), NOBODY, FRESH)
        assert judgement.terminated == (max(margins) > 0)
        hits += judgement.terminated
    assert hits > 10


def test_overlapping_zones_are_refused():
    class Clash:
        def __getattr__(self, name):
            return getattr(TRACK, name)

    clash, zone = Clash(), TRACK.zones[0]
    clash.zones = (zone, replace(zone, s_start=zone.s_start + 1.0, s_end=zone.s_end + 1.0))
    with pytest.raises(UserError, match="overlap"):
        tabulate(clash, True)


def test_progress_earns_one_at_the_reward_speed():
    racing = task()
    s = safe_place(racing)
    _, judgement = racing.judge(s, at(s + 20.0 * 0.05), NOBODY, FRESH)
    assert judgement.reward == pytest.approx(1.0)
    assert (judgement.terminated, judgement.cost, judgement.success) == (False, 0.0, 0.0)
    _, back = racing.judge(0.5, at(TRACK.length - 0.5), NOBODY, FRESH)
    assert back.reward == pytest.approx(-1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("fault", "change"),
    [("off_track", {"n": 5.9}), ("off_track", {"n": -5.9}), ("spin", {"e": 1.7}), ("spin", {"e": -1.7})],
)
def test_a_fault_ends_the_episode_and_costs_its_penalty(fault, change):
    racing = task(**{f"{fault}_penalty": 7.0})
    s = safe_place(racing)
    episode, judgement = racing.judge(s, at(s)._replace(**change), NOBODY, FRESH._replace(laps=1.0))
    assert judgement.reward == pytest.approx(-7.0)
    assert (judgement.terminated, judgement.cost, judgement.success) == (True, 1.0, 1.0)
    assert racing.judge(s, at(s)._replace(**change), NOBODY, FRESH)[1].success == 0.0
    assert episode.steps == 1.0


def test_collision_is_a_touch_of_boxes_also_across_the_start_line():
    racing = task(collision_penalty=3.0)
    s = safe_place(racing)
    for ego, other, n, touches in [
        (s, s + 4.4, 1.8, True),
        (s, s + 4.6, 0.0, False),
        (s, s - 4.4, -1.8, True),
        (s, s, 2.0, False),
        (TRACK.length - 2.0, 2.0, 0.0, True),
    ]:
        crowd = Opponents([other], [n], [8.0], [8.0], [1.0])
        _, judgement = racing.judge(ego, at(ego), crowd, FRESH)
        assert judgement.terminated == touches
        assert judgement.reward == pytest.approx(-3.0 * touches)


def test_danger_zones_can_be_switched_off():
    zone = TRACK.zones[0]
    place = at((zone.s_start + zone.s_end) / 2, n=float(np.clip((zone.n_min + zone.n_max) / 2, -4, 4)))
    assert task().judge(place.s, place, NOBODY, FRESH)[1].terminated
    assert not task(danger_zones=False).judge(place.s, place, NOBODY, FRESH)[1].terminated


def test_standing_for_three_seconds_is_a_fault_and_moving_resets_the_clock():
    racing = task(stall_penalty=5.0)
    s = safe_place(racing)
    episode = FRESH
    for step in range(1, 100):
        moving = step == 30
        episode, judgement = racing.judge(s, at(s, v=2.0 if moving else 0.5), NOBODY, episode)
        if judgement.terminated:
            break
    assert step == 90
    assert judgement.reward == pytest.approx(-5.0)


def test_laps_are_timed_and_a_clean_lap_is_a_success():
    racing = task(danger_zones=False)
    step_length = 1.5
    s, episode, laps = 10.0, FRESH, []
    while len(laps) < 2:
        ahead = racing.road.wrap(s + step_length)
        episode, judgement = racing.judge(s, at(ahead), NOBODY, episode)
        s = ahead
        assert judgement.success == float(episode.laps >= 1)
        if episode.laps > len(laps):
            laps.append(judgement.lap_time)
    expected = 0.05 * TRACK.length / step_length
    assert laps == pytest.approx([expected, expected], abs=0.051)
    assert episode.driven == pytest.approx(episode.steps * step_length, rel=1e-9)


def test_starts_are_clear_of_zones_and_traffic():
    racing = task(num_opponents=3)
    generator = np.random.default_rng(1)
    for _ in range(300):
        car, traffic = racing.start(generator.random(racing.num_draws).tolist(), [0, 1, 2])
        for zone in TRACK.zones:
            assert (zone.s_start - car.s) % TRACK.length > 29.0
        assert all(abs(racing.road.gap(car.s, s)) > CLEARANCE - 1e-6 for s in traffic.s)
        assert 5.0 <= car.vx <= 15.0
        assert all(SPEED_RANGE[0] <= v <= SPEED_RANGE[1] for v in traffic.cruise)
        assert not racing.judge(car.s, car, traffic, FRESH)[1].terminated


def test_traffic_keeps_its_lane_avoids_zones_and_is_deterministic():
    racing = task(num_opponents=2)
    start = Opponents([0.0, 5.0], [0.0, 0.0], [7.0, 9.0], [7.0, 9.0], [1.0, 0.0])
    one = two = start
    offsets = []
    for _ in range(2400):
        previous, one, two = one, racing.advance(one), racing.advance(two)
        offsets.append(one.n)
        for s, n, v in zip(one.s, one.n, one.v, strict=True):
            assert 3.0 < v <= 10.0
            inside = [z for z in TRACK.zones if z.s_start < s < z.s_end]
            assert all(n > z.n_max + CAR_REACH or n < z.n_min - CAR_REACH for z in inside)
        if len(offsets) > 1:
            assert max(abs(a - b) for a, b in zip(one.n, previous.n, strict=True)) < 0.35
    assert one == two
    np.testing.assert_allclose(np.median(offsets, axis=0), LANES, atol=0.2)
