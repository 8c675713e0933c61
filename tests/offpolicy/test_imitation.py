"""Losses of a policy that only imitates."""

from typing import get_args, get_type_hints

import pytest
import torch
from pointed import agent, family
from tensordict import TensorDict

from pompc.algorithms.imitate import Imitate, ImitateConfig
from pompc.envs.linear import LinearModel
from pompc.envs.linear_closed_form import PLANT
from pompc.offpolicy.imitation import IMITATIONS, LEAST_STD, follow_policy, mean_action

HORIZON = 6


def learner(loss, of=None):
    torch.manual_seed(0)
    return agent(Imitate, of, {"horizon": HORIZON}, imitation=loss)


def labelled(each, state, planned):
    """A batch of one step, with plans ``[batch, horizon, action]``."""
    batch = {"state": torch.stack([state, state]), "plan_mean": planned[:, 0].expand(2, -1, -1)}
    batch |= {"plan_std": torch.full_like(batch["plan_mean"], 0.3), "planned_mean": planned.expand(2, *planned.shape)}
    return TensorDict(batch, batch_size=[2, len(state)])


def gamma():
    """The matrix from the controls of a plan to its states ``[horizon * 2, horizon]``."""
    a, b = (torch.tensor(m, dtype=torch.float32) for m in PLANT.matrices)
    rows = torch.zeros(HORIZON, 2, HORIZON)
    for then in range(HORIZON):
        for now in range(then + 1):
            rows[then, :, now] = (torch.linalg.matrix_power(a, then - now) @ b)[:, 0]
    return rows.flatten(0, 1)


def test_every_name_that_the_option_takes_has_its_loss():
    assert set(get_args(get_type_hints(ImitateConfig)["imitation"])) == IMITATIONS.keys()


def test_on_linear_dynamics_the_error_of_states_is_a_weighted_error_of_controls():
    of = family("linear_system")
    each = learner("plan_states", of)
    each.view.moments.update(torch.randn(50, 2) * torch.tensor([0.5, 2.0]))
    state, planned = torch.randn(7, 2) * 0.3, torch.rand(7, HORIZON, 1) * 0.4 - 0.2
    actions, _ = follow_policy(each, state, HORIZON)
    difference = (actions[..., 0].T - planned[..., 0]) @ gamma().T
    weighed = difference.unflatten(-1, (HORIZON, 2)) / each.view.std
    expected = weighed.square().sum((-1, -2)) / (2 * HORIZON)
    torch.testing.assert_close(each.loss(each, labelled(each, state, planned))[0], expected, rtol=1e-4, atol=1e-6)


def test_the_error_of_states_weighs_early_controls_more():
    norms = gamma().norm(dim=0)
    assert (norms[:-1] > norms[1:]).all()
    each, state = learner("plan_states", family("linear_system")), torch.zeros(HORIZON, 2)
    actions = follow_policy(each, state[:1], HORIZON)[0].detach()[:, 0]
    shifted = actions.expand(HORIZON, -1, -1) + 0.1 * torch.eye(HORIZON).unsqueeze(-1)  # one control each
    found = each.loss(each, labelled(each, state, shifted))[0].detach()
    torch.testing.assert_close(found, 0.01 * norms.square() / (2 * HORIZON), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("loss", ["plan_states", "plan_controls"])
@pytest.mark.parametrize("name", ["linear_system", "acrobot", "lunar_lander", "carla_racing"])
def test_a_policy_that_is_the_plan_has_no_error_and_any_other_has_a_gradient(loss, name):
    of = family(name)
    each = learner(loss, of)
    state = each.encode(of.vectorise(3, seed=0, device="cpu").reset()["observation"])
    own = follow_policy(each, state, HORIZON)[0].detach().movedim(0, -2)
    assert each.loss(each, labelled(each, state, own)).abs().max() == 0
    each.loss(each, labelled(each, state, own + 0.1)).sum().backward()
    gradients = [p.grad for p in each.policy.parameters()]
    assert all(torch.isfinite(g).all() for g in gradients)
    assert sum(g.abs().sum() for g in gradients) > 0


def test_nothing_counts_after_the_recorded_plan_has_ended_the_episode():
    for loss in ("plan_states", "plan_controls"):
        each = learner(loss)
        state, planned = torch.tensor([[2.8]]), torch.ones(1, HORIZON, 1)  # the first step ends beyond 3
        other = torch.cat([planned[:, :1], -planned[:, 1:]], 1)
        a, b = (each.loss(each, labelled(each, state, plan)) for plan in (planned, other))
        assert torch.equal(a, b)
        assert (a > 0).all()


def test_the_policy_knows_the_step_of_a_whole_plan_alone():
    state = torch.randn(4, 1)
    timed, plain = learner("plan_states"), learner("action_mse")
    assert (timed.view.input_dim, plain.view.input_dim) == (2, 1)
    later = torch.cat([state, torch.full_like(state, 0.5)], -1)
    assert torch.equal(timed.view(state), torch.cat([state, torch.zeros_like(state)], -1))
    assert torch.equal(timed.view(later), later)
    assert not torch.equal(mean_action(timed, later), mean_action(timed, state))


def test_states_without_a_plan_do_not_count():
    for loss in IMITATIONS:
        each = learner(loss)
        batch = labelled(each, torch.randn(6, 1), torch.rand(6, HORIZON, 1))
        expected, metrics = each.loss.mean(each, batch[:, :2])
        batch["plan_std"] = batch["plan_std"] * (torch.arange(6) < 2).float().unsqueeze(-1)
        found, more = each.loss.mean(each, batch)
        torch.testing.assert_close(more, metrics)
        torch.testing.assert_close(found, expected)


def test_the_likelihood_is_the_policys_forward_divergence_from_the_plan():
    each = learner("policy_nll")
    state, planned = torch.randn(5, 1), torch.rand(5, HORIZON, 1)
    mean, log_std = each.policy(state)
    std = log_std.exp()
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(planned[:, 0], torch.full_like(mean, 0.3)), torch.distributions.Normal(mean, std)
    )
    torch.testing.assert_close(each.loss(each, labelled(each, state, planned))[0], kl[:, 0])


def test_constant_observations_are_not_magnified():
    each = learner("plan_states")
    each.view.moments.update(torch.ones(10, 1))
    assert each.view.std.item() == pytest.approx(LEAST_STD)


def test_gamma_is_that_of_the_model():
    model = LinearModel(family("linear_system").config)
    state = torch.zeros(1, 2)
    states, controls = [], torch.rand(HORIZON) * 0.2
    for control in controls:
        state = model.step(state, control.view(1, 1))
        states.append(state[0])
    torch.testing.assert_close(torch.cat(states), gamma() @ controls)
