"""The house: energy balances, an exact model, what an error of its constants costs, and what a back-off repairs."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from pompc.envs.heating import Heating, HeatingConfig, HeatingEnv
from pompc.envs.heating_house import DAY, HOURS, House, expense, gains, outdoor, performance, price
from pompc.envs.heating_model import HeatingModel
from pompc.errors import UserError
from pompc.models.protocols import Aiming, Constrained, Periodic, TaskModel
from pompc.planner import MPPI, MPPIConfig

HOUSE = House()
PLANNER = MPPIConfig(horizon=12, num_samples=64, temperature=0.1, num_iterations=2, noise="spline", noise_knots=6)


def random_states(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    low, width = torch.tensor([18.0, 0.0, 0.0, -6.0]), torch.tensor([7.0, 8.0, 24.0, 12.0])
    return low + width * torch.rand(n, 4, generator=generator)


def random_actions(n, seed=1):
    return 3 * torch.rand(n, 2, generator=torch.Generator().manual_seed(seed)) - 1.5


def play(parameters=None, episodes=3, **config):
    """Plan a day in some houses; return rewards, expenses and uncomfortable steps, each ``[episode]``."""
    family = Heating(HeatingConfig(**config))
    model, envs, warm = family.task_model(), [family.make() for _ in range(episodes)], None
    planner = MPPI(PLANNER, model, model, 2)
    phi = None if parameters is None else model.parameters(torch.tensor(parameters)).expand(episodes, 1, 5)
    observation = np.stack([env.reset(seed=seed)[0] for seed, env in enumerate(envs)])
    totals = np.zeros((3, episodes))
    torch.manual_seed(0)
    for _ in range(48):
        plan = planner.plan(model.state(torch.from_numpy(observation)), mean=warm, parameters=phi)
        warm = planner.shift(plan.mean[:, 0])
        steps = [env.step(action) for env, action in zip(envs, plan.mean[:, 0, 0].numpy(), strict=True)]
        observation = np.stack([step[0] for step in steps])
        totals[[0, 2]] += [[step[1] for step in steps], [step[4]["cost"] for step in steps]]
    totals[1] = [step[4]["expense"] for step in steps]
    return totals


def test_gymnasium_accepts_it():
    check_env(HeatingEnv(HeatingConfig()), skip_render_check=True)


def test_model_is_the_environment():
    family = Heating(HeatingConfig(disturbance=0.0, outdoor=(-6.0, 6.0), comfort=(20.5, 21.5)))
    env, model, rng = family.make(), family.task_model(), np.random.default_rng(0)
    uncomfortable = set()
    for seed in range(4):
        before, _ = env.reset(seed=seed)
        for _ in range(48):
            action = rng.uniform(-1.5, 1.5, 2).astype(np.float32)
            observation, reward, terminated, truncated, info = env.step(action)
            state, control = model.state(torch.from_numpy(before)), torch.from_numpy(action)
            after = model.step(state, control)
            torch.testing.assert_close(model.observe(after), torch.from_numpy(observation), atol=2e-4, rtol=0)
            assert model.reward(state, control, after).item() == pytest.approx(reward, abs=2e-3)
            assert not terminated
            assert info["cost"] == float((model.margins(state, control, after) < 0).any())
            uncomfortable.add(info["cost"])
            before = observation
        assert truncated
    assert uncomfortable == {0.0, 1.0}


def test_the_energies_balance():
    state, action = random_states(200).double(), random_actions(200).double().clamp(-1, 1)
    room, charge, hour, level = state.unbind(-1)
    warmer, stored, later, same, power = HOUSE.step((room, charge, hour, level), action.unbind(-1), torch)
    heating = HOUSE.pump * (action[:, 0] + 1) / 2
    flow = power - heating
    outside = outdoor(hour, level, torch)
    heat = performance(outside) * heating + gains(hour, torch) - (room - outside) / HOUSE.resistance
    torch.testing.assert_close(HOUSE.capacity * (warmer - room), HOURS * heat)
    change = stored - charge
    torch.testing.assert_close(torch.where(flow > 0, change / 0.95, change * 0.95), HOURS * flow)
    assert stored.min() >= -1e-12
    assert stored.max() <= HOUSE.storage + 1e-12
    assert (flow.abs() <= HOUSE.battery + 1e-12).all()
    assert ((flow - HOUSE.battery * action[:, 1]).abs() > 1e-3).any(), "a full or empty battery stops the flow"
    torch.testing.assert_close(later, (hour + HOURS) % DAY)
    assert torch.equal(same, level)


def test_what_holds_a_temperature_holds_it():
    for outside in (-8.0, 0.0, 6.0):
        level = outside - 4.0 * math.cos((5.0 - 15.0) * 2 * math.pi / 24)
        power = ((21.0 - outside) / HOUSE.resistance - float(gains(5.0, np))) / performance(outside)
        room, *_ = HOUSE.step((21.0, 4.0, 5.0, level), (2 * power / HOUSE.pump - 1, 0.0), np)
        assert room == pytest.approx(21.0)


def test_the_tariff_is_dear_in_the_evening_and_selling_brings_little():
    hours = np.arange(0, 24, 0.5)
    prices = price(hours, np)
    assert hours[prices.argmax()] == 19.0
    assert prices.max() > 1.9 * prices.min()
    assert price(0.0, np) == pytest.approx(price(24.0, np))
    bought, sold = expense(np.ones(48), hours, np), expense(-np.ones(48), hours, np)
    assert (bought + sold > 0).all(), "to buy and sell at once would lose money"


@pytest.mark.parametrize("errors", [(1.0, 1.0), (2.0, 0.5)])
def test_only_the_heat_constants_of_the_model_are_wrong(errors):
    exact, wrong = (HeatingModel((20.0, 23.0), 1.0, of) for of in ((1.0, 1.0), errors))
    state, action = random_states(50), random_actions(50)
    after, other = exact.step(state, action), wrong.step(state, action)
    assert torch.equal(after[:, 1:], other[:, 1:])
    assert torch.equal(after[:, 0], other[:, 0]) == (errors == (1.0, 1.0))
    assert torch.equal(exact.running(state, action, after, None), wrong.running(state, action, after, None))


def test_the_model_is_a_task_model_whose_hours_go_round_at_any_batch_shape():
    model = Heating(HeatingConfig()).task_model()
    assert all(isinstance(model, protocol) for protocol in (TaskModel, Constrained, Periodic, Aiming))
    state = random_states(15).view(3, 5, 4)
    torch.testing.assert_close(model.state(model.observe(state)), state, atol=1e-4, rtol=0)
    late, early = torch.tensor([21.0, 4.0, 23.75, 0.0]), torch.tensor([21.0, 4.0, 0.25, 0.0])
    torch.testing.assert_close(model.difference(early, late), torch.tensor([0.0, 0.0, 0.5, 0.0]))
    action = random_actions(15).view(3, 5, 2)
    after = model.step(state, action)
    torch.testing.assert_close(after[1, 2], model.step(state[1, 2], action[1, 2]))


def test_the_high_level_action_sets_limits_and_worths():
    model = Heating(HeatingConfig()).task_model()
    state, action = random_states(20), torch.zeros(20, 2)
    cold = torch.cat([torch.full((20, 1), 20.4), state[:, 1:]], -1)
    nominal = model.running(state, action, cold, None)
    careful = model.parameters(torch.tensor([0.0, 0.5, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(model.running(state, action, cold, careful), nominal + HOURS * 0.1, atol=1e-4, rtol=0)
    worthless = model.parameters(torch.tensor([0.0, 0.0, 0.0, -1.0, -1.0]))
    assert not model.terminal(state, worthless).any()
    aimed = model.parameters(model.aim(torch.tensor([20.75, 4.0, 0.0, 0.0])))
    torch.testing.assert_close(aimed[1:3], torch.tensor([0.75, 1.0]))


def test_a_wrong_model_freezes_the_house_and_a_back_off_repairs_most_of_it():
    wrong = {"planner_resistance": 2.0, "planner_capacity": 2.0}
    exact, misled, careful = play(), play(**wrong), play([0.0, 0.5, 0.0, 0.0, 0.0], **wrong)
    reward, expense, cost = range(3)
    assert exact[cost].mean() < 1 < 5 < misled[cost].mean()
    assert exact[reward].mean() > careful[reward].mean() > misled[reward].mean()
    assert careful[cost].mean() < 1
    assert 5 < exact[expense].mean() < 10


def test_the_picture_of_a_day_shows_what_has_happened():
    env = Heating(HeatingConfig()).make(render_mode="rgb_array")
    env.reset(seed=0)
    empty = env.render()
    for _ in range(10):
        env.step(np.zeros(2, np.float32))
    begun = env.render()
    assert begun.shape == empty.shape == (360, 480, 3)
    changed = (begun != empty).any(-1)
    assert changed[:, :240].any()
    assert not changed[:, 240:].any(), "the rest of the day has not come"


@pytest.mark.parametrize("options", [{"comfort": (21.0, 21.0)}, {"comfort": (23.0, 20.0)}, {"outdoor": (5.0, -5.0)}])
def test_reversed_ranges_are_refused_in_one_line(options):
    with pytest.raises(UserError, match="give the lower value first") as error:
        HeatingConfig(**options)
    assert "\n" not in str(error.value)
    assert dataclasses.replace(HeatingConfig(), outdoor=(3.0, 3.0)).outdoor == (3.0, 3.0)
