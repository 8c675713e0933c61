"""Real time: deadlines, delayed actions, estimated states, and a loop of fixed period; with a clock of the test."""

import math

import pytest
import torch

from pompc.errors import UserError
from pompc.models import FunctionModel
from pompc.planner import MPPI, Controller, Deadline, MPPIConfig
from pompc.planner.plan import Iteration

MODEL = FunctionModel(
    lambda x, u: torch.stack([x[..., 0] + 0.1 * x[..., 1], x[..., 1] + 0.1 * u[..., 0]], -1),
    lambda x, u: x[..., 0].square() + 0.1 * x[..., 1].square(),
)


class Clock:
    """A clock that stands still unless it is moved, and counts its sleep."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def wait(self, seconds):
        assert seconds > 0
        self.now += seconds


def planner(model=MODEL, **options):
    config = MPPIConfig(**{"horizon": 15, "num_samples": 128, "temperature": 0.05, **options})
    return MPPI(config, model, model, 1, generator=torch.Generator().manual_seed(0))


def taking(seconds, clock):
    """Make a model whose rollout takes some seconds of the clock."""

    def step(state, action):
        clock.now += seconds / 15
        return MODEL.step(state, action)

    return FunctionModel(step, lambda x, u: x[..., 0].square())


@pytest.mark.parametrize(
    ("durations", "done"),
    [
        ([0.3, 0.3, 0.3, 0.3], 3),  # the fourth would end at 1.2
        ([0.1, 0.5, 0.3], 2),  # as long as the longest, the third would end at 1.1
        ([5.0], 1),
        ([1.0], 1),
        ([0.5, 0.5], 2),
    ],
)
def test_a_deadline_ends_with_the_last_iteration_that_fits(durations, done):
    clock = Clock()
    deadline = Deadline(1.0, clock)
    nothing = Iteration(0, *[torch.zeros(1)] * 6)
    ended = []
    for seconds in durations:
        clock.now += seconds
        ended.append(deadline(nothing))
    assert ended == [False] * (done - 1) + [True] * (len(ended) - done + 1)


def test_a_plan_that_must_end_is_the_one_so_far():
    clock, seen = Clock(), []
    mppi = planner(taking(0.25, clock), num_iterations=50)
    controller = Controller(mppi, deadline=1.1, clock=clock, callback=lambda iteration: seen.append(iteration.mean))
    action = controller(torch.tensor([[1.0, 0.0]]))
    assert len(seen) == 4
    assert torch.equal(action, seen[-1][:, 0, 0])


def test_the_callback_of_a_user_can_end_a_plan_as_well():
    controller = Controller(planner(num_iterations=9), deadline=10.0, callback=lambda iteration: iteration.index == 2)
    controller(torch.zeros(1, 2))
    assert controller.planner.model_steps == 3 * 128 * 15


def delayed_loop(delay, compensated):
    """Drive to zero; every action acts ``delay`` periods after it was sent. Return the last positions."""
    controller = Controller(planner(), delay=delay if compensated else 0)
    state, pipe, positions = torch.tensor([[1.0, 0.0], [-1.0, 0.5]]), [torch.zeros(2, 1)] * delay, []
    for _ in range(80):
        pipe.append(controller(state))
        state = MODEL.step(state, pipe.pop(0))
        positions.append(state[:, 0])
    return torch.stack(positions[60:]).abs().max().item()


def test_a_delay_is_compensated_by_rolling_the_state_forward():
    at_once, compensated, ignored = delayed_loop(0, True), delayed_loop(6, True), delayed_loop(6, False)
    assert compensated < 0.1
    assert compensated < 2 * at_once + 0.05
    assert ignored > 5 * compensated


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_plans_begin_where_the_sent_actions_lead(delay):
    """With an exact model the state that is planned from is the one when the action acts."""
    controller = Controller(planner(), delay=delay)
    state, pipe, planned, met = torch.tensor([[1.0, 0.0]]), [torch.zeros(1, 1)] * delay, [], []
    for _ in range(8):
        pipe.append(controller(state))
        assert controller.plan is not None
        planned.append(controller.plan.states[:, 0, 0])
        met.append(state)
        state = MODEL.step(state, pipe.pop(0))
    torch.testing.assert_close(torch.stack(planned[: 8 - delay]), torch.stack(met[delay:]))


def test_an_estimator_gets_the_action_that_has_acted():
    calls = []

    def estimate(observation, action):
        calls.append(None if action is None else action.item())
        return torch.cat([observation, torch.zeros_like(observation)], -1)

    controller = Controller(planner(), delay=1, estimate=estimate)
    sent = [controller(torch.ones(1, 1)).item() for _ in range(4)]
    assert calls == [None, 0.0, sent[0], sent[1]], "what was sent one period earlier acts now"
    controller.reset()
    controller(torch.ones(1, 1))
    assert calls[-1] is None


def test_a_filter_lets_noisy_positions_be_enough():
    """A steady-state Kalman filter of position and velocity; without it, the velocity is missing."""
    torch.manual_seed(0)
    gain = torch.tensor([0.3, 0.5])

    class Filter:
        state = torch.zeros(1, 2)

        def __call__(self, observation, action):
            predicted = self.state if action is None else MODEL.step(self.state, action)
            self.state = predicted + gain * (observation - predicted[:, :1])
            return self.state

    controller = Controller(planner(), estimate=Filter())
    state = torch.tensor([[1.0, 0.0]])
    for _ in range(100):
        action = controller(state[:, :1] + 0.02 * torch.randn(1, 1))
        state = MODEL.step(state, action)
    assert state.abs().max() < 0.15


def test_samples_of_an_uncertain_state_are_planned_for_together():
    mppi = planner(num_rollouts=3, risk="worst", max_std=0.5)
    particles = torch.tensor([[[1.0, 0.0], [1.2, 0.1], [0.8, 0.0]]])
    controller = Controller(mppi, delay=2, estimate=lambda observation, action: particles)
    controller(torch.zeros(1, 1))
    assert controller.plan is not None
    still = torch.zeros(1, 3, 1)
    expected = MODEL.step(MODEL.step(particles, still), still)
    torch.testing.assert_close(controller.plan.states[0, 0, 0], expected[0, 0])


def test_the_loop_keeps_its_period_and_leaves_out_what_has_passed():
    clock, times, reads = Clock(), [], []
    durations = iter([0.02, 0.05, 0.25, 0.02, 0.1, 0.02])

    class Slow(Controller):
        def __call__(self, observation):
            reads.append(clock.now)
            clock.now += next(durations)
            return super().__call__(observation)

    controller = Slow(planner(), clock=clock)
    ticks = controller.run(
        lambda: torch.zeros(1, 2), lambda action: times.append(clock.now), period=0.1, ticks=6, sleep=clock.wait
    )
    assert reads == pytest.approx([100.0, 100.1, 100.2, 100.5, 100.6, 100.7])
    assert times == pytest.approx([100.02, 100.15, 100.45, 100.52, 100.7, 100.72])
    assert [tick.late for tick in ticks] == pytest.approx([-0.08, -0.05, 0.15, -0.08, 0.0, -0.08])


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_plans_begin_where_the_sent_actions_lead_although_some_were_late(delay):
    """What acts in a period was sent ``delay`` periods before, or earlier if nothing was sent then."""
    clock, sent, planned = Clock(), {}, {}

    def period():
        return math.floor((clock.now - 100.0) / 0.1 + 1e-6)

    def acting(index):
        found = [at for at in sent if at <= index - delay]
        return sent[max(found)] if found else torch.zeros(1, 1)

    def state_at(index):
        state = torch.tensor([[1.0, 0.0]])
        for before in range(index):
            state = MODEL.step(state, acting(before))
        return state

    class Slow(Controller):
        def __call__(self, observation):
            begun, action = period(), super().__call__(observation)
            clock.now += next(durations)
            assert self.plan is not None
            planned[begun] = self.plan.states[:, 0, 0]
            return action

    durations = iter([0.02, 0.25, 0.02, 0.02, 0.12, 0.02, 0.02, 0.02])
    controller = Slow(planner(init_std=1.0), delay=delay, clock=clock)
    controller.run(
        lambda: state_at(period()),
        lambda action: sent.update({period(): action}),
        period=0.1,
        ticks=8,
        sleep=clock.wait,
    )
    assert list(sent) == [0, 3, 4, 5, 7, 8, 9, 10]
    assert torch.stack(list(sent.values())).abs().min() > 0.01
    for begun, state in planned.items():
        torch.testing.assert_close(state, state_at(begun + delay), msg=str(begun))


def test_skipped_periods_move_the_warm_start_and_hold_the_last_action():
    controller = Controller(planner(num_samples=1, num_zero_mean=0, repeat_last=False), delay=2)
    controller.arguments["proposals"] = None
    controller.skip(3)  # before the first action there is nothing to hold
    controller(torch.zeros(1, 2))
    assert controller.plan is not None
    controller._mean = torch.arange(15.0).view(1, 15, 1) / 15
    controller._sent[-1] = torch.full((1, 1), 0.5)
    controller.skip(2)
    controller(torch.zeros(1, 2))
    torch.testing.assert_close(controller.plan.mean[0, :13, 0], torch.arange(2.0, 15.0) / 15)
    expected = MODEL.step(MODEL.step(torch.zeros(1, 2), torch.full((1, 1), 0.5)), torch.full((1, 1), 0.5))
    torch.testing.assert_close(controller.plan.states[:, 0, 0], expected)


def test_rate_limits_hold_between_the_actions_of_a_controller():
    mppi = MPPI(MPPIConfig(horizon=10), MODEL, MODEL, 1, max_rate=0.1)
    controller, state, sent = Controller(mppi, delay=1), torch.tensor([[3.0, 0.0]]), [torch.zeros(1, 1)]
    for _ in range(20):
        sent.append(controller(state))
        state = MODEL.step(state, sent[-2])
    assert torch.stack(sent).diff(dim=0).abs().max() <= 0.1 + 1e-6
    assert torch.stack(sent).abs().max() > 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [({"delay": -1}, "delay=-1 must be at least 0"), ({"deadline": 0.0}, "deadline=0.0 must be positive")],
)
def test_impossible_times_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Controller(planner(), **options)
