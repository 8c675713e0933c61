"""The planner's model of the task: inverse observation, agreement with the environment, cost, quality of its plans."""

from dataclasses import replace

import pytest
import torch

from pompc.envs.carla_racing import CarlaRacing, CarlaRacingConfig
from pompc.envs.carla_racing.model import FAILURE_COST, HIGH, LOW, planner_parameters
from pompc.models.protocols import TaskModel
from pompc.planner import MPPI, MPPIConfig

CONFIG = CarlaRacingConfig()


def model(**options):
    return CarlaRacing(replace(CONFIG, **options)).task_model()


def episode(steps, num_envs=32, **options):
    """Observations, actions, rewards and faults of a batch of real episodes, without resets: ``[time, env, ...]``."""
    env = CarlaRacing(replace(CONFIG, **options)).vectorise(num_envs, seed=5)
    carrier, transitions = env.reset(), []
    gentle = torch.tensor([0.15, 0.6])
    for step in range(steps):
        phase = torch.arange(num_envs).unsqueeze(-1) + torch.tensor([0.0, 1.0])
        action = gentle * torch.sin(0.1 * step + phase) + torch.tensor([0.0, 0.3])
        after = env.step(carrier.set("action", action))["next"]
        transitions.append((carrier["observation"], action, after["observation"], after["reward"], after["terminated"]))
        carrier = after.exclude("reward")
    return [torch.stack(column) for column in zip(*transitions, strict=True)]


@pytest.mark.parametrize("num_opponents", [0, 1, 3])
def test_state_inverts_observe(num_opponents):
    racing = model(num_opponents=num_opponents)
    seen, _, after, _, _ = episode(40, num_opponents=num_opponents)
    torch.testing.assert_close(racing.observe(racing.state(seen)), seen, atol=1e-5, rtol=0)
    states = racing.state(after)
    again = racing.state(racing.observe(states))
    lengths = again - states
    lengths[..., 0] = racing.road.gap(states[..., 0], again[..., 0])
    lengths[..., 8 : 8 + num_opponents] = racing.road.gap(
        states[..., 8 : 8 + num_opponents], again[..., 8 : 8 + num_opponents]
    )
    assert lengths.abs().max() < 2e-3
    assert states.shape[-1] == racing.state_dim


def test_a_state_past_the_finish_line_is_observed_like_one_behind_it():
    racing = model()
    state = racing.state(episode(1)[0])[0]
    state[:, 0] = torch.linspace(1.0, 50.0, len(state))
    beyond = state.clone()
    beyond[:, 0] += racing.road.length
    seen, again = racing.observe(state), racing.observe(beyond)
    assert (seen - again)[:, :10].abs().max() < 1e-4


def test_it_fulfils_the_protocol():
    racing = model()
    assert isinstance(racing, TaskModel)
    assert racing.nominal.shape == (racing.parameter_dim,)
    assert racing.nominal.abs().max() <= 1.0
    corners = torch.stack([-torch.ones(4), torch.ones(4), 9 * torch.ones(4)])
    low, high, beyond = racing.parameters(corners)
    torch.testing.assert_close(low, torch.tensor([*LOW[:2], *torch.tensor(LOW[2:]).exp()]))
    torch.testing.assert_close(high, torch.tensor([*HIGH[:2], *torch.tensor(HIGH[2:]).exp()]))
    torch.testing.assert_close(beyond, high)


def one_step_error(**options):
    racing = model(**options)
    seen, action, after, _, _ = episode(60)
    predicted, real = racing.step(racing.state(seen), action), racing.state(after)
    error = predicted - real
    error[..., 0] = racing.road.gap(real[..., 0], predicted[..., 0])
    return error[:, :, :8].abs().flatten(0, 1)


def test_the_single_track_model_with_the_plants_steps_is_the_plant():
    assert one_step_error(planner_model="single_track", planner_substeps=5).max() < 3e-3


def test_model_errors_can_be_configured():
    exact = one_step_error(planner_model="single_track", planner_substeps=5).mean(0)
    slippery = one_step_error(planner_model="single_track", planner_substeps=5, planner_friction=0.6).mean(0)
    strong = one_step_error(planner_model="single_track", planner_substeps=5, planner_drive=1.5).mean(0)
    kinematic = one_step_error().mean(0)
    assert slippery[4] > 10 * exact[4]  # lateral speed
    assert strong[3] > 10 * exact[3]  # forward speed
    assert kinematic[4] > 10 * exact[4]
    assert kinematic[0] < 0.03  # m along the track in a step
    heavy = planner_parameters(replace(CONFIG, planner_mass=1.5))
    assert heavy.mass == pytest.approx(1.5 * 1093.3)


def test_traffic_is_predicted_at_constant_speed():
    racing = model()
    state = racing.state(episode(1)[0])[0]
    moved = racing.step(state, torch.zeros(len(state), 2))
    torch.testing.assert_close(moved[:, 8:10], state[:, 8:10] + 0.05 * state[:, 12:14])
    assert torch.equal(moved[:, 10:], state[:, 10:])


def test_reward_and_faults_agree_with_the_environments():
    racing = model()
    seen, action, after, reward, terminated = episode(120, num_envs=64)
    state, next_state = racing.state(seen), racing.state(after)
    failed = racing.terminated(state, action, next_state)
    agree = failed == terminated.squeeze(-1)
    assert failed.any()
    assert agree.float().mean() > 0.999  # rounding of the observation at a border
    estimate = racing.reward(state, action, next_state)
    torch.testing.assert_close(estimate[agree], reward.squeeze(-1)[agree], atol=1e-2, rtol=0)


def test_costs_are_finite_non_negative_and_a_fault_dominates():
    racing = model()
    seen, action, after, _, _ = episode(120, num_envs=64)
    state, next_state = racing.state(seen), racing.state(after)
    parameters = racing.parameters(racing.nominal)
    cost = racing.running(state, action, next_state, parameters)
    failed = racing.terminated(state, action, next_state)
    assert torch.isfinite(cost).all()
    assert (cost >= 0).all()
    assert cost[failed].min() > FAILURE_COST
    assert (racing.terminal(next_state, parameters) >= 0).all()


def slopes(cost, x, step=1e-6):
    """Central differences of a sum of costs, one per row of ``x [row, entry]``."""
    found = torch.empty_like(x)
    for entry in range(x.shape[-1]):
        aside = torch.zeros_like(x)
        aside[:, entry] = step
        found[:, entry] = (cost(x + aside) - cost(x - aside)) / (2 * step)
    return found


@pytest.mark.parametrize("term", ["running", "terminal"])
@pytest.mark.parametrize("planner_model", ["kinematic", "single_track"])
def test_costs_have_the_gradients_of_their_differences(planner_model, term):
    """With respect to cost parameters, states and controls; in float64, so that differences are exact enough."""
    racing, generator = model(planner_model=planner_model), torch.Generator().manual_seed(0)
    seen, action, _, _, _ = (column[::4].flatten(0, 1) for column in episode(12))
    state, control = racing.state(seen).double(), action.double()
    after = racing.step(state, control)
    parameters = racing.parameters(2 * torch.rand(len(seen), 4, generator=generator) - 1).double()
    charges = {"running": racing.running, "terminal": lambda state, control, after, phi: racing.terminal(after, phi)}
    given = (state, control, after, parameters)
    for index in {"running": (0, 1, 2, 3), "terminal": (2, 3)}[term]:

        def cost(x, index=index):
            return charges[term](*given[:index], x, *given[index + 1 :])

        x = given[index].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(cost(x).sum(), x)
        assert gradient.abs().max() > 0.01
        torch.testing.assert_close(gradient, slopes(cost, given[index]), atol=1e-6, rtol=1e-6)


def test_cost_parameters_pull_towards_their_targets():
    racing = model(num_opponents=0, danger_zones=False)
    state = racing.state(episode(1, num_opponents=0)[0])[0, :1].expand(3, -1).clone()
    state[:, 1] = torch.tensor([-2.0, 0.0, 2.0])
    high = racing.nominal.clone()
    for target, best in ((-0.5, 0), (0.0, 1), (0.5, 2)):
        high[0], high[2] = target, 1.0
        assert int(racing.terminal(state, racing.parameters(high)).argmin()) == best
    state[:, 1], state[:, 3] = 0.0, torch.tensor([6.0, 15.0, 30.0])
    for target, best in ((6.0, 0), (15.0, 1), (30.0, 2)):
        high[1] = (target - 19.0) / 15.0
        assert int(racing.terminal(state, racing.parameters(high)).argmin()) == best


@pytest.mark.parametrize("planner_model", ["kinematic", "single_track"])
def test_wild_rollouts_stay_finite(planner_model):
    racing = model(planner_model=planner_model, planner_substeps=2)
    state = racing.state(episode(1)[0])[0].view(32, 1, 1, -1).expand(32, 2, 16, -1)
    noise = torch.Generator().manual_seed(0)
    hold = torch.randn(32, 2, 16, 2, generator=noise).sign()
    for _ in range(100):
        state = racing.step(state, hold)
    assert state.shape == (32, 2, 16, racing.state_dim)
    assert torch.isfinite(
        racing.running(state, hold, racing.step(state, hold), racing.parameters(racing.nominal))
    ).all()
    assert torch.isfinite(racing.observe(state)).all()


def test_planning_with_the_nominal_parameters_drives_cleanly():
    family, num_envs = CarlaRacing(CONFIG), 8
    racing, env = family.task_model(), family.vectorise(num_envs, seed=2)
    planner = MPPI(MPPIConfig(horizon=20, num_samples=128), racing, racing, 2)
    parameters = racing.parameters(racing.nominal).expand(num_envs, 1, -1)
    carrier, mean, earned = env.reset(), None, 0.0
    for _ in range(120):
        plan = planner.plan(racing.state(carrier["observation"]), parameters=parameters, mean=mean)
        mean = planner.shift(plan.mean[:, 0])
        after = env.step(carrier.set("action", planner.select(plan)[:, 0]))["next"]
        assert not after["terminated"].any()
        earned += after["reward"].mean()
        carrier = after.exclude("reward")
    assert earned > 60.0
