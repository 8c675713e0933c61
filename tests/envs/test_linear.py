"""The linear system: its closed forms, the planner against them, an exact model, its bounds."""

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from pompc.envs.linear import Linear, LinearConfig, closed_form
from pompc.envs.linear_closed_form import PLANT, WRONG, LinearQuadratic, Q, R, policy_cost_matrix
from pompc.errors import UserError
from pompc.models.protocols import TaskModel
from pompc.planner import MPPI, MPPIConfig

STARTS = np.array([[0.0, 0.15], [0.3, 0.3], [-0.4, 0.2]])
FREE = {"disturbance": 0.0, "violation_weight": 0.0}  # where the closed forms hold


def discounted_cost(policy, discount, steps, starts=STARTS, drift=lambda count: 0.0):
    """Cost of ``policy [n, 2] -> [n, 1]`` from every start ``[n]``, by simulation."""
    a, b = PLANT.matrices
    state, total = starts.copy(), np.zeros(len(starts))
    for step in range(steps):
        control = policy(state)
        total += discount**step * (np.einsum("ni,ij,nj->n", state, Q, state) + R[0, 0] * control[:, 0] ** 2)
        state = state @ a.T + control @ b.T
        state[:, 0] += drift(len(state))
    return total


def random_states(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 2, generator=generator) * torch.tensor([3.0, 4.0]) - torch.tensor([1.0, 2.0])


@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_the_riccati_gain_costs_what_its_matrix_says_and_no_other_gain_costs_less(discount):
    best = LinearQuadratic.solve(PLANT, discount)
    np.testing.assert_allclose(best.cost(STARTS), discounted_cost(best.action, discount, 400), rtol=1e-9)
    np.testing.assert_allclose(policy_cost_matrix(PLANT, best.gain, discount), best.p, rtol=1e-9)
    rng = np.random.default_rng(0)
    for gain in best.gain + 0.1 * rng.standard_normal((20, 1, 2)):
        worse = policy_cost_matrix(PLANT, gain, discount) - best.p
        assert np.linalg.eigvalsh(worse).min() > -1e-9
        assert np.linalg.eigvalsh(worse).max() > 1e-6


def test_the_cost_of_a_first_action_is_the_quadratic_form_of_its_matrix():
    best = LinearQuadratic.solve(PLANT, 0.9)
    first = np.array([[0.4], [-0.7], [0.0]])
    joint = np.hstack([STARTS, first])
    a, b = PLANT.matrices
    now = np.einsum("ni,ij,nj->n", STARTS, Q, STARTS) + R[0, 0] * first[:, 0] ** 2
    simulated = now + 0.9 * discounted_cost(best.action, 0.9, 400, STARTS @ a.T + first @ b.T)
    np.testing.assert_allclose(np.einsum("ni,ij,nj->n", joint, best.action_matrix, joint), simulated, rtol=1e-9)


def test_the_expected_cost_under_the_disturbance_is_the_mean_of_simulations():
    best = closed_form(LinearConfig(), 0.9)
    rng = np.random.default_rng(0)
    for start in STARTS:
        costs = discounted_cost(
            best.action, 0.9, 150, np.tile(start, (20_000, 1)), lambda count: rng.uniform(-0.1, 0.0, count)
        )
        assert abs(costs.mean() - best.cost(start)) < 4 * costs.std() / len(costs) ** 0.5 < 0.01 * best.cost(start)
    ignorant = LinearQuadratic.solve(PLANT, 0.9)  # of the disturbance's mean
    rng = np.random.default_rng(0)
    costs = discounted_cost(
        ignorant.action, 0.9, 150, np.tile(start, (20_000, 1)), lambda count: rng.uniform(-0.1, 0.0, count)
    )
    assert costs.mean() > 1.01 * best.cost(start)


def test_without_a_disturbance_the_closed_forms_are_those_of_riccati():
    quiet, plain = closed_form(LinearConfig(disturbance=0.0), 1.0), LinearQuadratic.solve(PLANT, 1.0)
    np.testing.assert_array_equal(quiet.cost(STARTS), plain.cost(STARTS))
    assert not quiet.bias.any()


@pytest.mark.parametrize(
    ("solve", "message"),
    [
        (lambda: closed_form(LinearConfig(), 1.0), "infinite at discount 1"),
        (lambda: closed_form(LinearConfig(), 0.0), "discount must lie in"),
        (lambda: policy_cost_matrix(PLANT, np.zeros((1, 2)), 1.0), "does not stabilise"),
        (lambda: policy_cost_matrix(PLANT, np.zeros((1, 2)), 1.1), "discount must lie in"),
    ],
)
def test_what_has_no_closed_form_is_refused(solve, message):
    with pytest.raises(UserError, match=message) as error:
        solve()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("mismatch", "believed"), [(0.0, PLANT), (1.0, WRONG)], ids=["exact", "wrong"])
def test_the_planner_costs_what_the_riccati_gain_of_its_model_costs(mismatch, believed):
    """On the exact model that is the optimum; on the wrong one it is more, as the Lyapunov equation says."""
    model = Linear(LinearConfig(**FREE, mismatch=mismatch, terminal_discount=0.9)).task_model()
    options = {"horizon": 10, "num_samples": 2048, "num_elites": 64, "num_iterations": 10, "temperature": 0.02}
    planner = MPPI(MPPIConfig(**options, discount=0.9, adapt_std=True), model, model, 1)
    torch.manual_seed(0)
    warm = None

    def plan(state):
        nonlocal warm
        found = planner.plan(torch.from_numpy(state).float(), mean=warm)
        warm = planner.shift(found.mean[:, 0])
        return planner.select(found)[:, 0].double().numpy()

    cost = discounted_cost(plan, 0.9, 30)
    matrix = policy_cost_matrix(PLANT, LinearQuadratic.solve(believed, 0.9).gain, 0.9)
    np.testing.assert_allclose(cost, np.einsum("ni,ij,nj->n", STARTS, matrix, STARTS), rtol=2e-3)
    optimal = LinearQuadratic.solve(PLANT, 0.9).cost(STARTS)
    assert ((cost > 1.01 * optimal) == bool(mismatch)).all()


@pytest.mark.parametrize("mismatch", [0.0, 0.3, 0.7, 1.0])
def test_every_mismatch_has_a_terminal_cost(mismatch):
    model = Linear(LinearConfig(mismatch=mismatch)).task_model()
    matrix = LinearQuadratic.solve(PLANT.towards(WRONG, mismatch), 1.0).p
    assert np.linalg.eigvalsh(matrix).min() > 0
    np.testing.assert_allclose(model.p.numpy(), matrix, rtol=1e-6)
    inside = torch.tensor([0.5, 0.5])
    assert model.terminal(inside, None).item() == pytest.approx(0.25 * matrix.sum(), rel=1e-5)


def test_model_is_the_environment():
    config = LinearConfig(disturbance=0.0, start_range=1.0)
    family = Linear(config)
    env, model = family.make().unwrapped, family.task_model()
    rng, seen = np.random.default_rng(0), set()
    for seed in range(100):
        before, _ = env.reset(seed=seed)
        action = rng.uniform(-1.5, 1.5, 1).astype(np.float32)
        observation, reward, _, _, info = env.step(action)
        state, control = model.state(torch.from_numpy(before)), torch.from_numpy(action)
        after = model.step(state, control)
        torch.testing.assert_close(model.observe(after), torch.from_numpy(observation), atol=1e-6, rtol=0)
        assert model.reward(state, control, after).item() == pytest.approx(reward, rel=1e-5, abs=1e-5)
        assert not model.terminated(state, control, after)
        assert info["cost"] == float((model.margins(state, control, after) < 0).any())
        seen.add(info["cost"])
    assert seen == {0.0, 1.0}


def test_model_errors_can_be_configured():
    states, actions = random_states(8), torch.zeros(8, 1)
    exact, wrong, biased, half = (
        Linear(LinearConfig(**options)).task_model().step(states, actions + 0.5)
        for options in ({}, {"mismatch": 1.0}, {"planner_offset": (-0.05, 0.02)}, {"mismatch": 0.5})
    )
    a, b = (torch.from_numpy(matrix).float() for matrix in WRONG.matrices)
    torch.testing.assert_close(wrong, states @ a.T + 0.5 * b[:, 0])
    torch.testing.assert_close(biased - exact, torch.tensor([-0.05, 0.02]).expand(8, 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(half, (exact + wrong) / 2)


def test_the_disturbance_pushes_the_first_state_down_by_a_uniform_draw():
    env = Linear(LinearConfig(disturbance=0.2, time_limit=2000)).make().unwrapped
    env.reset(seed=0)
    a, _ = PLANT.matrices
    draws = []
    for _ in range(2000):
        env.trail = [np.array([0.2, 0.1])]
        env.step(np.zeros(1, np.float32))
        draws.append(env.state - a @ np.array([0.2, 0.1]))
    first, second = np.array(draws).T
    np.testing.assert_allclose(second, 0.0, atol=1e-12)
    assert -0.2 <= first.min() < -0.19 < -0.01 < first.max() <= 0.0
    assert first.mean() == pytest.approx(-0.1, abs=4 * 0.2 / np.sqrt(12 * 2000))


def test_observation_round_trip_and_batching():
    model = Linear(LinearConfig()).task_model()
    assert isinstance(model, TaskModel)
    states = random_states(24)
    assert torch.equal(model.state(model.observe(states)), states)
    batch, actions = states.view(2, 3, 4, 2), torch.rand(2, 3, 4, 1) * 2 - 1
    after = model.step(batch, actions)
    torch.testing.assert_close(after.view(24, 2), model.step(states, actions.view(24, 1)))
    parameters = model.parameters(torch.rand(2, 3, 1, 7) * 2 - 1)
    assert model.running(batch, actions, after, parameters).shape == (2, 3, 4)
    assert model.terminal(after, parameters).shape == model.reward(batch, actions, after).shape == (2, 3, 4)
    assert model.margins(batch, actions, after).shape == (2, 3, 4, 4)


def test_the_nominal_cost_is_the_environments():
    model = Linear(LinearConfig()).task_model()
    states, actions = random_states(50), torch.rand(50, 1) * 2 - 1
    after = model.step(states, actions)
    cost = model.running(states, actions, after, model.parameters(model.nominal))
    assert torch.equal(cost, -model.reward(states, actions, after))
    over = (states - torch.tensor([1.0, 1.0])).clamp(min=0) + (torch.tensor([0.0, -1.0]) - states).clamp(min=0)
    expected = 0.5 * states.square().sum(-1) + 0.25 * actions[:, 0].square() + 50 * over.sum(-1)
    torch.testing.assert_close(cost, expected)


PARAMETERS = {  # index of the high-level action: its effect at +1 on the cost of a state at (0.9, -0.9) with u = 1
    0: 0.5 * 9 * 0.81,
    1: 0.5 * 9 * 0.81,
    2: 0.25 * 9,
    3: 0.9,
    4: -0.9,
    5: 0.0,
    6: 2 * 50 * 0.1,
}


@pytest.mark.parametrize("index", PARAMETERS)
def test_every_cost_parameter_does_its_work(index):
    model = Linear(LinearConfig()).task_model()
    state, control = torch.tensor([0.9, -0.9]), torch.ones(1)
    high = torch.zeros(7)
    high[index] = 1.0
    costs = [model.running(state, control, state, model.parameters(x)) for x in (high, torch.zeros(7))]
    assert (costs[0] - costs[1]).item() == pytest.approx(PARAMETERS[index], abs=1e-4)
    outside = torch.tensor([1.1, 0.0])
    heavier = model.terminal(outside, model.parameters(high)) - model.terminal(outside, None)
    assert heavier.item() == pytest.approx({5: 9 * 50 * 0.1, 6: 50 * 0.2}.get(index, 0.0), abs=1e-3)


def test_steps_out_of_bounds_are_counted_and_success_is_to_have_none():
    env = Linear(LinearConfig(disturbance=0.0, start=(0.5, 0.0), time_limit=10)).make()

    def play(controls):
        env.reset(seed=0)
        steps = [env.step(np.array([u], np.float32)) for u in controls]
        assert [step[2:4] for step in steps] == [(False, False)] * 9 + [(False, True)]
        info = [step[4] for step in steps]
        return [i["cost"] for i in info], [i["success"] for i in info]

    assert play([0.0] * 10) == ([0.0] * 10, [0.0] * 9 + [1.0])
    costs, success = play([1.0] * 10)
    a, b = PLANT.matrices
    state, expected = np.array([0.5, 0.0]), []
    for _ in range(10):
        state = a @ state + b[:, 0]
        expected.append(float((state > 1.0).any()))
    assert costs == expected
    assert 1 < sum(costs) < 10
    assert success == [0.0] * 10


def test_the_same_seed_gives_the_same_episode_and_another_seed_another():
    def episode(seed):
        env = Linear(LinearConfig(start_range=0.1)).make()
        first, _ = env.reset(seed=seed)
        return np.array([first, *(env.step(np.zeros(1, np.float32))[0] for _ in range(5))])

    assert np.array_equal(episode(3), episode(3))
    assert not np.array_equal(episode(3)[0], episode(4)[0])


def test_gymnasium_accepts_it_and_it_renders():
    env = Linear(LinearConfig(time_limit=3)).make(render_mode="rgb_array")
    check_env(env.unwrapped, skip_render_check=True)
    env.reset(seed=0)
    first = env.render()
    assert first.shape == (320, 320, 3)
    assert first.dtype == np.uint8
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
    assert not np.array_equal(env.render(), first)
    env.unwrapped.trail.append(np.array([1e9, -1e9]))
    assert env.render().shape == first.shape


@pytest.mark.parametrize(
    "options",
    [
        *({"low": (0.0, 1.0)}, {"high": (0.0, 1.0)}, {"low": (float("nan"), 0.0)}, {"high": (1.0,)}),
        *({"violation_weight": -1.0}, {"disturbance": -0.1}, {"disturbance": float("inf")}, {"start_range": -0.1}),
        *({"start": (float("inf"), 0.0)}, {"time_limit": 0}, {"mismatch": 1.1}, {"mismatch": -0.1}),
        *({"planner_offset": (0.0, float("nan"))}, {"terminal_discount": 0.0}, {"terminal_discount": 1.1}),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused_in_one_line(options):
    with pytest.raises(UserError, match=rf"env\.{next(iter(options))}") as error:
        LinearConfig(**options)
    assert "\n" not in str(error.value)
