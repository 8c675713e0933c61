"""Imitation: what is learned is the plan, at the states that were visited."""

import numpy as np
import pytest
import torch
from line import LineModel
from pointed import agent, collected, family, first_step
from scipy.linalg import block_diag
from tensordict import TensorDict
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.algorithms.imitate import Imitate
from pompc.config.spec import configure
from pompc.envs.linear_closed_form import PLANT, LinearQuadratic, Q, R
from pompc.errors import UserError
from pompc.offpolicy.acting import PlannerActs, policy_action
from pompc.offpolicy.expert_query import plans_made
from pompc.registry import ALGORITHMS
from pompc.schedules import ScheduleConfig

NEVER = ScheduleConfig(schedule="switch", initial=0.0, to=1.0, over=10**9)
ONE_SHOT = {"horizon": 3, "init_std": 0.2, "num_zero_mean": 0, "include_mean": False, "num_samples": 20_000}
"""One iteration around zero; the bounds of the control are five standard deviations away."""

# -- the closed form -----------------------------------------------------------------------------------------------------


def lqr_plan(temperature, std=0.2, horizon=3):
    """First row of ``-(P + temperature / std^2)^-1 G``: the gain of one MPPI iteration around zero ``[2]``.

    The cost of controls u from x is ``u' P u / 2 + x' G' u`` and a constant; its last state costs the infinite horizon.
    """
    a, b = PLANT.matrices
    powers = [np.linalg.matrix_power(a, k) for k in range(horizon + 1)]
    free = np.vstack(powers)
    zero = np.zeros((2, 1))
    forced = np.vstack(
        [np.hstack([powers[k - i - 1] @ b if i < k else zero for i in range(horizon)]) for k in range(horizon + 1)]
    )
    weight = block_diag(*[Q] * horizon, LinearQuadratic.solve(PLANT, 1.0).p)
    p = 2 * (forced.T @ weight @ forced + R[0, 0] * np.eye(horizon))
    g = 2 * forced.T @ weight @ free
    return -np.linalg.solve(p + temperature / std**2 * np.eye(horizon), g)[0]


def unconstrained(temperature, **options):
    torch.manual_seed(0)
    of = family("linear_system", violation_weight=0.0, disturbance=0.0)
    return agent(Imitate, of, {**ONE_SHOT, "temperature": temperature}, **options)


def fitted_gain(states, actions):
    return np.linalg.lstsq(states.numpy(), actions.detach().numpy(), rcond=None)[0]


@pytest.mark.parametrize("temperature", [0.5, 0.05])
def test_a_plan_of_one_iteration_is_linear_with_the_gain_of_a_proximal_step(temperature):
    expert, states = unconstrained(temperature), torch.rand(64, 2) * 0.4 - 0.2
    first = expert.planner.plan(states).mean[:, 0, 0, 0]
    expected = lqr_plan(temperature)
    residual = first.numpy() - states.numpy() @ expected
    assert residual.std() < 0.005, "Monte-Carlo error"
    np.testing.assert_allclose(fitted_gain(states, first), expected, atol=0.01)


def test_without_temperature_the_gain_is_the_optimal_one():
    best = LinearQuadratic.solve(PLANT, 1.0).gain[0]
    np.testing.assert_allclose(lqr_plan(0.0), best, rtol=1e-6)
    states, errors = torch.rand(64, 2) * 0.4 - 0.2, []
    for temperature in (0.5, 0.05, 0.005):
        first = unconstrained(temperature).planner.plan(states).mean[:, 0, 0, 0]
        errors.append(np.abs(fitted_gain(states, first) - best).max())
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.1 * np.abs(best).max()


def test_a_linear_policy_recovers_the_gain_of_the_plans():
    student = unconstrained(0.05, hidden_sizes=(), learning_rate=0.03)
    states = torch.rand(256, 2) * 0.2 - 0.1  # tanh is linear here
    plan = student.planner.plan(states)
    label = {"plan_mean": plan.mean[:, 0, 0], "plan_std": plan.std[:, 0, 0]}
    batch = {name: value.expand(2, *value.shape) for name, value in {**label, "observation": states}.items()}
    for _ in range(200):
        student.update(TensorDict(dict(batch), batch_size=[2, 256]))
    with torch.no_grad():
        actions = student.policy.action(student.policy(states)[0])[:, 0]
    np.testing.assert_allclose(fitted_gain(states, actions), lqr_plan(0.05), atol=0.02)


# -- who acts ----------------------------------------------------------------------------------------------------------


def test_at_a_share_of_zero_dagger_is_behaviour_cloning_bit_for_bit():
    found = []
    for options in ({}, {"policy_share": NEVER}):
        torch.manual_seed(0)
        student = agent(Imitate, **options)
        data = collected(student, 30)
        actions = torch.stack([step["action"] for step in data])
        found.append([actions, *(p.detach() for p in student.policy.parameters())])
        assert student.updates > 0
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_behaviour_cloning_acts_by_the_plan_without_noise():
    student = agent(Imitate)
    for step in collected(student, 3):
        assert torch.equal(step["action"], step["plan_mean"].clamp(-1, 1))


def test_the_labels_of_dagger_are_plans_from_the_states_that_the_policy_visits():
    torch.manual_seed(0)
    student, asked = agent(Imitate, policy_share=1.0), []
    torch.manual_seed(0)
    untrained = agent(Imitate, policy_share=1.0)
    plan = student.planner.plan
    student.planner.plan = lambda state, **given: asked.append((state, plan(state, **given))) or asked[-1][1]
    data = collected(student, 12)
    assert len(asked) == 12
    for step, (state, made) in zip(data, asked, strict=True):
        assert torch.equal(step["observation"][:, 0], state)
        assert torch.equal(step["plan_mean"][:, 0], made.mean[:, 0, 0])
        assert not torch.equal(step["action"], step["plan_mean"])
    own = policy_action(untrained, data[0]["observation"][:, 0], explore=False)
    assert torch.equal(data[0]["action"][:, 0], own)


@pytest.mark.parametrize("loss", ["action_mse", "plan_states"])
def test_with_queries_the_planner_is_not_needed_to_act_and_labels_every_sampled_state_once(loss):
    torch.manual_seed(0)
    student = agent(Imitate, policy_share=1.0, reanalyze_interval=1, imitation=loss)
    update, plan, sampled, acting_plans = student.update, student.planner.plan, [], []

    def watched(batch, indices=None, **options):
        student.planner.plan = plan
        result = update(batch, indices, **options)
        student.planner.plan = acting_plans.append
        assert (batch["plan_std"][:-1] > 0).all()
        sampled.append((indices[:-1], batch["observation"][:-1], batch["plan_mean"][:-1]))
        return result

    student.update, student.planner.plan = watched, acting_plans.append
    data = collected(student, 26)
    assert sampled
    assert not acting_plans
    assert all((step["plan_std"] == 0).all() for step in data), "acting makes no plan"
    slots = torch.cat([slots.flatten() for slots, _, _ in sampled]).unique()
    assert plans_made(student) == len(slots)
    first = {}
    for slots, observations, plans in sampled:
        for slot, observation, mean in zip(slots.flatten().tolist(), observations[0], plans[0], strict=True):
            assert torch.equal(first.setdefault(slot, (observation, mean))[1], mean), "planned from once"
            assert torch.equal(first[slot][0], observation)


def test_a_query_plans_only_from_states_without_a_label():
    torch.manual_seed(0)
    student = agent(Imitate, policy_share=0.5, reanalyze_interval=1)
    data = collected(student, 21)
    acted = torch.cat([step["next", "policy_acts"].flatten() for step in data])
    labelled = torch.cat([(step["plan_std"] > 0).flatten() for step in data])
    assert torch.equal(labelled, acted == 0)
    assert 0.3 < acted.mean() < 0.7
    assert plans_made(student) <= labelled.numel(), "never more than one per state"


@pytest.mark.parametrize("rollouts", [1, 3])
def test_a_plan_counts_once_whatever_the_rollouts_of_its_samples(rollouts):
    student = agent(Imitate, planner={"num_rollouts": rollouts})
    student.planner.plan(torch.zeros(7, 1))
    assert plans_made(student) == 7


def test_random_steps_have_no_label_until_they_are_asked_for():
    student = agent(Imitate, seed_steps=40, imitation="plan_controls")
    data = collected(student, 15)
    random = torch.stack([(step["plan_std"] == 0).all() for step in data])
    assert random.tolist() == [True] * 10 + [False] * 5
    assert (data[0]["planned_mean"] == 0).all()
    assert (data[-1]["planned_mean"][:, 0, 0] == data[-1]["plan_mean"][:, 0]).all()


# -- values and evaluations ----------------------------------------------------------------------------------------------


def test_there_are_no_values():
    student = agent(Imitate)
    assert not hasattr(student, "critic")
    assert student.optimizers.keys() == {"policy"}
    assert {name.partition(".")[0] for name, _ in student.named_parameters()} == {"policy"}
    for cost in ("task", "reward"):
        assert agent(Imitate, planner_cost=cost).terminal_value() is None


def test_the_bare_policy_acts_without_a_plan():
    student = agent(Imitate)
    student.policy_alone = True
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        td = student(first_step(student, torch.randn(3, 1)))
    with torch.no_grad():
        own = student.policy.action(student.policy(td["observation"])[0])
    assert torch.equal(td["action"], own)
    assert student.model_steps == 0


def test_without_eval_policy_an_evaluation_plays_the_planner_whatever_the_share():
    student = agent(Imitate, policy_share=1.0)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        td = student(first_step(student, torch.randn(3, 1)))
    assert student.model_steps > 0
    torch.testing.assert_close(student.planner.shift(student._last[1]), td["next", "planner_mean"])
    assert torch.equal(td["action"], student._last[1][:, 0].clamp(-1, 1))


def test_a_batch_of_broken_transitions_alone_teaches_nothing():
    student, (data,) = agent(Imitate, num_envs=1), collected(agent(Imitate, num_envs=1), 1)
    data["next", "broken"] = torch.ones_like(data["next", "reward"])
    student.learn(data)
    assert student.view.moments.count == 0
    assert torch.isfinite(student.view.moments.mean).all()


@pytest.mark.parametrize("name", ["imitate", "dagger", "plannetx"])
def test_evaluations_act_by_the_policy_by_default(name):
    assert configure(name, "acrobot").options.eval.policy
    assert ALGORITHMS.resolve(name) is Imitate


def test_a_fixed_share_of_zero_is_the_planner():
    assert type(agent(Imitate).who_acts) is PlannerActs


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kl_weight": 1.0}, r"give kl_weight=\.inf and virtual_ratio=0, or take pompc"),
        ({"virtual_ratio": 0.5}, "imitate learns no values"),
        ({"policy_share": ScheduleConfig(schedule="inv")}, "take linear"),
        ({"model": "learned"}, r"algo\.model must be one of known, residual, not 'learned'"),
        ({"imitation": "cloning"}, r"algo\.imitation must be"),
        ({"policy": "cloned"}, r"algo\.policy must be"),
        ({"planner": {"stochastic": True}}, "an expert acts by the mean of its plan"),
        ({"planner": {"init_std": 0.0}}, r"planner\.init_std=0 samples nothing"),
        ({"planner": {"init_covariance": ((0.0,),)}}, r"planner\.init_covariance=0 samples nothing"),
    ],
)
def test_what_it_has_no_use_for_is_refused_in_one_line(options, said):
    with pytest.raises(UserError, match=said) as error:
        agent(Imitate, **options)
    assert "\n" not in str(error.value)


# -- learning --------------------------------------------------------------------------------------------------------


def test_the_policy_of_dagger_brings_the_point_to_the_origin():
    """Asked lazily: the planner labels sampled states and acts less and less."""
    torch.manual_seed(0)
    share = ScheduleConfig(schedule="linear", initial=0.0, to=1.0, over=300, clock="steps")
    planner = {"num_iterations": 3, "num_samples": 64}
    student = agent(Imitate, planner=planner, policy_share=share, reanalyze_interval=1, learning_rate=5e-3)
    task, x, total = LineModel(), torch.linspace(-2, 2, 9).unsqueeze(-1), 0.0
    collected(student, 100)
    assert student.dials.find("policy_share").value == 1
    with torch.no_grad():
        for _ in range(20):
            action = student.policy.action(student.policy(x)[0])
            then = task.step(x, action)
            total, x = total + task.reward(x, action, then).mean().item(), then
    assert total > -10 / 9 - 1.0  # the best is -10 / 9, an untrained policy has about -20
