"""Phi in the planner's cost and model: the task's own at the start, gradients, and where the entries travel."""

import pytest
import torch
from quadratic import exploring, planned_values

from pompc.envs.linear import LinearConfig, LinearModel
from pompc.envs.linear_closed_form import PLANT, WRONG
from pompc.planner import MPPI


@pytest.mark.parametrize("blocks", [("weights",), ("convex",), ("model",), ("weights", "convex", "model")])
def test_at_the_start_plans_are_those_of_the_task_bit_for_bit(blocks):
    values, batch = planned_values(blocks, num_iterations=3), exploring()
    task = values.task.task
    plain = MPPI(values.planner.config, task, task, 1)
    plain.noise = values.planner.noise
    expected = plain.plan(batch.state)
    cost, _ = values.task.split(values.phi.values.expand(len(batch.state), 1, -1))
    found = values.planner.plan(values.augmented(batch.state), parameters=cost)
    assert torch.equal(found.mean, expected.mean)
    assert torch.equal(found.soft_value, expected.soft_value)


@pytest.mark.parametrize("blocks", [("weights",), ("weights", "convex"), ("model",), ("model", "weights")])
@pytest.mark.parametrize("pinned", [False, True], ids=["V", "Q"])
def test_the_slope_of_a_value_is_its_difference_quotient(blocks, pinned):
    """At a converged plan the change of the plan itself costs nothing."""
    values, batch = planned_values(blocks, num_samples=128, num_iterations=60, temperature=0.05), exploring(6)
    first = batch.action if pinned else None
    values.phi.values += 0.05 * torch.rand(len(values.phi.values), generator=torch.Generator().manual_seed(3))
    slope = values.value(batch.state, batch.mean, first=first).slope
    assert torch.equal(slope[:, -1], torch.ones(6)), "the offset"
    start = values.phi.values.clone()
    direction = torch.randn(len(start), generator=torch.Generator().manual_seed(4))
    sides = []
    for sign in (1, -1):
        values.phi.values.copy_(start + sign * 0.001 * direction)
        sides.append(values.value(batch.state, batch.mean, first=first).cost)
    torch.testing.assert_close((sides[0] - sides[1]) / 0.002, slope[:, :-1] @ direction, rtol=0.01, atol=1e-3)


def test_without_the_model_among_phi_the_slope_takes_no_model_steps():
    for blocks, further in ((("weights",), 0), (("model",), 1)):
        values, batch = planned_values(blocks, num_samples=8, num_iterations=2), exploring(4)
        values.value(batch.state, batch.mean)
        assert values.planner.model_steps == (2 + further) * 4 * 8 * 6


def test_the_correction_makes_the_wrong_model_the_plant():
    values = planned_values(("model",), mismatch=1.0)
    (a, b), (wrong_a, wrong_b) = (torch.tensor(m) for m in PLANT.matrices), (torch.tensor(m) for m in WRONG.matrices)
    rows = torch.cat([a - wrong_a, b - wrong_b, torch.zeros(2, 1)], -1)
    values.phi.values.copy_(rows.flatten())
    state, action = torch.randn(5, 2), torch.rand(5, 1) - 0.5
    after = values.task.step(values.augmented(state), action)
    torch.testing.assert_close(after[:, :2], LinearModel(LinearConfig()).step(state, action))
    assert torch.equal(after[:, 2:], values.phi.values.expand(5, -1)), "no step changes phi"


def test_phi_moves_within_its_box_and_no_further_than_allowed():
    phi = planned_values(("weights", "model")).phi
    direction = torch.zeros(len(phi.values))
    direction[:2] = torch.tensor([4.0, -2.0])
    change = phi.move(direction, rate=0.5, max_change=0.3)
    torch.testing.assert_close(phi.values[:2], torch.tensor([0.3, -0.15]))
    assert change == pytest.approx(0.3)
    for _ in range(5):
        phi.move(direction, rate=0.5, max_change=0.3)
    assert phi.values[0] == 1.0
    assert phi.distance == phi.values.norm()
