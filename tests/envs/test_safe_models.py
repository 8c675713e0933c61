"""The braking manoeuvres and terminal sets of the explicit models: invariant, or the heuristics they say they are."""

import math

import numpy as np
import pytest
import torch

from pompc.config.filter_options import FilterConfig
from pompc.envs.acrobot import AcrobotConfig, AcrobotModel
from pompc.envs.carla_racing.config import CarlaRacingConfig
from pompc.envs.carla_racing.model import RacingModel
from pompc.envs.linear import Linear, LinearConfig, LinearModel
from pompc.envs.lunar_lander import LunarLanderConfig, LunarLanderModel
from pompc.errors import UserError
from pompc.models.protocols import Safe
from pompc.planner.safety import Certifier

DISC = (0.9, -0.2, 0.3)
MODELS = {
    "linear": lambda: LinearModel(LinearConfig()),
    "racing": lambda: RacingModel(CarlaRacingConfig(num_opponents=1)),
    "lander": lambda: LunarLanderModel(LunarLanderConfig()),
    "acrobot": lambda: AcrobotModel(AcrobotConfig(danger=DISC)),
    "acrobot without a disc": lambda: AcrobotModel(AcrobotConfig()),
}


def uniform(count, *ranges, seed=0):
    """Draw states ``[count, entry]`` from a box."""
    low, high = torch.tensor(ranges).T
    return low + (high - low) * torch.rand(count, len(ranges), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_every_explicit_model_is_safe_and_batched_over_any_shape(make):
    model = make()
    assert isinstance(model, Safe)
    state = torch.zeros(2, 3, 4, model.state_dim)
    action = model.brake(state)
    assert action.shape == (2, 3, 4, model.action_dim)
    assert action.abs().max() <= 1
    assert model.at_rest(state).shape == (2, 3, 4)
    assert model.at_rest(state).dtype == torch.bool


@pytest.mark.parametrize(
    "options", [{}, {"mismatch": 1.0}, {"planner_offset": (-0.05, 0.0)}, {"low": (-1.0, -2.0), "high": (3.0, 1.0)}]
)
def test_braking_never_leaves_the_terminal_set_of_the_linear_system(options):
    model = LinearModel(LinearConfig(**options))
    state = uniform(20000, (-1.0, 3.0), (-2.0, 1.0))
    state = state[model.at_rest(state)]
    assert len(state) > 300
    action = model.brake(state)
    assert action.abs().max() < 1  # the feedback is not clipped
    for _ in range(50):
        following = model.step(state, model.brake(state))
        assert model.at_rest(following).all()
        assert (model.margins(state, action, following) >= 0).all()
        state = following
    assert (state - state.mean(0)).abs().max() < 1e-3  # all come to the one equilibrium


def test_the_terminal_set_of_the_linear_system_is_the_largest_of_its_shape():
    """A little outside, a state breaks a bound or a control is clipped."""
    model = LinearModel(LinearConfig())
    centre, _, p, _, level = model._rest
    angle = torch.linspace(0, 2 * math.pi, 2000)
    circle = torch.stack([angle.cos(), angle.sin()], -1)
    edge = torch.linalg.solve_triangular(torch.linalg.cholesky(p).T, circle.T, upper=True).T * level**0.5
    for factor, kept in ((0.999, True), (1.01, False)):
        state = centre + factor * edge
        inside = (model.margins(state, state, state) >= 0).all()
        assert bool(inside & (model.brake(state).abs() < 1).all()) == kept


def test_a_linear_system_that_nothing_holds_in_its_bounds_is_refused():
    model = LinearModel(LinearConfig(low=(5.0, 0.5), high=(6.0, 1.0)))
    with pytest.raises(UserError, match="no control holds the linear system between env") as error:
        model.at_rest(torch.zeros(2))
    assert "\n" not in str(error.value)


def test_an_exact_model_keeps_the_linear_environment_in_its_bounds_for_ever():
    """The environment computes in float64, the model in float32: a margin of 1e-4 covers it."""
    family = Linear(LinearConfig(disturbance=0.0, start_range=0.1, start=(0.4, 0.1), time_limit=100))
    env = family.make()
    model = family.task_model()
    safety = Certifier(FilterConfig(tighten=1e-4), model, 1)
    observation, _ = env.reset(seed=1)
    rng, backup, corrected = np.random.default_rng(0), None, 0
    for _ in range(100):
        action = torch.tensor([[rng.choice([-1.0, 1.0])]], dtype=torch.float32)
        found = safety.certify(torch.from_numpy(observation)[None], action, backup)
        assert found.ok.all()
        corrected += int((found.action != action).any())
        observation, _, _, _, info = env.step(found.action[0].numpy())
        backup = found.following
        assert info["cost"] == 0
    assert 0 < corrected < 100


@pytest.mark.parametrize("planner_model", ["kinematic", "single_track"])
def test_a_creeping_car_that_brakes_stays_at_rest(planner_model):
    model = RacingModel(CarlaRacingConfig(planner_model=planner_model, num_opponents=0))
    box = (
        (0.0, model.road.length),
        (-6.0, 6.0),
        (-1.6, 1.6),
        (0.0, 0.5),
        (-0.5, 0.5),
        (-0.35, 0.35),
        (-0.4, 0.4),
        (-1.0, 0.0),
    )
    state = uniform(16000, *box)
    state = state[model.at_rest(state)]
    assert len(state) > 1000
    assert state[:, 4].abs().max() > 0.3, "sideways, too"
    for _ in range(20):
        action = model.brake(state)
        following = model.step(state, action)
        assert model.at_rest(following).all()
        assert (model.margins(state, action, following) >= 0).all()
        state = following


def test_a_filtered_car_keeps_all_margins_under_random_driving():
    model = RacingModel(CarlaRacingConfig(num_opponents=0))
    safety = Certifier(FilterConfig(horizon=40, samples=4), model, 2)
    state = uniform(4, (0.0, 300.0), (-1, 1), (-0.05, 0.05), (8.0, 12.0), (0, 0), (0, 0), (0, 0), (0, 0))
    generator, backup, corrected = torch.Generator().manual_seed(1), None, 0
    for step in range(30):
        if step % 5 == 0:
            action = torch.rand(4, 2, generator=generator) * torch.tensor([2.0, 1.0]) - torch.tensor([1.0, 0.0])
        found = safety.certify(state, action, backup)
        assert found.ok.all()
        following = model.step(state, found.action)
        assert (model.margins(state, action, following) >= 0).all()
        corrected += int((found.action != action).any(-1).sum())
        state, backup = following, found.following
    assert corrected > 0


def test_a_slow_lander_hovers_where_it_is():
    """A heuristic: it holds for nearly all states that count as at rest."""
    model = LunarLanderModel(LunarLanderConfig())
    air = ((-0.8, 0.8), (0.2, 1.4), (-0.1, 0.1), (-0.1, 0.1), (-0.2, 0.2), (-0.2, 0.2), (0, 0), (0, 0))
    state = uniform(4000, *air)
    state = state[model.at_rest(state)]
    assert len(state) > 500
    kept = torch.ones(len(state), dtype=torch.bool)
    for _ in range(20):
        following = model.step(state, model.brake(state))
        kept &= (model.margins(state, state, following) >= 0).all(-1)
        state = following
    assert kept.float().mean() > 0.95
    assert state[:, 2:4].abs().max() < 0.2


def test_a_standing_lander_is_at_rest_and_stays():
    model = LunarLanderModel(LunarLanderConfig())
    state = torch.tensor([0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    assert model.at_rest(state)
    following = model.step(state, model.brake(state))
    assert model.at_rest(following)
    assert (model.margins(state, state, following) >= 0).all()


def test_links_without_the_energy_to_reach_the_disc_never_do_while_they_are_damped():
    model = AcrobotModel(AcrobotConfig(danger=DISC))
    state = uniform(4000, (-math.pi, math.pi), (-math.pi, math.pi), (-2.0, 2.0), (-2.0, 2.0), (0, 0))
    state = state[model._energy_is_low(state)]
    assert len(state) > 100
    assert model.at_rest(state).all()
    for _ in range(100):
        following = model.step(state, model.brake(state))
        assert (model.margins(state, state, following) >= 0).all()
        state = following


def test_a_tip_that_moves_towards_the_disc_with_much_energy_is_not_at_rest():
    model = AcrobotModel(AcrobotConfig(danger=DISC))
    towards = torch.tensor([0.0, 0.0, 3.0, 0.0, 0.0])  # hanging, and swinging to the right
    assert not model.at_rest(towards)
    assert model.at_rest(towards * -1)
    assert AcrobotModel(AcrobotConfig()).at_rest(towards)  # there is no disc
