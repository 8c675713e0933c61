"""Dynamics and cost see the time of every step, and a terminal cost the last action."""

import torch

from pompc.models import FunctionModel, TimedModel
from pompc.planner import MPPI, MPPIConfig


def test_every_step_sees_its_own_time_in_each_environment():
    """The state sums the times it has seen; the cost is the time, the terminal cost the last one."""
    model = TimedModel(
        step=lambda state, action, time: state + time.unsqueeze(-1),
        running=lambda state, action, time: time,
        terminal=lambda state, time: 100 * time,
    )
    mppi = MPPI(MPPIConfig(horizon=3, num_samples=8), model, model, 1)
    plan = mppi.plan(model.at(torch.zeros(2, 1), torch.tensor([5.0, 10.0])))
    assert plan.states[:, 0, 0, :, 1].tolist() == [[5, 6, 7, 8], [10, 11, 12, 13]]
    assert plan.states[:, 0, 0, -1, 0].tolist() == [5 + 6 + 7, 10 + 11 + 12]
    assert plan.costs[:, 0, 0].tolist() == [5 + 6 + 7 + 800, 10 + 11 + 12 + 1300]


def test_a_plan_waits_for_a_door_that_opens_later():
    """A step of action 1 counts only from time 3 on, and every action costs: the plan moves only then."""
    model = TimedModel(
        step=lambda state, action, time: state + torch.where(time.unsqueeze(-1) >= 3, action, 0.0),
        running=lambda state, action, time: 0.3 * action[..., 0].square(),
        terminal=lambda state, time: (state[..., 0] - 2.0).square(),
    )
    config = MPPIConfig(horizon=5, num_samples=512, num_iterations=15, temperature=0.02, num_elites=64, adapt_std=True)
    for start, wait in ((0, 3), (1, 2), (3, 0)):
        torch.manual_seed(0)
        plan = MPPI(config, model, model, 1).plan(model.at(torch.zeros(1, 1), start)).mean[0, 0, :, 0]
        assert (plan[:wait].abs() < 0.1).all()
        assert (plan[wait:] > 0.25).all()


def test_a_terminal_cost_sees_the_last_action_with_the_discount_of_the_last_state():
    free = FunctionModel(
        lambda x, u: x + u,
        lambda x, u: torch.zeros_like(x[..., 0]),
        terminal_after=lambda x, u: 10 * x[..., 0] + u[..., 0],
    )
    mppi = MPPI(MPPIConfig(horizon=2, num_samples=1, num_zero_mean=0, discount=0.5), free, free, 1)
    plan = mppi.plan(torch.zeros(1, 1), mean=torch.tensor([[[0.3], [0.4]]]))
    torch.testing.assert_close(plan.costs, torch.tensor([[[(10 * 0.7 + 0.4) / 4]]]))
