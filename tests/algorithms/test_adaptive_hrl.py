"""adaptive_hrl: what rho, the candidates and its options do, by definition."""

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hierarchy import collect, first_step, hierarchical
from line import LineModel
from tensordict import TensorDict
from torch.distributions import Normal

from pompc.algorithms import adaptive_hrl
from pompc.learning.candidates import SELECTORS, candidate_cross_entropy, candidate_decisions
from pompc.learning.schedules import ScheduleConfig
from pompc.learning.virtual import MIXES, bootstrapped_share, virtual_targets


@pytest.mark.parametrize(
    ("mix", "rho", "real", "virtual"),
    [
        ("sampling", 0.5, 8, 8),
        ("sampling", 0.25, 12, 4),
        ("sampling", 1.0, 0, 16),
        ("loss", 0.5, 16, 16),
        ("loss", 0.25, 16, 16),
        ("loss", 1.0, 0, 16),
        ("sampling", 0.0, 16, 0),
        ("loss", 0.0, 16, 0),
    ],
)
def test_a_minibatch_holds_the_rows_and_weights_that_mix_and_rho_say(mix, rho, real, virtual):
    agent = hierarchical(mix=mix, virtual_ratio=rho)
    rows = [TensorDict({"row": start + torch.arange(64)}, batch_size=[64]) for start in (0, 1000)]
    steps = list(agent.minibatches(*rows, [torch.randperm(64) for _ in range(2)]))
    assert [len(batch) for batch, _ in steps] == [16] * 8  # two epochs, whatever rho is
    assert sorted(torch.cat([batch["row"] for batch, _ in steps]).tolist()) == sorted([*range(64), *range(64)])
    for batch, groups in steps:
        shares = [(1 - rho, real), (rho, virtual)]
        assert [(weight, len(rows)) for weight, rows in groups] == [share for share in shares if share[1]]
        if real:
            assert torch.equal(groups[0][1]["row"], batch["row"][:real])
        if virtual:
            assert groups[-1][1]["row"].min() >= 1000
            assert groups[-1][1]["mask"].shape == (virtual, 5)


@pytest.mark.parametrize("mix", MIXES)
def test_rho_changes_the_values_and_nothing_else(mix):
    """Updates on the same transitions: the gradient steps, the rate and the policy are equal to the last bit."""
    agent = hierarchical(mix=mix, virtual_ratio=0.5)
    (data,) = collect(agent)
    start = {key: value.clone() for key, value in agent.state_dict().items()}
    steps, policies, values = set(), [], []
    for rho in (0.0, 0.1, 0.3, 0.5, 0.8, 1.0):
        other = hierarchical(mix=mix, virtual_ratio=rho)
        other.load_state_dict(start)
        torch.manual_seed(1)
        metrics = other.learn(data.clone())
        steps.add((metrics["gradient_steps"], metrics["learning_rate"]))
        policies.append(torch.cat([p.detach().flatten() for p in other.actor.parameters()]))
        values.append(torch.cat([p.detach().flatten() for p in other.values.parameters()]))
    assert steps == {(8.0, 7e-4)}  # two epochs of four minibatches
    assert all(torch.equal(policy, policies[0]) for policy in policies)
    assert not any(torch.equal(a, b) for a, b in pairwise(values))


@pytest.mark.parametrize("rho", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("mix", MIXES)
def test_virtual_targets_have_the_share_rho_of_the_value_loss(mix, rho):
    # Every value function sees every row, and virtual rows weigh as real ones do.
    agent = hierarchical(mix=mix, virtual_ratio=0.5, batch_size=32, bootstrap=1.0, virtual_weight="equal")
    (data,) = collect(agent)
    real, virtual = agent.real_batch(data), agent.virtual_batch(data)
    virtual["value_target"].fill_(1e6)  # so far out the Huber loss is the distance
    agent.virtual_ratio.value = rho
    losses = [agent.step(*rows)["loss_value"] for rows in agent.minibatches(real, virtual, [torch.randperm(32)])]
    assert losses == pytest.approx([rho * 1e6] * len(losses), rel=1e-3, abs=10)


def test_virtual_rows_move_the_values_and_leave_the_policy_as_it_is():
    first, second = hierarchical(virtual_ratio=0.5), hierarchical(virtual_ratio=0.5)
    second.load_state_dict(first.state_dict())
    (data,) = collect(first)
    batch, groups = next(first.minibatches(first.real_batch(data), first.virtual_batch(data), [torch.arange(64)]))
    first.step(batch, groups)
    second.step(batch, groups[:1])
    for a, b in zip(first.actor.parameters(), second.actor.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.values.biases[-1], second.values.biases[-1])


@pytest.mark.parametrize(
    ("decay", "ratios", "rows"), [(0.5, [0.3, 0.15], [5, 2]), (0.2, [0.3, 0.06, 0.012], [5, 1, 0])]
)
def test_rho_decays_after_every_update_and_the_virtual_rows_with_it(decay, ratios, rows, monkeypatch):
    schedule = ScheduleConfig(schedule="exp", initial=0.3, decay=decay)
    agent = hierarchical(virtual_ratio=schedule, batch_size=32, minibatch=20, mix="sampling")
    step, counts = agent.step, []

    def count(batch, groups):
        counts[-1].add(sum(len(rows) for _, rows in groups[1:]))
        return step(batch, groups)

    monkeypatch.setattr(agent, "step", count)
    for ratio, number in zip(ratios, rows, strict=True):
        counts.append(set())
        (data,) = collect(agent)
        metrics = agent.learn(data)
        assert metrics["virtual_ratio"] == pytest.approx(ratio)
        assert counts[-1] == {number}
        assert (metrics["virtual_rows"] > 0) == (number > 0) == ("virtual" in set(data.keys()))


def test_a_virtual_row_weighs_as_it_says_more_than_the_value_function():
    """Rows at the end of a rollout are bootstrapped at once and hardly pull; the weights are not averaged away."""
    agent = hierarchical(discount=0.998, gae_lambda=0.97)
    (data,) = collect(agent)
    rows = agent.virtual_batch(data)
    bootstrapped = rows["bootstrapped"]
    ends = (data["next", name].squeeze(-1) for name in ("done", "terminated"))
    real = bootstrapped_share(*ends, discount=0.998, gae_lambda=0.97).mean()
    torch.testing.assert_close(rows["weight"], ((1 - bootstrapped) / (1 - real)).clamp_max(1.0))
    assert rows["weight"].max() > 2 * rows["weight"].min()
    rows["mask"] = torch.ones(len(rows), 5)
    full = agent.value_loss(rows)
    rows["weight"] *= 0.5
    assert agent.value_loss(rows).item() == pytest.approx(0.5 * full.item())


def test_candidate_returns_are_scaled_when_they_are_used():
    """The reward scale has moved since they were recorded: rewards follow it, the last value is in its units already."""
    agent = hierarchical(virtual_policy=True)
    (data,) = collect(agent)
    recorded = data["candidates"].flatten(0, 1)
    for scale in (1.0, 0.5, 0.001):
        agent.return_scale.moments.var.fill_(1 / scale**2)
        returns = agent.real_batch(data)["candidates", "returns"]
        torch.testing.assert_close(returns, scale * recorded["rewards"] + recorded["final_value"])


def test_virtual_rows_are_scored_with_the_options_of_the_run():
    agent = hierarchical(discount=0.9, gae_lambda=0.5, virtual_source="nominal")
    (data,) = collect(agent)
    agent.normaliser.update(1 + 2 * torch.randn(100, 1))
    agent.return_scale.moments.var.fill_(4.0)  # rewards count half
    rows = agent.virtual_batch(data)
    states, actions = (data["virtual", name].flatten(0, 2) for name in ("states", "actions"))
    scoring = {"reward_scale": 0.5, "discount": 0.9, "gae_lambda": 0.5}
    expected = virtual_targets(states, actions, LineModel(), agent.mean_value, **scoring)
    torch.testing.assert_close(rows["value_target"].sort().values, expected["value_target"].sort().values)
    standard = agent.normaliser(expected["observation"])
    torch.testing.assert_close(rows["observation"].sort(0).values, standard.sort(0).values)


@pytest.mark.parametrize(
    ("options", "rollouts"),
    [
        ({"virtual_source": "all"}, 16 * 3 * 8),
        ({"virtual_source": "others_plus_rest"}, 16 * (4 * 8 - 1)),
        ({"virtual_source": "weighted", "virtual_count": 2}, 16 * 3 * 2),
        ({"virtual_source": "weighted", "virtual_count": 3, "candidates": 3}, 16 * 2 * 3),
        ({"virtual_source": "nominal", "virtual_count": 3}, 16 * 3),
        ({"virtual_source": "all", "virtual_rollouts": 100}, 100),
    ],
)
def test_an_update_learns_from_the_rollouts_it_names(options, rollouts, monkeypatch):
    """Of 16 transitions, with 4 candidates of 8 samples and 5 steps in a rollout that never ends early."""
    monkeypatch.setattr(LineModel, "terminated", lambda self, state, action, then: then[..., 0] != then[..., 0])
    agent = hierarchical(batch_size=16, virtual_window=2, **options)
    (data,) = collect(agent)
    rows = [agent.learn(data)["virtual_rows"] for _ in range(3)]
    assert rows == [5 * rollouts, 10 * rollouts, 10 * rollouts]  # from the second update on, those of two


def test_selectors_take_the_cheapest_plan_or_draw_by_model_return():
    plan = SimpleNamespace(soft_value=torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 9.0]]))
    assert SELECTORS["argmin_cost"](plan, None).tolist() == [1, 0]
    odds = torch.tensor([1.0, 3.0, 4.0])
    drawn = SELECTORS["softmax_value"](plan, odds.log().expand(4000, 3))
    torch.testing.assert_close(drawn.bincount() / 4000, odds / 8, atol=0.03, rtol=0)


@pytest.mark.parametrize("selector", ["argmin_cost", "softmax_value"])
@torch.no_grad()
def test_the_selected_candidate_is_executed_and_recorded(selector, monkeypatch):
    # Returns by which only the candidate of the cheapest plan is drawn.
    parts = lambda plan, *rest, **scoring: (-1e6 * plan.soft_value, torch.zeros(plan.batch_size))  # noqa: E731
    monkeypatch.setattr(adaptive_hrl, "model_return", parts)
    agent = hierarchical(selector=selector, kl_weight=1.0)  # with it all candidates are recorded
    td = agent.act(first_step(agent), explore=True)
    _, mean, plan, chosen = agent._last
    assert torch.equal(chosen, plan.soft_value.argmin(-1))
    assert len(chosen.unique()) > 1
    rows = torch.arange(3)
    assert torch.equal(mean, plan.mean[rows, chosen])
    assert torch.equal(td["action"], mean[:, 0].clamp(-1, 1))
    for recorded, entry in (("policy_action", "drawn"), ("log_prob", "log_prob")):
        assert torch.equal(td[recorded], td["candidates", entry][rows, chosen])


@torch.no_grad()
def test_value_weight_takes_the_learned_value_off_the_cost_in_units_of_reward():
    plans = []
    for weight in (0.0, 2.0):
        torch.manual_seed(0)
        agent = hierarchical(value_weight=weight)
        agent.return_scale.moments.var.fill_(4.0)  # values are of rewards that count half
        agent.act(first_step(agent), explore=False)
        plans.append(agent._last[2])
    plain, valued = plans
    last = plain.states[..., -1, :]  # five steps from the origin, where no episode has ended
    torch.testing.assert_close(plain.costs - valued.costs, 2.0 / 0.5 * agent.values(last).mean(0))


def test_the_policy_learns_only_where_it_decided():
    agent = hierarchical(decision_steps=4)
    (data,) = collect(agent)
    batch = agent.real_batch(data)
    decided = batch["decided"][:, 0] > 0
    assert 0 < decided.sum() < 64
    # The policy has not moved yet: its surrogate is the mean advantage, here of the steps with a decision of their own.
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
    # The policy has not moved yet: what it gains by the others is their mean advantage.
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
    rows = {
        "observation": torch.tensor([[7.0], [8.0]]),
        "policy_action": torch.tensor([[0.1], [0.6]]),  # the first candidate was executed, and the third
        "value": torch.tensor([1.0, 2.0]),
        "candidates": TensorDict(candidates, batch_size=[2]),
    }
    decisions = candidate_decisions(TensorDict(rows, batch_size=[2]))
    assert decisions["observation"].flatten().tolist() == [7, 7, 8, 8]
    torch.testing.assert_close(decisions["policy_action"].flatten(), torch.tensor([0.2, 0.3, 0.4, 0.5]))
    assert decisions["log_prob"].tolist() == [-2, -3, -4, -5]
    # Returns less value are 0 1 2 and 2 3 4: of all candidates the mean is 2 and the variance 10 / 5.
    expected = torch.tensor([-1.0, 0.0, 0.0, 1.0]) / math.sqrt(2)
    torch.testing.assert_close(decisions["advantage"].flatten(), expected)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_planner_prior_is_a_softmax_over_returns_in_units_of_their_spread(temperature):
    returns = torch.tensor([[0.0, 2.0], [9.0, 7.0]])
    drawn = torch.tensor([[[0.0, 0.1], [1.0, -1.0]], [[0.5, 0.5], [2.0, 0.0]]])
    mean, std = torch.tensor([[0.0, 0.0], [1.0, 0.5]]), torch.full((2, 2), 0.7)
    better = 1 / (1 + math.exp(-2 / math.sqrt(4 / 3) / temperature))  # returns lie one below and one above their mean
    density = Normal(mean.unsqueeze(1), std.unsqueeze(1)).log_prob(drawn).sum(-1)
    expected = -torch.tensor([[1 - better, better], [better, 1 - better]]) * density
    candidates = TensorDict({"drawn": drawn, "returns": returns}, batch_size=[2])
    torch.testing.assert_close(candidate_cross_entropy(mean, std, candidates, temperature), expected.sum(-1))


@pytest.mark.parametrize(
    ("temperature", "weigh"), [(1e-6, lambda x: x == x.amax(-1, keepdim=True)), (1e6, torch.ones_like)]
)
def test_kl_weight_adds_the_planner_prior_at_its_temperature(temperature, weigh):
    agent = hierarchical(kl_weight=2.0, prior_temperature=temperature)
    (data,) = collect(agent)
    batch = agent.real_batch(data)
    pulled, metrics = agent.policy_loss(batch)
    assert metrics["kl_grad_norm"] > 0
    assert metrics["return_grad_norm"] > 0
    assert (pulled + metrics["return_term"] - 2.0 * metrics["kl_term"]).abs() < 1e-2, "but for the entropy bonus"
    agent.kl_weight.value = 0.0
    free, unknown = agent.policy_loss(batch)
    assert unknown.keys() == metrics.keys()
    assert math.isnan(unknown["kl_term"])
    # The policy has not moved: its density at a candidate is the recorded one. Cold, only the best candidate counts.
    weights = weigh(batch["candidates", "returns"]).float()
    density = batch["candidates", "log_prob"]
    expected = -2.0 * ((weights * density).sum(-1) / weights.sum(-1)).mean()
    assert (pulled - free).item() == pytest.approx(expected.item(), rel=1e-3)


def test_what_lambda_weighs_is_logged_and_changes_nothing():
    """Both terms before their weights, and the norms of their gradients: together they make the gradient of the loss."""
    agent = hierarchical(kl_weight=2.0, entropy=0.0)
    (data,) = collect(agent)
    batch = agent.real_batch(data)
    loss, metrics = agent.policy_loss(batch)
    assert loss.item() == pytest.approx(-metrics["return_term"] + 2.0 * metrics["kl_term"], rel=1e-4)
    assert metrics["kl_term"] == pytest.approx(agent.planner_prior(batch).mean().item(), rel=1e-4)
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
