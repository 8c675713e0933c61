"""Certified actions: no violation on an exact model, safe actions untouched, the stored manoeuvre behind them."""

from itertools import pairwise

import pytest
import torch

from pompc.config.filter_options import FilterConfig
from pompc.planner.safety import Certifier

STEP = 0.1


class Wall:
    """A double integrator before a wall at 1: state (place, speed), the action is its acceleration."""

    def step(self, state, action):
        speed = state[..., 1] + STEP * action[..., 0]
        return torch.stack([state[..., 0] + STEP * speed, speed], -1)

    def margins(self, state, action, next_state):
        return 1.0 - next_state[..., :1]

    def brake(self, state):
        return (-state[..., 1:] / STEP).clamp(-1.0, 1.0)

    def at_rest(self, state):
        return state[..., 1].abs() < 1e-4


def certifier(**options):
    return Certifier(FilterConfig(**{"horizon": 20, **options}), Wall(), 1)


def starts(count=50):
    places = torch.linspace(-1.0, 0.3, count)
    return torch.stack([places, torch.linspace(0.0, 0.5, count)], -1)


def near_the_wall(count=50):
    """States from which all can still stop, the last ones just so."""
    speeds = torch.linspace(0.0, 0.6, count)
    return torch.stack([torch.full((count,), 0.75), speeds], -1)


def pushes(steps, count=50, seed=0):
    """Actions that push to the wall ``[step, count, 1]``."""
    return torch.rand(steps, count, 1, generator=torch.Generator().manual_seed(seed)) * 1.5 - 0.5


def test_a_policy_that_pushes_outwards_never_leaves_with_the_filter_and_does_without_it():
    safety, state, backup = certifier(), starts(), None
    free = starts()
    without = 0
    for action in pushes(150):
        found = safety.certify(state, action, backup)
        assert found.ok.all()
        state, backup = Wall().step(state, found.action), found.following
        assert (state[:, 0] <= 1.0).all()
        free = Wall().step(free, action)
        without += int((free[:, 0] > 1).sum())
    assert without > 0.5 * 150 * len(free)
    assert state[:, 0].median() > 0.99  # the room up to the wall is used


def test_a_safe_action_passes_unchanged():
    action = pushes(1)[0]
    state = torch.stack([torch.full((50,), -100.0), torch.zeros(50)], -1)
    found = certifier().certify(state, action)
    assert torch.equal(found.action, action)
    assert found.ok.all()


def test_only_actions_that_need_it_are_corrected():
    """Those that are not could be followed by braking before the wall."""
    safety, state, action = certifier(), near_the_wall(), torch.ones(50, 1)
    found = safety.certify(state, action)
    after = Wall().step(state, action)
    stops = after[:, 0] + after[:, 1] * STEP + after[:, 1].square() / 2 < 0.9
    assert 0 < stops.sum() < 50
    assert torch.equal(found.action[stops], action[stops])
    assert (found.action != action).any()


def test_a_certified_action_is_certified_again_as_it_is():
    safety, state, backup = certifier(), starts(), None
    for action in pushes(20):
        found = safety.certify(state, action, backup)
        again = safety.certify(state, found.action, found.sequence)
        assert torch.equal(again.action, found.action)
        assert torch.equal(again.sequence, found.sequence)
        assert again.ok.all()
        state, backup = Wall().step(state, found.action), found.following


def test_more_tightening_never_corrects_less():
    state, action = near_the_wall(), torch.ones(50, 1)
    found = [certifier(tighten=tighten).certify(state, action) for tighten in (0.0, 0.1, 0.2, 0.4)]
    for loose, tight in pairwise(found):
        assert (tight.ok <= loose.ok).all()
        both = tight.ok
        distance = [(each.action - action).abs()[both] for each in (loose, tight)]
        assert (distance[0] <= distance[1]).all()
    assert not found[-1].ok.all()
    for each, tighten in zip(found, (0.0, 0.1, 0.2, 0.4), strict=True):
        assert (each.margin[each.ok] >= tighten).all()


def test_tightening_moves_the_place_where_all_stop_by_its_value():
    ends = []
    for tighten in (0.0, 0.3):
        safety, state, backup = certifier(tighten=tighten), starts()[:20], None
        for _ in range(100):
            found = safety.certify(state, torch.ones(20, 1), backup)
            state, backup = Wall().step(state, found.action), found.following
        ends.append(state[:, 0].mean().item())
    assert ends[0] - ends[1] == pytest.approx(0.3, abs=0.01)


def test_forced_infeasibility_replays_the_stored_manoeuvre_and_then_brakes():
    state = starts()
    found = certifier().certify(state, torch.ones(50, 1))
    stored, backup, impossible = found.sequence, found.following, certifier(tighten=1e6)
    state = Wall().step(state, found.action)
    for step in range(1, 25):
        again = impossible.certify(state, torch.ones(50, 1), backup)
        assert not again.ok.any()
        if step < 20:
            assert torch.equal(again.action, stored[:, step])
        state, backup = Wall().step(state, again.action), again.following
        assert (state[:, 0] <= 1.0).all()
    assert state[:, 1].abs().max() < 1e-4  # standing


def test_a_start_drops_the_backup_of_the_episode_before():
    safety, state, action = certifier(), torch.zeros(4, 2), torch.full((4, 1), 0.5)
    stale = torch.zeros(4, 20, 1)
    stale[:, :4, 0] = torch.tensor([0.5, -0.5, 0.5, -0.5])  # it stops, later than braking does
    fresh = safety.certify(state, action)
    mixed = safety.certify(state, action, stale, torch.tensor([[True], [True], [False], [False]]))
    kept = safety.certify(state, action, stale)
    assert torch.equal(mixed.sequence, torch.cat([fresh.sequence[:2], kept.sequence[2:]]))
    assert not torch.equal(fresh.sequence[2:], kept.sequence[2:])


def test_environments_do_not_influence_each_other():
    safety, state, action = certifier(), starts(), torch.ones(50, 1)
    together = safety.certify(state, action)
    for env in (0, 17, 49):
        alone = safety.certify(state[env : env + 1], action[env : env + 1])
        torch.testing.assert_close(alone.sequence[0], together.sequence[env])


def test_no_random_number_of_anything_else_is_drawn():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    certifier().certify(starts(), torch.ones(50, 1))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("options", [{"horizon": 1}, {"samples": 0}, {"horizon": 1, "samples": 0}])
def test_the_smallest_filters_work(options):
    state = torch.tensor([[0.0, 0.0], [0.999, 0.0]])
    found = certifier(**options).certify(state, torch.tensor([[0.0], [1.0]]))
    assert found.ok.all()
    assert found.action[0] == 0
    assert found.action[1] < 1
