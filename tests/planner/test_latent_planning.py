"""Planning in a latent world model: costs of plans, their proposals and warm starts, and the executed actions."""

import dataclasses
import shutil

import pytest
import tiny
import torch
from tensordict import TensorDict

from pompc.models import FunctionModel
from pompc.models.imagination import Imagination
from pompc.planner import MPPI, MPPIConfig


def shaken(transitions=0, **options):
    """Make an agent after ``transitions`` with random weights; a new agent gives only zeros as rewards and values."""
    agent = tiny.agent(**options)
    agent.budget.transitions = transitions
    agent.budget.burst = 0 if transitions > agent.budget.seed_steps else -1  # the burst is over
    for parameter in agent.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return agent


def inputs(agent, num_envs=2, is_init=None, planner_mean=None):
    """Make inputs of the agent ``[num_envs]``."""
    zeros = torch.zeros(num_envs, agent.horizon, agent.problem.action_dim)
    return TensorDict(
        {
            "observation": torch.randn(num_envs, agent.problem.observation_dim),
            "is_init": torch.zeros(num_envs, 1, dtype=torch.bool)
            if is_init is None
            else torch.tensor(is_init)[:, None],
            "planner_mean": zeros if planner_mean is None else planner_mean,
        },
        batch_size=[num_envs],
    )


# -- costs of plans ---------------------------------------------------------------------------------------------------


def test_a_discount_per_environment_equals_planning_with_each_of_them():
    model = FunctionModel(lambda x, u: x + u, lambda x, u: (x - 1).square().sum(-1) + 0.1 * u.square().sum(-1))
    config = MPPIConfig(horizon=5, num_samples=32, num_iterations=3, num_elites=8, adapt_std=True)
    state, noise, discounts = torch.randn(4, 2), torch.randn(3, 4, 1, 32, 5, 2), [1.0, 0.9, 0.5, 0.0]
    value = lambda x: -x.square().sum(-1)  # noqa: E731
    together = MPPI(config, model, model, 2).plan(
        state, noise=noise, discount=torch.tensor(discounts), terminal_value=value
    )
    for env, discount in enumerate(discounts):
        planner = MPPI(dataclasses.replace(config, discount=discount), model, model, 2)
        own = slice(env, env + 1)
        alone = planner.plan(state[own], noise=noise[:, own], terminal_value=value)
        torch.testing.assert_close(together.costs[own], alone.costs)
        torch.testing.assert_close(together.mean[own], alone.mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("episodic", [False, True])
def test_a_cost_is_the_negative_return_up_to_the_predicted_end(episodic):
    """The model's return has the rewards until an end, and without an end the value at the horizon."""
    agent = shaken(episodic=episodic, planner={"num_iterations": 1})
    model, value = agent.model, lambda state: 5 + state[..., 0]
    state = agent.encode(torch.randn(6, 3))
    if episodic:  # about half of all steps end the episode
        with torch.no_grad():
            then = model.next(state, torch.zeros(6, 2))
            model.termination_head[-1].bias -= model.termination_logits(then).median()
    plan = agent.planner.plan(state, terminal_value=value)
    lengths = set()
    for env in range(6):
        for actions, cost in zip(plan.actions[env, 0], plan.costs[env, 0], strict=True):
            now, total, factor, length = state[env], 0.0, 1.0, 0
            for action in actions:
                total, factor, length = total + factor * model.reward(now, action).item(), factor * 0.9, length + 1
                now = model.next(now, action)
                if episodic and model.termination_logits(now) > 0:
                    break
            else:
                total, length = total + factor * value(now).item(), 4
            lengths.add(length)
            assert -cost.item() == pytest.approx(total, rel=1e-4, abs=1e-4)
    assert lengths == ({1, 2, 3, 4} if episodic else {4})


def test_judging_together_equals_separate_costs_and_terminations():
    model = shaken(episodic=True).model
    imagination = Imagination(model)

    class Separate:
        step = imagination.step
        running = imagination.running
        terminal = imagination.terminal

        def terminated(self, state, action, next_state):
            return model.termination_logits(next_state) > 0

    config, separate = tiny.config().planner, Separate()
    state, noise = model.encode(torch.randn(5, 3)), torch.randn(2, 5, 1, 16, 3, 2)
    plans = [MPPI(config, one, one, 2).plan(state, noise=noise) for one in (imagination, separate)]
    torch.testing.assert_close(plans[0].costs, plans[1].costs)
    torch.testing.assert_close(plans[0].mean, plans[1].mean)


def test_the_value_at_the_horizon_is_the_mean_of_two_heads_for_the_policys_action(monkeypatch):
    agent = shaken(ensemble_size=5)
    pairs, seen = torch.tensor([4, 1]), []
    monkeypatch.setattr(agent.critic, "draw", lambda: pairs)
    policy = agent.policy.sample
    monkeypatch.setattr(agent.policy, "sample", lambda *a: seen.append(policy(*a)) or seen[-1])
    state = agent.encode(torch.randn(7, 3))
    value = agent.terminal_value()(state)
    heads = agent.critic.values(torch.cat([state, seen[0].action], -1))
    torch.testing.assert_close(value, heads[pairs].mean(0), rtol=1e-4, atol=1e-5)
    assert heads.std() > 0


def test_ignored_actions_of_a_task_cost_nothing():
    agent = shaken(tasks=tiny.tasks(), observation_dim=4, discount=None)
    observation = torch.randn(1, 4)
    observation[:, -1] = 0  # the task with one action
    state, actions = agent.encode(observation), torch.rand(1, 1, 16, 3, 2)
    other = torch.cat([actions[..., :1], torch.rand(1, 1, 16, 3, 1)], -1)
    charges = [agent.planner.scorer.evaluate(agent.planner.rollout(state, a), a) for a in (actions, other)]
    assert torch.equal(*charges)
    assert charges[0].std() > 0


# -- proposals and starts ---------------------------------------------------------------------------------------------


def test_rollouts_of_the_policy_take_part_in_every_iteration():
    agent = shaken(num_proposals=3, log_std_min=-9.0, log_std_max=-8.0)  # a policy that hardly varies
    state = agent.encode(torch.randn(5, 3))
    proposals = agent.proposals(state)
    assert proposals.shape == (5, 1, 3, 3, 2)
    now = state
    for step in range(3):
        expected = torch.tanh(agent.policy(now)[0])
        torch.testing.assert_close(proposals[:, 0, :, step], expected[:, None].expand(-1, 3, -1), rtol=0, atol=0.02)
        now = agent.model.next(now, expected)
    plan = agent.planner.plan(state, proposals=proposals)
    assert torch.equal(plan.actions[:, :, :3], proposals)
    assert agent.planner.model_steps == 2 * 5 * 16 * 3
    assert tiny.agent(num_proposals=0).proposals(state) is None


def test_the_std_of_proposals_can_be_given():
    agent = shaken(num_proposals=15, log_std_min=-9.0, log_std_max=-8.0)
    state = agent.encode(torch.randn(50, 3))
    narrow, wide = agent.proposals(state), agent.proposals(state, (-1.0, 0.0))
    assert narrow.std(2).mean() < 0.01
    assert wide.std(2).mean() > 0.1


def test_samples_start_from_the_shifted_plan_and_from_zero_in_a_new_episode():
    agent, starts = shaken(transitions=21), []
    init = agent.planner.init
    agent.planner.init = lambda *arguments: starts.append(init(*arguments)) or starts[-1]
    first = agent.act(inputs(agent), explore=True)
    mean, shifted = agent._last[1], first["next", "planner_mean"]
    assert torch.equal(shifted[:, :2], mean[:, 1:])
    assert (shifted[:, 2] == 0).all()
    agent.act(inputs(agent, is_init=[True, False], planner_mean=shifted), explore=True)
    start, std = starts[1]
    assert (start[0] == 0).all()
    assert torch.equal(start[1, 0], shifted[1])
    assert shifted[0].abs().sum() > 0
    assert (std == 2).all()  # every plan starts at the largest std


# -- executed actions -------------------------------------------------------------------------------------------------


def test_random_actions_fill_the_cube_while_the_first_transitions_are_collected():
    agent = tiny.agent(seed_steps=20)
    td = agent.act(inputs(agent, num_envs=20_000, planner_mean=torch.ones(20_000, 3, 2)), explore=True)
    action = td["action"]
    assert agent.model_steps == 0
    assert action.abs().max() <= 1
    share = torch.histc(action, 20, -1, 1) / action.numel()
    assert (share - 0.05).abs().max() < 0.005
    assert torch.corrcoef(action.T)[0, 1].abs() < 0.03
    assert torch.equal(td["plan_mean"], action)
    torch.testing.assert_close(td["plan_std"], torch.full_like(action, 7.389), rtol=1e-3, atol=0)
    assert (td["next", "planner_mean"] == 0).all()


@pytest.mark.parametrize(("explore", "transitions", "plans"), [(True, 20, False), (True, 21, True), (False, 0, True)])
def test_plans_are_made_after_the_seed_phase_and_in_every_evaluation(explore, transitions, plans):
    agent = shaken(transitions, seed_steps=20)
    agent.act(inputs(agent), explore=explore)
    assert (agent.model_steps > 0) == plans


def test_exploring_adds_noise_of_the_plans_std_to_a_drawn_elite(monkeypatch):
    agent, noise = shaken(transitions=21), torch.tensor([[0.3, -0.4], [20.0, -20.0]])
    draw = torch.randn_like
    with monkeypatch.context() as patched:
        patched.setattr(torch, "randn_like", lambda x: noise if x.shape == noise.shape else draw(x))
        td = agent.act(inputs(agent), explore=True)
    plan = agent._last[2]
    assert torch.equal(td["plan_std"], plan.std[:, 0, 0])
    for env in range(2):
        elites = plan.actions[env, 0, plan.weights[env, 0] > 0, 0]
        assert (elites == td["plan_mean"][env]).all(-1).any()
    torch.testing.assert_close(td["action"], (td["plan_mean"] + noise * td["plan_std"]).clamp(-1, 1))
    assert td["action"][1].tolist() == [1.0, -1.0]
    std = torch.tensor([0.5, 2.0]).expand(20_000, 2)
    explored = agent.explore(td.new_zeros(20_000), torch.ones(20_000, 2), std)
    torch.testing.assert_close(explored.std(0), std[0], rtol=0.03, atol=0)
    torch.testing.assert_close(explored.mean(0), torch.ones(2), rtol=0, atol=0.06)


def test_evaluation_executes_an_elite_without_noise():
    agent = shaken()
    td = agent.act(inputs(agent, num_envs=30), explore=False)
    plan = agent._last[2]
    taken = (plan.actions[:, 0, :, 0] == td["action"][:, None]).all(-1)
    assert (taken & (plan.weights[:, 0] > 0)).any(-1).all()
    assert ((plan.weights > 0).sum(-1) == 4).all()
    torch.testing.assert_close(td["plan_mean"], plan.mean[:, 0, 0])
    best = plan.weights[:, 0].argmax(-1)
    assert not taken[torch.arange(30), best].all()  # drawn by weight: not always the best


def test_greedy_evaluation_executes_the_best_elite_and_exploring_draws_one():
    agent = shaken(greedy_evaluation=True, transitions=21)
    best = []
    for explore in (False, True):
        td = agent.act(inputs(agent, num_envs=30), explore=explore)
        plan = agent._last[2]
        taken = td["plan_mean"] if explore else td["action"]
        first = plan.actions[torch.arange(30), 0, plan.costs[:, 0].argmin(-1), 0]
        best.append((taken == first).all(-1))
    assert best[0].all()
    assert not best[1].all()


@pytest.mark.parametrize(("transitions", "explore"), [(0, True), (21, True), (21, False)])
def test_entries_of_an_action_that_the_task_ignores_are_zero(transitions, explore):
    options = {"tasks": tiny.tasks(), "observation_dim": 4, "discount": None, "virtual_ratio": 0.5, "virtual_count": 2}
    agent = shaken(transitions, **options)
    td = inputs(agent, num_envs=6)
    td["observation"][:, -1] = torch.arange(6) % 2
    td = agent.act(td, explore=explore)
    assert ((td["action"] == 0) == torch.tensor([[False, True], [False, False]] * 3)).all()
    if explore:  # the stored sequences have only the actions of the task, at every step
        assert (td["planned"][::2, ..., 1] == 0).all()
        assert (td["planned"][1::2, ..., 1] != 0).all()


def test_elites_are_drawn_as_often_as_they_weigh():
    agent = shaken(planner={"temperature": 0.3})
    plan = agent.planner.plan(agent.encode(torch.randn(1, 3)))
    many = plan.expand(20_000, 1).contiguous()
    drawn = agent.planner.select(many)[:, 0]
    for sample in plan.weights[0, 0].nonzero().flatten().tolist():
        share = (drawn == plan.actions[0, 0, sample, 0]).all(-1).float().mean().item()
        assert share == pytest.approx(plan.weights[0, 0, sample].item(), abs=0.015)


def test_evaluation_leaves_the_plans_of_training_alone():
    """The planner keeps no state, so a decision in between changes no number."""
    agent, results = shaken(), []
    for disturbed in (False, True):
        if disturbed:
            agent.act(inputs(agent, num_envs=5), explore=False)
        torch.manual_seed(1)
        results.append(agent.act(inputs(agent), explore=False)["action"])
    assert torch.equal(*results)


# -- precision and compilation ----------------------------------------------------------------------------------------


def test_bfloat16_products_change_a_plan_little():
    """Measured on processors with bfloat16 units: 0.02 on average for plans with a standard deviation of 0.4."""
    means = []
    for precision in ("highest", "medium"):
        torch.manual_seed(2)
        options = {"matmul_precision": precision, "num_samples": 64, "num_elites": 16, "num_iterations": 4}
        agent = shaken(planner=options, mlp_dim=64, latent_dim=64)
        plan = agent.planner.plan(agent.encode(torch.randn(64, 3)), noise=torch.randn(4, 64, 1, 64, 3, 2))
        means.append(plan.mean)
    assert means[0].std() > 0.2
    assert (means[0] - means[1]).abs().mean() < 0.08


@pytest.mark.parametrize("batch", [1, 8])
def test_centred_products_keep_the_order_of_the_samples(batch):
    means = []
    for precision in ("highest", "centred"):
        torch.manual_seed(2)
        options = {"matmul_precision": precision, "num_samples": 64, "num_elites": 16, "num_iterations": 4}
        agent = shaken(planner=options, mlp_dim=64, latent_dim=64, episodic=True)
        noise = torch.randn(4, batch, 1, 64, 3, 2)
        torch.manual_seed(3)
        state = agent.encode(torch.randn(batch, 3))
        means.append(agent.planner.plan(state, noise=noise, terminal_value=agent.terminal_value()).mean)
    assert (means[0] - means[1]).abs().mean() < 0.02
    assert not torch.equal(*means)


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="needs a C++ compiler")
def test_a_compiled_plan_equals_the_plan_from_the_same_numbers():
    plans = []
    for compile in (False, True):
        torch.manual_seed(2)
        planner = {"compile": compile, "horizon": 1, "num_iterations": 1}
        agent = shaken(planner=planner, compile=compile, policy="clamped", log_std_min=-12.0, log_std_max=-11.0)
        torch.manual_seed(3)
        state = agent.encode(torch.randn(4, 3))
        plans.append(
            agent.planner.plan(state, noise=torch.randn(1, 4, 1, 16, 1, 2), terminal_value=agent.terminal_value())
        )
    torch.testing.assert_close(plans[1].costs, plans[0].costs, rtol=1e-4, atol=1e-4)
    assert plans[0].costs.std() > 0


def test_compiling_wraps_rollout_and_cost_in_one_graph(monkeypatch):
    compiled, plans = [], []
    monkeypatch.setattr("pompc.planner.scoring.require_compiler", lambda what: None)
    monkeypatch.setattr(torch, "compile", lambda function, **options: compiled.append(options) or function)
    imagination = Imagination(shaken(episodic=True).model)
    state, noise = imagination.model.encode(torch.randn(2, 3)), torch.randn(2, 2, 1, 16, 3, 2)
    for compile in (False, True):
        config = dataclasses.replace(tiny.config().planner, compile=compile)
        plans.append(MPPI(config, imagination, imagination, 2).plan(state, noise=noise))
    assert compiled
    assert not any(options["dynamic"] for options in compiled)
    assert torch.equal(plans[0].mean, plans[1].mean)
