"""Steps on phi on the linear system, where the best phi, its values and the gradient of the policy are known."""

import numpy as np
import pytest
import torch
from quadratic import DISCOUNT, exploring, planned_gain, planned_values, transitions

from pompc.envs.linear_closed_form import PLANT, LinearQuadratic, policy_cost_matrix
from pompc.parametric.steps import CompatibleDPG, Newton, QLearning, difference, least_squares, monomials

SECOND_MOMENT = np.diag([0.02, 0.005])  # small enough that no bound of the control is near


def test_at_the_best_phi_there_are_no_temporal_differences_and_q_learning_stays():
    """The bias of the soft values is a constant, which the offset takes up; a second look finds nothing to add."""
    values, batch = planned_values(), exploring()
    found = difference(values, batch)
    assert found.error.abs().max() < 2e-5 < 1e-3 * batch.cost.max()
    offset = values.phi.offset.clone()
    assert offset != 0
    moved = QLearning()(values, batch)
    torch.testing.assert_close(values.phi.offset, offset, atol=1e-5, rtol=0)
    assert moved.direction.abs().max() < 1e-5
    values.phi.values[0] = 0.2
    assert QLearning()(values, batch).direction.abs().max() > 1e-4


def test_the_planner_acts_and_values_as_riccati():
    values, batch = planned_values(), exploring()
    best = LinearQuadratic.solve(PLANT, DISCOUNT)
    policy = values.policy(batch.state, batch.mean).action.numpy()
    np.testing.assert_allclose(policy, best.action(batch.state.numpy()), atol=1e-4)
    cost = values.value(batch.state, batch.mean).cost.numpy()
    np.testing.assert_allclose(_centred(cost), _centred(best.cost(batch.state.numpy())), atol=2e-5)
    joint = np.hstack([batch.state.numpy(), batch.action.numpy()])
    first = np.einsum("ni,ij,nj->n", joint, best.action_matrix, joint)
    cost = values.value(batch.state, batch.mean, first=batch.action).cost.numpy()
    np.testing.assert_allclose(_centred(cost), _centred(first), atol=2e-5)


def _centred(x):
    return x - x.mean(0)


def test_newton_steps_converge_quadratically_to_the_best_phi():
    values, batch = planned_values(), exploring()
    values.phi.values[:3] = torch.tensor([0.1, -0.05, 0.05])
    errors = [values.phi.values.norm().item()]
    for _ in range(3):
        values.phi.move(Newton(1e-9)(values, batch).direction, rate=1.0, max_change=1.0)
        errors.append(values.phi.values.norm().item())
    assert errors[1] < 2 * errors[0] ** 2
    assert errors[2] < 2 * errors[1] ** 2
    assert errors[3] < 1e-4


def test_where_the_values_are_linear_in_phi_one_least_squares_step_finds_it():
    """Without noise a plan is its warm start, so that its cost is linear in the slopes of both states."""
    values, batch = planned_values(init_std=0.0, num_iterations=1), exploring()
    truth = torch.tensor([0.0, 0.0, 0.0, 0.6, -0.4, 0.0, 0.0])
    values.phi.values.copy_(truth)
    now, then = (
        values.value(batch.state, batch.mean, first=batch.action),
        values.value(batch.next_state, batch.next_mean),
    )
    batch = batch._replace(cost=now.cost - DISCOUNT * then.cost)
    values.phi.values.zero_()
    found = difference(values, batch)
    slopes = [part[:, [3, 4, 7]].double() for part in (found.slope, found.slope - found.next_slope)]
    weight = least_squares(*slopes, found.error.double(), 1e-12)
    torch.testing.assert_close(weight[:2].float(), truth[3:5], atol=1e-3, rtol=0)


def occupancy(gain):
    """Compute the discounted second moment of the states under ``u = K x``, of weight 1."""
    a, b = PLANT.matrices
    closed, moment, total = a + b @ gain, SECOND_MOMENT, np.zeros((2, 2))
    for step in range(400):
        total += (1 - DISCOUNT) * DISCOUNT**step * moment
        moment = closed @ moment @ closed.T
    return total


def points(moment):
    """States on two ellipses whose second moment is given."""
    angles = 2 * np.pi * np.arange(8) / 8
    rings = [
        r * np.stack([np.cos(angles + turn), np.sin(angles + turn)], -1) for r, turn in ((1.0, 0.0), (3**0.5, 0.2))
    ]
    return np.concatenate(rings) @ np.linalg.cholesky(moment).T


@pytest.mark.parametrize(
    ("mismatch", "weights"), [(0.0, [0.3, -0.2, 0.4]), (1.0, [0.0, 0.0, 0.0])], ids=["exact", "wrong"]
)
def test_the_policy_gradient_is_that_of_the_closed_loop_cost(mismatch, weights):
    """Every control is tried a little to both sides, so that the rest is the sampling error of the policy's slope."""
    values = planned_values(mismatch=mismatch, num_samples=2048, num_iterations=15)
    values.phi.values[:3] = torch.tensor(weights)
    at, last = np.array(weights), values.task.task.p.double().numpy()

    def closed_loop(phi):
        return np.trace(policy_cost_matrix(PLANT, planned_gain(phi, mismatch, last), DISCOUNT) @ SECOND_MOMENT)

    exact = np.array([(closed_loop(at + e) - closed_loop(at - e)) / 2e-4 for e in 1e-4 * np.eye(3)])
    x = points(occupancy(planned_gain(at, mismatch, last)))
    acted = values.policy(*(torch.tensor(of, dtype=torch.float32) for of in (x, np.zeros((len(x), 6, 1)))))
    u = np.concatenate([acted.action.numpy() + deviation for deviation in (0.05, -0.05)])
    moved = CompatibleDPG(1e-8, natural=False)(values, transitions(np.concatenate([x, x]), u))
    found = -moved.direction[:3].numpy() / (1 - DISCOUNT)
    assert np.linalg.norm(found - exact) < 0.2 * np.linalg.norm(exact)
    assert moved.metrics["phi_gradient"] > 0


def test_the_natural_gradient_is_the_gradient_in_the_metric_of_the_policy():
    values, batch = planned_values(mismatch=1.0), exploring()
    plain, natural = (CompatibleDPG(1e-6, natural=of)(values, batch).direction for of in (False, True))
    slope = values.policy(batch.state, batch.mean).slope
    torch.testing.assert_close(torch.einsum("bap,baq,q->p", slope, slope, natural) / len(slope), plain)


def test_least_squares_finds_the_weights_behind_targets_and_leaves_flat_directions_alone():
    rng = torch.Generator().manual_seed(0)
    left = torch.randn(200, 4, generator=rng, dtype=torch.float64)
    left[:, 3] = 0.0
    truth = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    torch.testing.assert_close(least_squares(left, left, left @ truth, 1e-10), truth, atol=1e-6, rtol=0)


def test_monomials_span_the_quadratic_forms():
    x = torch.tensor([[2.0, 3.0]])
    assert monomials(x).tolist() == [[1.0, 2.0, 3.0, 4.0, 6.0, 9.0]]
