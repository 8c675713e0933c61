"""Margins of the tasks' constraints: their sign is the environment's judgement, they are distances, they have gradients."""

import math

import numpy as np
import pytest
import torch

from pompc.envs.acrobot import Acrobot, AcrobotConfig, in_danger
from pompc.envs.carla_racing import CarlaRacing, CarlaRacingConfig
from pompc.envs.carla_racing.task import faults, look_round
from pompc.envs.linear import Linear, LinearConfig
from pompc.envs.lunar_lander import LunarLander, LunarLanderConfig
from pompc.models.protocols import Constrained

DISC = (1.2, 0.5, 0.4)
FAMILIES = {
    "acrobot": Acrobot(AcrobotConfig(danger=DISC)),
    "lunar_lander": LunarLander(LunarLanderConfig()),
    "linear_system": Linear(LinearConfig()),
    "kinematic": CarlaRacing(CarlaRacingConfig(num_opponents=2)),
    "single_track": CarlaRacing(CarlaRacingConfig(num_opponents=1, planner_model="single_track")),
}
NUMBERS = {"acrobot": 1, "lunar_lander": 5, "linear_system": 4, "kinematic": 5, "single_track": 4}


def uniform(low, high, n=4000, seed=0):
    low, high = torch.tensor(low), torch.tensor(high)
    return low + (high - low) * torch.rand(n, len(low), generator=torch.Generator().manual_seed(seed))


def states(name, n=4000):
    """Random states, on both sides of every constraint."""
    if name == "acrobot":
        return uniform([-math.pi, -math.pi, -6.0, -10.0, 0.0], [math.pi, math.pi, 6.0, 10.0, 0.0], n)
    if name == "lunar_lander":
        found = uniform([-1.2, -0.2, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0], [1.2, 1.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], n)
        found[:, 6:] = (found[:, 6:] > 0).float()
        return found
    if name == "linear_system":
        return uniform([-2.0, -2.0], [2.0, 2.0], n)
    model = FAMILIES[name].task_model()
    length, others = model.road.length, model.opponents
    low, high = [0.0, -7.0, -1.8, 0.0, -1.0, -1.0, -0.5, -1.0], [length, 7.0, 1.8, 30.0, 1.0, 1.0, 0.5, 1.0]
    found = uniform(
        [*low, *[-8.0] * others, *[-3.0] * others, *[5.0] * others],
        [*high, *[8.0] * others, *[3.0] * others, *[9.0] * others],
        n,
    )
    found[:, 8 : 8 + others] += found[:, :1]
    return found


def margins(name, after):
    model = FAMILIES[name].task_model()
    return model.margins(after, after.new_zeros(*after.shape[:-1], model.action_dim), after)


@pytest.mark.parametrize("name", FAMILIES)
def test_margins_are_batched_over_any_leading_shape(name):
    after = states(name, 24)
    found = margins(name, after.view(2, 3, 4, -1))
    assert isinstance(FAMILIES[name].task_model(), Constrained)
    assert found.shape == (2, 3, 4, NUMBERS[name])
    torch.testing.assert_close(found.view(24, -1), margins(name, after), rtol=0, atol=0)


@pytest.mark.parametrize("name", FAMILIES)
def test_margins_have_finite_gradients_that_are_their_slopes(name):
    after = states(name, 400).requires_grad_()
    found = margins(name, after)
    for number in range(NUMBERS[name]):
        (slope,) = torch.autograd.grad(found[:, number].sum(), after, retain_graph=True)
        assert slope.isfinite().all()
        assert slope.ne(0).any()
        step = 1e-3 * torch.nn.functional.normalize(slope, dim=-1)
        rise = margins(name, after.detach() + step)[:, number] - margins(name, after.detach() - step)[:, number]
        expected = 2e-3 * slope.norm(dim=-1)
        off = (rise - expected).abs() > 5e-2 * expected + 1e-4
        assert off.float().mean() < 0.03  # beside the kinks, where another part is nearer


def test_acrobots_margin_has_the_sign_of_the_environments_judgement():
    family = FAMILIES["acrobot"]
    env, model = family.make().unwrapped, family.task_model()
    env.reset(seed=0)
    seen = set()
    for start in states("acrobot", 700):
        env.state, env.held = tuple(start[:4].double().tolist()), 0
        *_, info = env.step(np.zeros(1, np.float32))
        margin = model.margins(start, torch.zeros(1), model.step(start, torch.zeros(1))).item()
        if abs(margin) > 1e-4:  # float32 against float64
            assert (margin < 0) == bool(info["cost"])
            seen.add(info["cost"])
    assert seen == {0.0, 1.0}


def test_acrobots_margin_is_the_distance_from_the_disc_and_agrees_with_the_model_in_every_bit():
    after = states("acrobot", 20000)
    found = margins("acrobot", after)[:, 0]
    assert torch.equal(found < 0, in_danger(after.unbind(-1)[:4], DISC, torch))
    tip = torch.stack(
        [after[:, 0].sin() + (after[:, 0] + after[:, 1]).sin(), -after[:, 0].cos() - (after[:, 0] + after[:, 1]).cos()],
        -1,
    )
    torch.testing.assert_close(found, (tip - torch.tensor(DISC[:2])).norm(dim=-1) - DISC[2], atol=2e-6, rtol=0)
    free = Acrobot(AcrobotConfig()).task_model()
    assert free.margins(after, after[:, :1], after).eq(math.inf).all()


def test_landers_margins_are_negative_exactly_in_the_models_faults():
    model = FAMILIES["lunar_lander"].task_model()
    after = states("lunar_lander", 20000)
    after[:40, :2] = torch.tensor([[1.0, 0.5], [-1.0, 0.5], [1.0 - 2**-24, 0.5], [0.9, -1e-6], [0.9, -1.1e-6]]).repeat(
        8, 1
    )
    after[:40, 6:] = 0.0
    action = torch.zeros(len(after), 2)
    failed = model.terminated(action.new_zeros(len(after), 8), action, after)  # never asleep: it fell before
    found = margins("lunar_lander", after)
    assert torch.equal((found < 0).any(-1), failed)
    assert (found < 0).any(0).all()


def test_landers_margins_have_the_sign_of_the_environments_judgement():
    zones = ((0.0, 1.25, 0.1), (0.3, 0.9, 0.2), (-0.3, 0.9, 0.2))
    family = LunarLander(LunarLanderConfig(zones=zones, action_repeat=1))
    env, model, seen = family.make(), family.task_model(), []
    random = np.random.default_rng(0)
    for episode in range(12):
        observation, _ = env.reset(seed=episode)
        ended, action = False, random.uniform(-1, 1, 2).astype(np.float32)
        while not ended:
            before, command = torch.from_numpy(observation), torch.from_numpy(action)
            observation, _, ended, _, info = env.step(action)
            found = model.margins(model.state(before), command, model.state(torch.from_numpy(observation)))
            in_zone = bool((found[:3] < 0).any())
            out = bool(found[3] < 0)
            assert in_zone == bool(info["cost"])
            assert out == (abs(observation[0]) >= 1)
            assert ended or not (found < 0).any()
            seen.append((in_zone, out))
    assert {(False, False), (True, False)} <= set(seen)


@pytest.mark.parametrize(("vy", "angle"), [(-0.1, 0.0), (-0.25, 0.0), (-0.35, 0.0), (-0.1, 0.4), (-0.7, 0.1)])
def test_landers_last_margin_foretells_whether_it_lands_or_crashes(vy, angle):
    model = FAMILIES["lunar_lander"].task_model()
    state, off = torch.tensor([0.0, 0.03, 0.0, vy, angle, 0.0, 0.0, 0.0]), torch.tensor([0.0, 0.0])
    while state[1] > 1e-3 and state[6] == 0:
        before, state = state, model.step(state, off)
        margin = model.margins(before, off, state)[-1]
        crashed = bool(model.terminated(before, off, state))
        assert (margin < 0) == crashed
    assert crashed or margin == pytest.approx(0.28, abs=1e-6)  # at rest the whole of what the legs bear is left


@pytest.mark.parametrize("name", ["kinematic", "single_track"])
def test_racing_margins_are_negative_exactly_in_the_faults_of_their_kind(name):
    model = FAMILIES[name].task_model()
    after = states(name, 30000)
    car, others = model._unpack(after)
    judged = faults(model.road, car, look_round(model.road, car, others))
    found = margins(name, after)
    kinds = [found[:, 0], found[:, 1], found[:, 3:].amin(-1), found[:, 2]]
    for margin, fault in zip(kinds, judged, strict=True):
        assert fault.any()
        assert not fault.all()
        assert torch.equal(margin < 0, fault)


@pytest.mark.parametrize("name", ["kinematic", "single_track"])
def test_racing_margins_have_the_sign_of_the_environments_judgement(name):
    family = FAMILIES[name]
    env, model = family.vectorise(48, seed=3), family.task_model()
    carrier, agreed, ends = env.reset(), [], 0
    for step in range(90):
        steer = 0.2 * torch.sin(0.1 * step + torch.arange(48.0))
        action = torch.stack([steer, torch.full((48,), 0.4)], -1)
        carrier = env.step(carrier.set("action", action))["next"]
        terminated = carrier["terminated"].squeeze(-1)
        after = model.state(carrier["observation"])
        agreed.append((model.margins(after, action, after) < 0).any(-1) == terminated)
        ends += int(terminated.sum())
        carrier = carrier.exclude("reward")
    assert ends > 5
    assert torch.stack(agreed).float().mean() > 0.999  # rounding of the observation at a border


def test_racing_margins_are_metres_to_edge_zone_and_opponents():
    model = FAMILIES["kinematic"].task_model()
    road = model.road
    cells = torch.arange(road.cells) / road.per_metre
    half_width, centre, reach, nearness = road.edges(cells)
    before_zone = int((nearness >= 1).int().argmax()) - 41  # 10.25 m before the first cell of a zone
    zone = before_zone + 60
    place = torch.zeros(2, model.state_dim)
    place[:, 0] = cells[[before_zone, zone]]
    place[:, 1] = centre[zone]
    place[:, 8:10] = place[:, :1] + torch.tensor([7.0, -40.0])  # one opponent 7 m ahead and 1 m aside
    place[:, 10:12] = place[:, 1:2] + 1.0
    edge, ahead, spin, near, far = margins("kinematic", place).unbind(-1)
    torch.testing.assert_close(edge, half_width[[before_zone, zone]] - 0.9 - centre[zone].abs())
    torch.testing.assert_close(ahead, torch.stack([torch.tensor(10.25), -reach[zone]]), atol=0.3, rtol=0)
    torch.testing.assert_close(spin, torch.full((2,), math.pi / 2))
    torch.testing.assert_close(near, torch.full((2,), 2.5), atol=1e-4, rtol=0)
    torch.testing.assert_close(far, torch.full((2,), 35.5), atol=1e-4, rtol=0)
