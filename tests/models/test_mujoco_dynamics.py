"""MuJoCo models are dynamics of the planner: states, sensors, bounds and threads."""

import mujoco
import numpy as np
import pytest
import torch

from pompc.errors import UserError
from pompc.models import FunctionCost, MujocoDynamics
from pompc.planner import MPPI, MPPIConfig

CARTPOLE = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <body name="cart">
      <joint name="slide" type="slide" axis="1 0 0" range="-2 2" damping="0.1"/>
      <geom type="box" size="0.1 0.05 0.05" mass="1"/>
      <body name="pole">
        <joint name="hinge" type="hinge" axis="0 1 0" damping="0.01"/>
        <geom type="capsule" fromto="0 0 0 0 0 0.5" size="0.03" mass="0.1"/>
        <site name="tip" pos="0 0 0.5"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="slide" ctrllimited="true" ctrlrange="-10 20"/>
    <general joint="hinge" dyntype="filter" dynprm="0.1" gainprm="0.1"/>
  </actuator>
  <sensor><framepos name="tip" objtype="site" objname="tip"/><jointpos name="angle" joint="hinge"/></sensor>
</mujoco>
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("mujoco") / "cartpole.xml"
    path.write_text(CARTPOLE)
    return path


def test_a_rollout_is_that_of_mj_step_with_every_action_held(path):
    dynamics = MujocoDynamics(path, substeps=3, threads=2)
    data = mujoco.MjData(dynamics.model)
    data.qpos[:], data.qvel[:], data.act[:] = (0.3, 0.1), (0.2, -0.1), 0.4
    actions = torch.randn(4, 2, dtype=torch.float64)
    state = dynamics.state(data)
    found = dynamics.simulate(state.expand(5, -1), actions.expand(5, -1, -1))
    for index, action in enumerate(actions):
        data.ctrl[:] = action.numpy()
        mujoco.mj_step(dynamics.model, data, nstep=3)
        for states in found[:, index]:
            np.testing.assert_array_equal(dynamics.qpos(states), data.qpos)
            np.testing.assert_array_equal(dynamics.qvel(states), data.qvel)
            np.testing.assert_array_equal(dynamics.sensor(states, "tip"), data.sensor("tip").data)
    np.testing.assert_allclose(found[0, :, 0], 0.03 * np.arange(1, 5))  # the time
    assert dynamics.period == pytest.approx(0.03)
    torch.testing.assert_close(dynamics.step(state.expand(2, 3, -1), actions[0].expand(2, 3, -1))[1, 2], found[0, 0])


def test_sensors_of_the_first_state_are_computed(path):
    dynamics = MujocoDynamics(path)
    data = mujoco.MjData(dynamics.model)
    data.qpos[:] = (0.7, np.pi / 2)
    state = dynamics.state(data)
    torch.testing.assert_close(dynamics.sensor(state, "tip"), torch.tensor([1.2, 0.0, 0.0], dtype=torch.float64))
    assert dynamics.sensor(state, "angle").item() == pytest.approx(np.pi / 2)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_the_number_of_threads_changes_nothing(path, threads):
    noise = torch.randn(1, 2, 1, 32, 6, 2)
    plans = []
    for number in (threads, None):
        dynamics = MujocoDynamics(path, threads=number)
        cost = FunctionCost(lambda x, u, d=dynamics: d.qpos(x).square().sum(-1))
        state = dynamics.state(mujoco.MjData(dynamics.model)).expand(2, -1)
        mppi = MPPI(MPPIConfig(horizon=6, num_samples=32), dynamics, cost, 2, low=dynamics.low, high=dynamics.high)
        plans.append(mppi.plan(state, noise=noise).states)
    assert torch.equal(*plans)


def test_the_bounds_are_those_of_the_actuators(path):
    dynamics = MujocoDynamics(path)
    assert dynamics.low.tolist() == [-10.0, -np.inf]
    assert dynamics.high.tolist() == [20.0, np.inf]
    assert (dynamics.action_dim, dynamics.state_dim) == (2, 1 + 2 + 2 + 1 + 4)


def test_a_pole_is_balanced_in_float64(path):
    dynamics = MujocoDynamics(path, substeps=2)
    cost = FunctionCost(lambda x, u: 10 * dynamics.qpos(x)[..., 1].square() + dynamics.qpos(x)[..., 0].square())
    config = MPPIConfig(horizon=25, num_samples=32, temperature=0.1, init_std=(5.0, 0.0), max_std=5.0, noise="coloured")
    mppi = MPPI(config, dynamics, cost, 2, low=dynamics.low, high=dynamics.high, dtype=torch.float64)
    data, mean = mujoco.MjData(dynamics.model), None
    data.qpos[1] = 0.2
    for _ in range(40):
        plan = mppi.plan(dynamics.state(data).unsqueeze(0), mean=mean)[:, 0]
        assert plan.states.dtype == torch.float64
        data.ctrl[:] = plan.mean[0, 0].numpy()
        mujoco.mj_step(dynamics.model, data, nstep=2)
        mean = mppi.shift(plan.mean)
    assert abs(data.qpos[1]) < 0.05
    assert abs(data.qvel[1]) < 0.5


def test_what_does_not_exist_is_named(path, tmp_path):
    dynamics = MujocoDynamics(path)
    with pytest.raises(UserError, match=r"no sensor 'top'; its sensors: tip, angle"):
        dynamics.sensor(torch.zeros(dynamics.state_dim), "top")
    with pytest.raises(UserError, match=r"MuJoCo cannot read the model .*missing.xml"):
        MujocoDynamics(tmp_path / "missing.xml")
    with pytest.raises(UserError, match="substeps=0 must be positive"):
        MujocoDynamics(path, substeps=0)
