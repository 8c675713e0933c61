"""The plant's mass, friction and drive: what they change, and how episodes draw them."""

import io
import math
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from pompc.envs.carla_racing import CarlaRacing, CarlaRacingConfig
from pompc.envs.carla_racing.physics.opponents import Opponents
from pompc.envs.carla_racing.physics.ops import ScalarOps
from pompc.envs.carla_racing.physics.vehicle import GRAVITY, Car, SingleTrack, VehicleParameters
from pompc.envs.carla_racing.plant import Factors, Variation
from pompc.errors import UserError
from pompc.models.known import KnownModel
from pompc.onpolicy.model_errors import model_errors

ROOT = Path(__file__).parents[3]
NOMINAL = VehicleParameters()
VARIED = {"mass_variation": 0.2, "friction_variation": 0.3, "drive_variation": 0.4}
WIDE = CarlaRacingConfig(mass=1.2, friction=0.7, drive=0.9, **VARIED)
RANGES = {"mass": (0.96, 1.44), "friction": (0.49, 0.91), "drive": (0.54, 1.26)}


def family(**options):
    return CarlaRacing(CarlaRacingConfig(**options))


def vectorise(num_envs, seed=0, **options):
    return family(**options).vectorise(num_envs, seed=seed)


def straight(parameters):
    """Make the plant on a straight road, with sub-steps of 10 ms."""
    return SingleTrack(parameters, ScalarOps(), lambda s: 0.0 * s, 0.01, 5)


def resets(env, count):
    """Reset everything several times: starts ``[count, num_envs, observation]`` and factors ``[count, 3, num_envs]``."""
    pairs = [(env.reset()["observation"], factors(env)) for _ in range(count)]
    return [torch.stack(column) for column in zip(*pairs, strict=True)]


def factors(env):
    """Return the factors of a batch ``[3, num_envs]``."""
    return torch.stack([torch.as_tensor(factor).expand(env.num_envs) for factor in env.plants.factors])


# -- what the factors change ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mass", "drive"), [(1.0, 1.0), (1.5, 1.0), (1.0, 0.6), (1.3, 0.8)])
@pytest.mark.parametrize("friction", [1.0, 0.7])
def test_force_over_mass_accelerates_on_a_straight_whatever_the_friction(mass, drive, friction):
    env = family(mass=mass, drive=drive, friction=friction, num_opponents=0).make()
    env.place(Car(10.0, 0.0, 0.0, 12.0, 0.0, 0.0, 0.0, 0.0), Opponents([], [], [], [], []))
    arrived, expected = 0.0, 12.0
    for _ in range(env.config.substeps):
        arrived += 0.01 / NOMINAL.drive_lag * (0.4 - arrived)
        force = arrived * drive * NOMINAL.drive_force - NOMINAL.rolling - NOMINAL.drag * expected**2
        expected += 0.01 * force / (mass * NOMINAL.mass)
    env.step(np.array([0.0, 0.4], np.float32))
    assert env.car.vx == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("friction", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("mass", [1.0, 1.4])
def test_friction_bounds_the_lateral_acceleration_whatever_the_mass(friction, mass):
    plant = straight(NOMINAL.scaled(mass=mass, friction=friction, drive=mass))
    car, most = Car(0.0, 0.0, 0.0, 20.0, 0.0, 0.0, 0.0, 0.0), 0.0
    for step in range(320):
        hold = min(max(20.0 - car.vx, -0.2), 0.35 * friction)
        car = plant.step(car, min(step / 400, 1.0), hold)
        most = max(most, car.vx * car.r)
    limit = friction * NOMINAL.friction * GRAVITY
    assert 0.85 * limit < most < 1.03 * limit


def test_a_heavier_car_with_as_much_more_drive_moves_alike_without_resistance():
    lossless = replace(NOMINAL, drag=0.0, rolling=0.0)
    light = heavy = Car(0.0, 0.0, 0.0, 15.0, 0.0, 0.0, 0.0, 0.0)
    one, other = straight(lossless), straight(lossless.scaled(mass=1.7, friction=1.0, drive=1.7))
    for step in range(100):
        command = math.sin(0.2 * step), math.cos(0.13 * step)
        light, heavy = one.step(light, *command), other.step(heavy, *command)
    assert heavy == pytest.approx(light, rel=1e-9, abs=1e-9)
    assert abs(light.n) > 1.0


def test_the_planners_car_stays_the_nominal_one():
    action = torch.tensor([0.3, 0.8])
    configs = (replace(config, planner_model="single_track") for config in (CarlaRacingConfig(), WIDE))
    nominal, other = (CarlaRacing(config).task_model() for config in configs)
    start = torch.zeros(nominal.state_dim).index_fill(0, torch.tensor([3]), 12.0)
    assert torch.equal(nominal.step(start, action), other.step(start, action))


@pytest.mark.parametrize(
    ("planner_model", "plants"),
    [
        ("single_track", ({}, {"mass": 1.1, "drive": 0.9}, {"mass": 1.3, "drive": 0.7})),
        ("single_track", ({}, {"friction": 0.7}, {"friction": 0.5})),
        ("kinematic", ({}, {"friction": 0.7}, {"friction": 0.5})),
    ],
)
def test_the_models_logged_errors_rise_with_the_mismatch(planner_model, plants):
    errors = []
    for options in plants:
        made = family(planner_model=planner_model, num_opponents=1, **options)
        env, model = made.vectorise(16, seed=0), KnownModel(made.task_model())
        carrier, steps = env.reset(), []
        for step in range(40):
            action = torch.tensor([0.1 * math.sin(0.2 * step), 0.8 * math.cos(0.3 * step)]).expand(16, 2)
            stepped = env.step(carrier.set("action", action))
            steps.append(stepped.select("observation", "action", ("next", "observation"), ("next", "reward")).clone())
            carrier = stepped["next"].exclude("reward")
        errors.append(model_errors(TensorDict.stack(steps), model))
    for name in ("model_error", "reward_error"):
        exact, small, large = (error[name] for error in errors)
        assert exact < small < large


def test_the_table_of_one_step_errors_is_zero_for_the_plants_own_model_and_tells_a_wrong_mass():
    errors = runpy.run_path(str(ROOT / "results" / "carla_racing" / "one_step_error.py"))["errors"]
    small = ["env.planner_model=single_track", "planner.num_samples=8", "planner.horizon=4", "num_envs=4"]
    exact, heavy = (errors([*small, *words], steps=8) for words in ([], ["env.mass=1.3"]))
    assert max(exact.values()) < 1e-3
    assert heavy["vx (m/s)"] > 100 * exact["vx (m/s)"]
    assert heavy["wheels (rad)"] < 1e-6


# -- what episodes draw -----------------------------------------------------------------------------------------------


def test_drawn_factors_fill_their_ranges_and_differ_between_episodes_and_environments():
    _, drawn = resets(vectorise(40, **vars(WIDE)), 50)
    for name, column in zip(Factors._fields, drawn.unbind(1), strict=True):
        low, high = RANGES[name]
        assert low <= column.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < column.max() <= high
        assert column.mean() == pytest.approx((low + high) / 2, rel=0.02)
        assert column.unique().numel() > 1990
    assert torch.corrcoef(drawn.transpose(0, 1).flatten(1)).fill_diagonal_(0.0).abs().max() < 0.1


def test_the_single_environment_draws_from_the_same_ranges():
    env = CarlaRacing(WIDE).make()
    env.reset(seed=0)
    drawn = []
    for _ in range(200):
        env.reset()
        drawn.append([env.step(np.zeros(2, np.float32))[4][name] for name in RANGES])
    for column, (low, high) in zip(np.transpose(drawn), RANGES.values(), strict=True):
        assert low <= column.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < column.max() <= high
        assert len(set(column)) == 200


def test_only_the_factors_with_a_variation_are_drawn():
    _, drawn = resets(vectorise(4, mass=1.2, drive_variation=0.5), 3)
    assert drawn[:, 0].unique().item() == pytest.approx(1.2)
    assert drawn[:, 1].unique().item() == 1.0
    assert drawn[:, 2].unique().numel() == 12
    assert Variation(CarlaRacingConfig(mass=1.2)).draw(np.random.default_rng(0)) == Factors(1.2, 1.0, 1.0)


def test_the_draws_of_one_factor_do_not_depend_on_the_others():
    alone = resets(vectorise(4, mass_variation=0.2), 3)[1][:, 0]
    together = resets(vectorise(4, **VARIED), 3)[1][:, 0]
    assert torch.equal(alone, together)
    one, other = (family(**options).make() for options in ({"mass_variation": 0.2}, VARIED))
    for env in (one, other):
        env.reset(seed=4)
    action = np.zeros(2, np.float32)
    assert one.step(action)[4]["mass"] == other.step(action)[4]["mass"]


def test_starts_and_traffic_are_those_without_variation():
    starts, varied = (resets(vectorise(4, seed=7, **options), 4)[0] for options in ({}, VARIED))
    assert torch.equal(starts, varied)
    plain, drawn = (family(**options).make() for options in ({}, VARIED))
    for seed in (3, None, None, 8):
        np.testing.assert_array_equal(plain.reset(seed=seed)[0], drawn.reset(seed=seed)[0])


def test_the_seed_decides_the_factors():
    one, same, other = (resets(vectorise(3, seed=seed, **VARIED), 2)[1] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert (one != other).all()
    env = vectorise(3, seed=2, **VARIED)
    env.set_seed(1)
    assert torch.equal(resets(env, 2)[1], one)
    single = family(**VARIED).make()
    drawn = []
    for seed in (5, 5, 6, None):
        single.reset(seed=seed)
        drawn.append(single.step(np.zeros(2, np.float32))[4]["mass"])
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


def test_an_episode_keeps_its_factors_until_its_own_reset():
    env = vectorise(4, **VARIED)
    carrier = env.reset()
    before = factors(env)
    for _ in range(3):
        after = env.step(carrier.set("action", torch.zeros(4, 2)))["next"]
        carrier = after.exclude("reward")
    assert torch.equal(factors(env), before)
    mask = torch.tensor([[True], [False], [False], [True]])
    env.reset(carrier.set("_reset", mask))
    now, chosen = factors(env), mask.squeeze(-1)
    assert torch.equal(now[:, ~chosen], before[:, ~chosen])
    assert (now[:, chosen] != before[:, chosen]).all()


def test_a_snapshot_carries_the_factors_and_the_draws_to_come():
    env = vectorise(5, **VARIED)
    env.reset()
    buffer = io.BytesIO()
    torch.save(env.snapshot(), buffer)
    kept, following = factors(env), resets(env, 3)
    for other in (env, vectorise(5, seed=99, **VARIED)):
        buffer.seek(0)
        other.restore(torch.load(buffer, weights_only=True))
        assert torch.equal(factors(other), kept)
        for again, first in zip(resets(other, 3), following, strict=True):
            assert torch.equal(again, first)


def test_info_tells_the_drawn_factors_and_nothing_else_does():
    made = family(friction=0.8, mass_variation=0.2, friction_variation=0.3)
    assert made.info_keys == ("success", "cost", "lap_time", "speed", "mass", "friction")
    assert family(friction=0.8).info_keys == CarlaRacing.info_keys
    env, plain = made.vectorise(3, seed=0), vectorise(3)
    carrier = env.reset()
    stepped = env.step(carrier.set("action", torch.zeros(3, 2)))["next"]
    for seen in (carrier, stepped):
        assert torch.equal(seen["mass"].squeeze(-1), env.plants.factors.mass)
        assert torch.equal(seen["friction"].squeeze(-1), env.plants.factors.friction)
    assert carrier["observation"].shape == plain.reset()["observation"].shape
    single = made.make()
    single.reset(seed=0)
    assert tuple(single.step(np.zeros(2, np.float32))[4]) == made.info_keys


def test_a_carla_server_refuses_another_car_before_anything_is_sent():
    options = {"mass": 1.2, "friction": 0.7, "drive": 0.8, **VARIED}
    for name, value in options.items():
        with pytest.raises(UserError, match=rf"^env\.{name} needs env\.backend=embedded: .*env\.planner_mass"):
            family(backend="carla", **{name: value})


@pytest.mark.parametrize("name", list(VARIED))
@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_a_variation_leaves_every_factor_positive(name, value):
    with pytest.raises(UserError, match=rf"env\.{name}"):
        CarlaRacingConfig(**{name: value})
