"""The lander's mass: what it changes in Box2D, and how episodes draw it."""

import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from pompc.envs.lunar_lander import LunarLander, LunarLanderConfig
from pompc.envs.lunar_lander_body import LanderBody
from pompc.errors import UserError
from pompc.models.known import KnownModel
from pompc.onpolicy.model_errors import model_errors

NOTHING = np.zeros(2, np.float32)
LIMITS = np.array([0.0002, 0.0005, 0.0008, 0.0015, 0.0005, 0.0006])  # of the lumped model, see test_lunar_lander.py


class Noiseless:
    """Stands in for the simulator's random generator: engines without dispersion."""

    def uniform(self, low, high):
        return 0.0


def make(**options):
    return LunarLander(LunarLanderConfig(zones=(), **options)).make().unwrapped


def flights(repeat, **options):
    """Fly 20 frames in the air without engine noise, legs extended: observations ``[episode, time, 8]``, actions."""
    env, random, flown, flown_by = make(action_repeat=repeat, **options), np.random.default_rng(0), [], []
    for episode in range(20):
        env.reset(seed=episode)
        env.simulator.np_random = Noiseless()
        for _ in range(30 // repeat):
            seen, *_ = env.step(NOTHING)
        path, actions = [seen], random.uniform(-1, 1, (20 // repeat, 2)).astype(np.float32)
        for action in actions:
            seen, _, ended, *_ = env.step(action)
            assert not ended
            path.append(seen)
        flown.append(path)
        flown_by.append(actions)
    return torch.tensor(np.array(flown)), torch.tensor(np.array(flown_by))


def open_loop_error(body: LanderBody, path: Tensor, actions: Tensor) -> np.ndarray:
    """RMSE of a body at the end of the flights ``[6]``."""
    state = path[:, 0]
    for action in actions.unbind(1):
        state = body.step(state, action)
    return (state - path[:, -1])[:, :6].square().mean(0).sqrt().numpy()


@pytest.mark.parametrize("mass", [0.7, 1.0, 1.3])
def test_in_the_air_it_is_the_body_with_that_mismatch(mass):
    path, actions = flights(5, mass=mass)
    assert (open_loop_error(LanderBody(5, mass - 1.0, True), path, actions) < LIMITS).all()
    if mass != 1.0:
        nominal = open_loop_error(LanderBody(5, 0.0, True), path, actions)
        assert nominal[3] > 10 * LIMITS[3]
        assert nominal[5] > 10 * LIMITS[5]


def test_mass_1_is_gymnasiums_lander_bit_for_bit():
    ours, theirs = make(action_repeat=1), gymnasium.make("LunarLander-v3", continuous=True).unwrapped
    random = np.random.default_rng(0)
    for seed in (3, 4):
        np.testing.assert_array_equal(ours.reset(seed=seed)[0], theirs.reset(seed=seed)[0])
        ended = False
        while not ended:
            action = random.uniform(-1, 1, 2).astype(np.float32)
            one, other = ours.step(action), theirs.step(action)
            np.testing.assert_array_equal(one[0], other[0])
            assert one[1:3] == other[1:3]
            ended = one[2]


def test_another_mass_leaves_the_start_as_it_is():
    landers = []
    for options in ({}, {"mass": 2.0}, {"mass_variation": 0.5}):
        env = make(**options)
        seen, _ = env.reset(seed=11)
        body = env.simulator.lander
        landers.append((seen, tuple(body.position), tuple(body.linearVelocity), body.angularVelocity))
    for seen, *motion in landers[1:]:
        np.testing.assert_array_equal(seen, landers[0][0])
        assert motion == list(landers[0][1:])


@pytest.mark.parametrize("mass", [0.5, 2.0])
def test_without_engines_every_mass_falls_alike(mass):
    heights = []
    for options in ({}, {"mass": mass}):
        env = make(action_repeat=1, **options)
        env.reset(seed=2)
        heights.append([env.step(NOTHING)[0][1] for _ in range(30)])
    np.testing.assert_allclose(*heights, atol=2e-3)
    assert heights[0][0] - heights[0][-1] > 0.1


def test_drawn_masses_fill_their_range_and_differ_between_episodes_and_environments():
    family = LunarLander(LunarLanderConfig(mass=1.2, mass_variation=0.25))
    assert family.info_keys == ("success", "cost", "mass")
    env = family.vectorise(4, seed=0)
    drawn = np.concatenate([env.reset()["mass"].flatten().numpy() for _ in range(30)])
    assert 0.9 <= drawn.min() < 0.92
    assert 1.48 < drawn.max() <= 1.5
    assert len(np.unique(drawn)) == 120


def test_the_drawn_mass_is_the_plants():
    nominal = make()
    nominal.reset(seed=0)
    env = make(mass=1.2, mass_variation=0.25)
    for seed in range(5):
        _, info = env.reset(seed=seed)
        assert env.simulator.lander.mass == pytest.approx(info["mass"] * nominal.simulator.lander.mass, rel=1e-5)
        assert env.simulator.lander.inertia == pytest.approx(info["mass"] * nominal.simulator.lander.inertia, rel=1e-5)
        assert env.simulator.legs[0].mass == pytest.approx(info["mass"] * nominal.simulator.legs[0].mass, rel=1e-5)
        assert env.step(NOTHING)[4]["mass"] == info["mass"]


def test_the_seed_decides_the_mass_and_the_mass_not_the_simulators_draws():
    env = make(mass_variation=0.4)
    masses = [env.reset(seed=seed)[1]["mass"] for seed in (5, 5, 6, None, None)]
    assert masses[0] == masses[1]
    assert len(set(masses)) == 4
    hills = [make(mass_variation=width) for width in (0.0, 0.4)]
    for _ in range(3):
        for one in hills:
            one.reset(seed=9)
        assert hills[0].simulator.sky_polys == hills[1].simulator.sky_polys
    assert hills[0].simulator.np_random.random() == hills[1].simulator.np_random.random()


def test_a_snapshot_repeats_the_mass():
    family = LunarLander(LunarLanderConfig(mass_variation=0.4))
    env, other = (family.vectorise(3, seed=seed) for seed in (0, 1))
    carrier = env.reset()
    for _ in range(4):
        carrier = env.step(carrier.set("action", torch.full((3, 2), 0.8)))["next"].exclude("reward")
    other.reset()
    other.restore(env.snapshot())
    again = carrier.clone()
    for _ in range(4):
        after, repeated = (
            batch.step(seen.set("action", torch.full((3, 2), -0.6)))["next"]
            for batch, seen in ((env, carrier), (other, again))
        )
        assert torch.equal(after["observation"], repeated["observation"])
        assert torch.equal(after["mass"], repeated["mass"])
        carrier, again = after.exclude("reward"), repeated.exclude("reward")
    assert torch.equal(env.reset()["mass"], other.reset()["mass"])


def test_the_models_logged_error_rises_with_the_mismatch():
    errors = []
    for mass in (1.0, 1.2, 1.5):
        path, actions = flights(5, mass=mass)
        model = KnownModel(LunarLander(LunarLanderConfig(zones=(), mass=mass)).task_model())
        after = {"observation": path[:, 1:], "reward": torch.zeros(*actions.shape[:2], 1)}
        data = {"observation": path[:, :-1], "action": actions, "next": after}
        errors.append(model_errors(TensorDict(data, batch_size=actions.shape[:2]), model)["model_error"])
    assert 3 * errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("options", [{"mass": 0.0}, {"mass_variation": 1.0}, {"mass_variation": -0.1}])
def test_a_mass_that_is_not_positive_is_refused(options):
    with pytest.raises(UserError, match=rf"env\.{next(iter(options))}"):
        LunarLanderConfig(**options)
