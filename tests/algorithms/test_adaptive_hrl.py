"""Candidates and options of adaptive_hrl agree with their definitions."""

import math
from types import SimpleNamespace

import pytest
import torch
from hierarchy import PLANNER, collect, first_step, hierarchical, problem
from line import LineModel
from tensordict import TensorDict
from torch.distributions import Normal

from pompc.algorithms import adaptive_hrl
from pompc.algorithms.adaptive_hrl import AdaptiveHRL, AdaptiveHRLConfig
from pompc.dial import ScheduleConfig
from pompc.errors import UserError
from pompc.onpolicy.candidates import SELECTORS, candidate_cross_entropy, candidate_decisions
from pompc.planner import MPPIConfig


def test_candidate_returns_are_scaled_when_they_are_used():
    """The reward scale has moved since the recording: it changes the rewards, and not the last value."""
    agent = hierarchical(virtual_policy=True)
    (data,) = collect(agent)
    recorded = data["candidates"].flatten(0, 1)
    for scale in (1.0, 0.5, 0.001):
        agent.return_scale.moments.var.fill_(1 / scale**2)
        returns = agent.real_batch(data)["candidates", "returns"]
        torch.testing.assert_close(returns, scale * recorded["rewards"] + recorded["final_value"])


def test_selectors_take_the_cheapest_plan_or_draw_by_model_return():
    plan = SimpleNamespace(soft_value=torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 9.0]]))
    assert SELECTORS["argmin_cost"](plan, None).tolist() == [1, 0]
    odds = torch.tensor([1.0, 3.0, 4.0])
    drawn = SELECTORS["softmax_value"](plan, odds.log().expand(4000, 3))
    torch.testing.assert_close(drawn.bincount() / 4000, odds / 8, atol=0.03, rtol=0)


@pytest.mark.parametrize("selector", ["argmin_cost", "softmax_value"])
@torch.no_grad()
def test_the_selected_candidate_is_executed_and_recorded(selector, monkeypatch):
    # With these returns only the candidate of the cheapest plan is drawn.
    parts = lambda plan, *rest, **scoring: (-1e6 * plan.soft_value, torch.zeros(plan.batch_size))  # noqa: E731
    monkeypatch.setattr(adaptive_hrl, "model_return", parts)
    agent = hierarchical(selector=selector, kl_weight=1.0)  # lambda > 0 records all candidates
    td = agent.act(first_step(agent), explore=True)
    _, mean, plan, chosen = agent._last
    assert torch.equal(chosen, plan.soft_value.argmin(-1))
    assert len(chosen.unique()) > 1
    envs = torch.arange(3)
    assert torch.equal(mean, plan.mean[envs, chosen])
    assert torch.equal(td["action"], mean[:, 0].clamp(-1, 1))
    for recorded, entry in (("policy_action", "drawn"), ("log_prob", "log_prob")):
        assert torch.equal(td[recorded], td["candidates", entry][envs, chosen])


@torch.no_grad()
def test_terminal_value_weight_subtracts_the_learned_value_in_units_of_reward_from_the_cost():
    plans = []
    for weight in (0.0, 2.0):
        torch.manual_seed(0)
        agent = hierarchical(terminal_value_weight=weight)
        agent.return_scale.moments.var.fill_(4.0)  # rewards count half in the values
        agent.act(first_step(agent), explore=False)
        plans.append(agent._last[2])
    plain, valued = plans
    state = agent.encode(first_step(agent)["observation"])
    last = agent.planner.rollout(state, plain.actions)[..., -1, :]  # five steps from the origin no episode has ended
    torch.testing.assert_close(plain.costs - valued.costs, 2.0 / 0.5 * agent.values(last).mean(0))


def test_the_policy_learns_only_where_it_decided():
    agent = hierarchical(decision_steps=4)
    (data,) = collect(agent)
    batch = agent.real_batch(data)
    decided = batch["decided"][:, 0] > 0
    assert 0 < decided.sum() < 64
    # The policy has not moved yet, so its surrogate is the mean advantage of the steps that made a decision.
    loss = agent.policy_loss(batch)[0]
    assert loss.item() == pytest.approx(-batch["advantage"][decided].mean().item(), abs=1e-6)
    assert agent.policy_loss(batch[~decided])[0] == 0


def test_virtual_policy_learns_from_the_other_candidates_with_weight_rho():
    agent = hierarchical(virtual_policy=True, virtual_ratio=0.5)
    (data,) = collect(agent)
    batch = agent.real_batch(data)
    with_others = agent.policy_loss(batch)[0]
    agent.virtual_ratio.value = 0.0
    without = agent.policy_loss(batch)[0]
    # The policy has not moved yet, so it gains the mean advantage of the other candidates.
    advantage = batch["candidates", "returns"] - batch["value"].unsqueeze(-1)
    others = (batch["candidates", "drawn"] != batch["policy_action"].unsqueeze(1)).all(-1)
    expected = ((advantage - advantage.mean()) / advantage.std())[others].mean()
    assert (with_others - without).item() == pytest.approx(-0.5 * expected.item(), abs=1e-5)
    assert abs(expected) > 1e-3


def test_other_candidates_are_decisions_with_model_returns_for_advantages():
    candidates = {
        "drawn": torch.tensor([[[0.1], [0.2], [0.3]], [[0.4], [0.5], [0.6]]]),
        "log_prob": torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]]),
        "returns": torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
    }
    batch = {
        "observation": torch.tensor([[7.0], [8.0]]),
        "policy_action": torch.tensor([[0.1], [0.6]]),  # the first candidate was executed, then the third
        "value": torch.tensor([1.0, 2.0]),
        "candidates": TensorDict(candidates, batch_size=[2]),
    }
    decisions = candidate_decisions(TensorDict(batch, batch_size=[2]))
    assert decisions["observation"].flatten().tolist() == [7, 7, 8, 8]
    torch.testing.assert_close(decisions["policy_action"].flatten(), torch.tensor([0.2, 0.3, 0.4, 0.5]))
    assert decisions["log_prob"].tolist() == [-2, -3, -4, -5]
    # Returns less values are 0 1 2 and 2 3 4; over all candidates their mean is 2 and their variance 10 / 5.
    expected = torch.tensor([-1.0, 0.0, 0.0, 1.0]) / math.sqrt(2)
    torch.testing.assert_close(decisions["advantage"].flatten(), expected)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_planner_is_a_softmax_over_returns_in_units_of_their_standard_deviation(temperature):
    returns = torch.tensor([[0.0, 2.0], [9.0, 7.0]])
    drawn = torch.tensor([[[0.0, 0.1], [1.0, -1.0]], [[0.5, 0.5], [2.0, 0.0]]])
    mean, std = torch.tensor([[0.0, 0.0], [1.0, 0.5]]), torch.full((2, 2), 0.7)
    better = 1 / (
        1 + math.exp(-2 / math.sqrt(4 / 3) / temperature)
    )  # the returns lie one below and one above their mean
    density = Normal(mean.unsqueeze(1), std.unsqueeze(1)).log_prob(drawn).sum(-1)
    expected = -torch.tensor([[1 - better, better], [better, 1 - better]]) * density
    candidates = TensorDict({"drawn": drawn, "returns": returns}, batch_size=[2])
    torch.testing.assert_close(candidate_cross_entropy(mean, std, candidates, temperature), expected.sum(-1))


@pytest.mark.parametrize(
    ("temperature", "weigh"), [(1e-6, lambda x: x == x.amax(-1, keepdim=True)), (1e6, torch.ones_like)]
)
def test_kl_weight_adds_the_pull_to_the_planner_at_its_temperature(temperature, weigh):
    agent = hierarchical(kl_weight=2.0, planner_kl_temperature=temperature)
    (data,) = collect(agent)
    batch = agent.real_batch(data)
    pulled, metrics = agent.policy_loss(batch)
    assert metrics["kl_grad_norm"] > 0
    assert metrics["return_grad_norm"] > 0
    assert (pulled + metrics["return_term"] - 2.0 * metrics["kl_term"]).abs() < 1e-2, "except for the entropy bonus"
    agent.kl_weight.value = 0.0
    free, without = agent.policy_loss(batch)
    assert metrics.keys() - without.keys() == {"return_term", "kl_term", "return_grad_norm", "kl_grad_norm"}
    # The policy has not moved, so its density is the recorded one. At low temperature only the best candidate counts.
    weights = weigh(batch["candidates", "returns"]).float()
    density = batch["candidates", "log_prob"]
    expected = -2.0 * ((weights * density).sum(-1) / weights.sum(-1)).mean()
    assert (pulled - free).item() == pytest.approx(expected.item(), rel=1e-3)


def test_the_terms_that_lambda_weighs_are_logged_and_logging_changes_nothing():
    """Both terms and the norms of their gradients are logged before their weights; they make the loss's gradient."""
    agent = hierarchical(kl_weight=2.0, entropy_coef=0.0)
    (data,) = collect(agent)
    batch = agent.real_batch(data)
    loss, metrics = agent.policy_loss(batch)
    assert loss.item() == pytest.approx(-metrics["return_term"] + 2.0 * metrics["kl_term"], rel=1e-4)
    assert metrics["kl_term"] == pytest.approx(agent.planner_kl(batch).mean().item(), rel=1e-4)
    (loss).backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in agent.actor.parameters()]).item()
    parts = metrics["return_grad_norm"], 2.0 * metrics["kl_grad_norm"]
    assert abs(parts[0] - parts[1]) <= norm <= sum(parts) * 1.0001
    learned = agent.learn(data)
    assert learned["kl_grad_norm"] > 0
    assert learned["return_grad_norm"] > 0


@pytest.mark.parametrize(("at_nominal", "mean"), [(True, 0.4), (False, 0.0)])
def test_the_policy_starts_at_the_nominal_cost_parameters(at_nominal, mean, monkeypatch):
    monkeypatch.setattr(LineModel, "nominal", torch.full((1,), 0.4))
    agent = hierarchical(start_at_nominal=at_nominal)
    candidates = agent.cost_parameters(first_step(agent), explore=False)
    assert candidates["drawn"].flatten().tolist() == pytest.approx([mean] * 3)
    # The model maps them to a place on the line, twice as far.
    assert candidates["parameters"].flatten().tolist() == pytest.approx([2 * mean] * 3)


@pytest.mark.parametrize("mix", ["loss", "sampling"])
def test_the_automatic_ratio_is_that_of_what_the_update_logs(mix):
    automatic = ScheduleConfig(schedule="auto", ema=0.0)
    agent = hierarchical(virtual_ratio=automatic, mix=mix, batch_size=128, decision_steps=2)
    used = []
    for data in collect(agent, 3):
        news = agent.evidence(data, agent.virtual_batch(data))
        metrics = agent.learn(data)
        used.append(metrics["virtual_ratio"])
        odds = metrics["real_error"] / max(metrics["virtual_error"], 1e-12) * news.real_news / news.virtual_news
        assert agent.virtual_ratio.value == pytest.approx(min(odds / (1 + odds), 0.5), rel=1e-3)
    assert used[0] == 0.3
    assert len(set(used)) == 3


def test_a_ratio_of_zero_still_measures_and_can_rise():
    """With ``sampling`` a small ratio draws no virtual transition; the rollouts are recorded all the same."""
    agent = hierarchical(virtual_ratio=ScheduleConfig(schedule="auto", initial=0.0), mix="sampling")
    (data,) = collect(agent)
    metrics = agent.learn(data)
    assert metrics["virtual_ratio"] == 0
    assert metrics["virtual_transitions"] > 0
    assert agent.virtual_ratio.value > 0


def test_rollouts_that_are_executed_in_an_exact_model_have_no_bias_and_open_the_ratio():
    """Plans without noise never move the point, in the model and in the environment."""
    options = {"candidates": 1, "virtual_source": "executed", "batch_size": 128, "minibatch_size": 64}
    planner = MPPIConfig(horizon=4, num_samples=8, init_std=0.0)
    config = AdaptiveHRLConfig(virtual_ratio=ScheduleConfig(schedule="auto"), planner=planner, **options)
    agent = AdaptiveHRL(config, problem(num_envs=16))  # two of similar value in each of the groups
    (data,) = collect(agent)
    assert agent.learn(data)["virtual_error"] == pytest.approx(0.0, abs=1e-6)
    assert agent.virtual_ratio.value == 0.5


def test_the_automatic_ratio_needs_two_environments():
    config = AdaptiveHRLConfig(virtual_ratio=ScheduleConfig(schedule="auto"), planner=PLANNER)
    with pytest.raises(UserError, match="num_envs=2"):
        AdaptiveHRL(config, problem(num_envs=1))
