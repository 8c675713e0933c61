"""External simulators in numpy are dynamics of the planner."""

import numpy as np
import pytest
import torch

from pompc.errors import UserError
from pompc.models import FunctionCost, FunctionModel, NumpyCost, NumpyDynamics, NumpySimulator
from pompc.planner import MPPI, MPPIConfig

CONFIG = MPPIConfig(horizon=5, num_samples=16, temperature=0.1)
IN_TORCH = FunctionModel(lambda x, u: x + 0.1 * u, lambda x, u: (x - 1).square().sum(-1), lambda x: x[..., 0].abs())


def numpy_step(state, action):
    assert state.dtype == action.dtype == np.float64
    return state + 0.1 * action


def cumulated(state, actions):
    return state[:, None] + 0.1 * np.cumsum(actions, axis=1)


COST = NumpyCost(lambda x, u: np.square(x - 1).sum(-1), lambda x: np.abs(x[:, 0]))


@pytest.mark.parametrize("dynamics", [NumpyDynamics(numpy_step), NumpySimulator(cumulated)], ids=["step", "rollout"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_plan_in_numpy_is_the_plan_in_torch(dynamics, dtype):
    noise, state = torch.randn(1, 3, 1, 16, 5, 2), torch.randn(3, 2)
    plans = [
        MPPI(CONFIG, one, cost, 2, dtype=dtype).plan(state, noise=noise)
        for one, cost in ((dynamics, COST), (IN_TORCH, IN_TORCH))
    ]
    for name in ("mean", "states", "costs"):
        torch.testing.assert_close(getattr(plans[0], name), getattr(plans[1], name))
    action = torch.randn(3, 4, 2)
    torch.testing.assert_close(dynamics.step(torch.ones(3, 4, 2), action), 1 + 0.1 * action)


def test_a_simulator_with_a_state_of_its_own_is_set_and_read():
    class Robot:
        position = 0.0

        def move(self, speed):
            self.position += 0.1 * speed

    def rollout(states, actions):
        robot, found = Robot(), np.empty((*actions.shape[:2], 1))
        for sample in range(len(states)):
            robot.position = states[sample, 0]
            for step in range(actions.shape[1]):
                robot.move(actions[sample, step, 0])
                found[sample, step, 0] = robot.position
        return found

    model = NumpySimulator(rollout)
    mppi = MPPI(CONFIG, model, FunctionCost(lambda x, u: (x[..., 0] - 1).square()), 1)
    state, mean = torch.zeros(1, 1), None
    for _ in range(40):
        plan = mppi.plan(state, mean=mean)[:, 0]
        state, mean = model.step(state, plan.mean[:, 0]), mppi.shift(plan.mean)
    assert abs(state.item() - 1) < 0.1


def test_another_shape_and_compilation_are_refused():
    short = NumpySimulator(lambda states, actions: states)
    with pytest.raises(UserError, match=r"the simulator returned the shape \[16, 1\] where \[16, 5, 1\] is needed"):
        MPPI(CONFIG, short, FunctionCost(lambda x, u: x[..., 0]), 1).plan(torch.zeros(1, 1))
    with pytest.raises(UserError, match=r"planner.compile cannot compile NumpySimulator"):
        MPPI(MPPIConfig(compile=True), short, FunctionCost(lambda x, u: x[..., 0]), 1)
