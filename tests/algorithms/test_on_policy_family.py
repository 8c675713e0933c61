"""ppo and adaptive_hrl on one base class: special cases, on-policy correctness, every option."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from line import Line, LineConfig, LineModel
from tensordict import TensorDict
from torch.distributions import Normal
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.agent import Problem
from pompc.algorithms import adaptive_hrl
from pompc.algorithms.adaptive_hrl import AdaptiveHRL, AdaptiveHRLConfig
from pompc.algorithms.mppi import MPPIAgent, MPPIAgentConfig
from pompc.algorithms.ppo import PPO, PPOConfig
from pompc.data.collector import make_collector
from pompc.errors import NonFiniteError, UserError
from pompc.learning.candidates import SELECTORS, candidate_cross_entropy, candidate_decisions
from pompc.learning.schedules import ScheduleConfig
from pompc.learning.virtual import MIXES, virtual_targets
from pompc.planner import MPPIConfig

FAMILY = Line(LineConfig())
SMALL = {"batch_size": 64, "minibatch": 16, "epochs": 2, "learning_rate_decay": 1.0}
PLANNER = MPPIConfig(horizon=5, num_samples=8, num_zero_mean=2)


def problem(num_envs=4):
    return Problem(
        observation_dim=1,
        action_dim=1,
        num_envs=num_envs,
        task_model=FAMILY.task_model,
        device=torch.device("cpu"),
    )


def hierarchical(**options):
    return AdaptiveHRL(AdaptiveHRLConfig(**{"planner": PLANNER, "decision_steps": 1, **SMALL, **options}), problem())


def collect(agent, batches=1):
    env = FAMILY.vectorise(agent.problem.num_envs, seed=0)
    collector = make_collector(env, agent, agent.frames_per_batch)
    out = [data.clone() for data, _ in zip(collector, range(batches), strict=False)]
    collector.shutdown()
    return out


def first_step(agent):
    """What the agent sees at the start of three episodes that begin at the origin."""
    td = TensorDict({"observation": torch.zeros(3, 1), "is_init": torch.ones(3, 1, dtype=torch.bool)}, batch_size=[3])
    return td.update({name: spec.zero(torch.Size([3])) for name, spec in agent.primers().items()})


def test_rho_zero_with_one_value_is_ppo_on_high_level_actions():
    """On the same transitions the hierarchical agent without virtual data makes PPO's update to the last bit."""
    hrl = hierarchical(virtual_ratio=0.0, ensemble_size=1, bootstrap=1.0)
    ppo = PPO(PPOConfig(**SMALL), problem())
    ppo.actor.load_state_dict(hrl.actor.state_dict())
    ppo.values.load_state_dict(hrl.values.state_dict())
    (data,) = collect(hrl)
    torch.manual_seed(1)
    first = hrl.learn(data.clone())
    torch.manual_seed(1)
    second = ppo.learn(data.clone())
    assert first["loss_policy"] == second["loss_policy"]
    for a, b in zip(hrl.parameters(), ppo.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("make", [hierarchical, lambda: PPO(PPOConfig(**SMALL), problem())])
def test_recorded_log_probabilities_are_those_of_the_policy_that_learns(make):
    agent = make()
    for data in collect(agent, 1):
        agent.learn(data)
    (data,) = collect(agent)
    batch = agent.real_batch(data)
    losses = agent.ppo(batch)
    assert losses["clip_fraction"].item() == 0
    assert abs(losses["kl_approx"].item()) < 1e-6


def test_the_executed_candidate_is_one_of_m_chosen_uniformly():
    agent = hierarchical(virtual_policy=True)
    (data,) = collect(agent)
    drawn = data["candidates", "drawn"]
    assert drawn.shape == (4, 16, 4, 1)
    match = (drawn == data["policy_action"].unsqueeze(2)).all(-1)
    assert (match.sum(-1) == 1).all()
    counts = torch.zeros(4)
    for _ in range(500):
        counts += torch.bincount(SELECTORS["uniform"](agent._last[2], None), minlength=4)
    assert (counts / counts.sum() - 0.25).abs().max() < 0.03


def test_acting_without_exploration_uses_one_candidate_and_writes_only_the_action():
    agent = hierarchical()
    env = FAMILY.vectorise(2, seed=0)
    td = env.reset()
    td["is_init"] = torch.ones(2, 1, dtype=torch.bool)
    td.update({name: spec.zero(torch.Size([2])) for name, spec in agent.primers().items()})
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        steps = agent.model_steps
        out = agent(td)
    assert agent.model_steps - steps == 2 * 1 * 8 * 5
    assert "virtual" not in out.keys()  # noqa: SIM118 - a TensorDict
    assert out["action"].abs().max() <= 1


def test_the_plan_is_kept_for_execute_steps():
    agent = hierarchical(execute_steps=3)
    (data,) = collect(agent)
    decided = data["decided"][..., 0]
    assert decided[:, :9].tolist() == [[1, 0, 0] * 3] * 4
    held = data["next", "planner_mean"][:, 0, 0]
    torch.testing.assert_close(data["action"][:, 1], held)


def test_a_decision_is_kept_for_decision_steps_while_the_planner_replans():
    agent = hierarchical(decision_steps=4, virtual_policy=True)
    (data,) = collect(agent)
    decided = data["decided"][..., 0]
    assert decided[:, :8].tolist() == [[1, 0, 0, 0] * 2] * 4
    actions = data["policy_action"][..., 0]
    assert (actions[:, :4] == actions[:, :1]).all()
    assert (actions[:, 4] != actions[:, 0]).all()
    assert (data["action"][:, 1] != data["next", "planner_mean"][:, 0, 0]).any()
    held = decided == 0
    assert (data["candidates", "drawn"][held][:, 0, 0] == actions[held]).all()
    losses = agent.ppo(agent.real_batch(data)[decided.flatten() > 0])
    assert losses["clip_fraction"] == 0


@pytest.mark.parametrize(
    "options",
    [
        {"virtual_source": "all"},
        {"virtual_source": "others_plus_rest", "mix": "loss"},
        {"virtual_source": "nominal", "kl_weight": 0.1},
        {"virtual_policy": True, "execute_steps": 2, "decision_steps": 4},
        {"virtual_policy": True, "decision_steps": 16, "minibatch": 4},  # minibatches without a decision
        {"selector": "softmax_value", "value_weight": 1.0, "virtual_window": 3},
        {"selector": "argmin_cost", "virtual_ratio": 0.8},
        {"start_at_nominal": False, "normalise_observation": False, "normalise_reward": False},
    ],
)
def test_every_option_learns_and_reports_the_same_finite_metrics(options):
    agent = hierarchical(**options)
    before = [p.clone() for p in agent.parameters()]
    metrics = [agent.learn(data) for data in collect(agent, 3)]
    assert metrics[0].keys() == metrics[2].keys()
    assert all(torch.isfinite(torch.tensor(list(m.values()))).all() for m in metrics)
    assert any(not torch.equal(a, b) for a, b in zip(before, agent.parameters(), strict=True))
    assert metrics[0]["virtual_rows"] > 0


@pytest.mark.parametrize(
    ("mix", "rho", "real", "virtual"),
    [
        ("sampling", 0.5, [8] * 8, 8),
        ("sampling", 0.25, [11] * 4 + [10] * 2, 4),
        ("loss", 0.5, [16] * 4, 16),
        ("loss", 0.25, [16] * 4, 16),
        ("sampling", 0.0, [16] * 4, 0),
        ("loss", 0.0, [16] * 4, 0),
    ],
)
def test_a_minibatch_holds_the_rows_and_weights_that_mix_and_rho_say(mix, rho, real, virtual):
    agent = hierarchical(mix=mix, virtual_ratio=rho)
    rows = [TensorDict({"row": start + torch.arange(64)}, batch_size=[64]) for start in (0, 1000)]
    steps = list(agent.minibatches(*rows))
    assert [len(batch) for batch, _ in steps] == real * 2  # two epochs
    assert sorted(torch.cat([batch["row"] for batch, _ in steps]).tolist()) == sorted([*range(64), *range(64)])
    for batch, groups in steps:
        expected = [(1 - rho, len(batch)), (rho, virtual)]
        assert [(weight, len(rows)) for weight, rows in groups] == expected[: 2 if rho else 1]
        assert groups[0][1] is batch
        if rho:
            assert groups[1][1]["row"].min() >= 1000
            assert groups[1][1]["mask"].shape == (virtual, 5)


@pytest.mark.parametrize("rho", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("mix", MIXES)
def test_virtual_targets_have_the_share_rho_of_the_value_loss(mix, rho):
    agent = hierarchical(
        mix=mix, virtual_ratio=0.5, batch_size=32, bootstrap=1.0
    )  # every value function sees every row
    (data,) = collect(agent)
    real, virtual = agent.real_batch(data), agent.virtual_batch(data)
    virtual["value_target"].fill_(1e6)  # so far out the Huber loss is the distance
    agent.virtual_ratio.value = rho
    losses = [agent.step(*rows)["loss_value"] for rows in agent.minibatches(real, virtual)]
    assert losses == pytest.approx([rho * 1e6] * len(losses), rel=1e-3, abs=10)


def test_virtual_rows_move_the_values_and_leave_the_policy_as_it_is():
    first, second = hierarchical(virtual_ratio=0.5), hierarchical(virtual_ratio=0.5)
    second.load_state_dict(first.state_dict())
    (data,) = collect(first)
    batch, groups = next(first.minibatches(first.real_batch(data), first.virtual_batch(data)))
    first.step(batch, groups)
    second.step(batch, groups[:1])
    for a, b in zip(first.actor.parameters(), second.actor.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.values.biases[-1], second.values.biases[-1])


@pytest.mark.parametrize(
    ("decay", "ratios", "rows"), [(0.5, [0.3, 0.15], [6, 3]), (0.1, [0.3, 0.03, 0.003], [6, 1, 0])]
)
def test_rho_decays_after_every_update_and_the_virtual_rows_with_it(decay, ratios, rows, monkeypatch):
    schedule = ScheduleConfig(schedule="exp", initial=0.3, decay=decay)
    agent = hierarchical(virtual_ratio=schedule, batch_size=32, minibatch=20)
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
    monkeypatch.setattr(adaptive_hrl, "model_return", lambda plan, *rest, **scoring: -1e6 * plan.soft_value)
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
    pulled = agent.policy_loss(batch)[0]
    agent.kl_weight.value = 0.0
    free = agent.policy_loss(batch)[0]
    # The policy has not moved: its density at a candidate is the recorded one. Cold, only the best candidate counts.
    weights = weigh(batch["candidates", "returns"]).float()
    density = batch["candidates", "log_prob"]
    expected = -2.0 * ((weights * density).sum(-1) / weights.sum(-1)).mean()
    assert (pulled - free).item() == pytest.approx(expected.item(), rel=1e-3)


@pytest.mark.parametrize(("at_nominal", "mean"), [(True, 0.4), (False, 0.0)])
def test_the_policy_starts_at_the_nominal_cost_parameters(at_nominal, mean, monkeypatch):
    monkeypatch.setattr(LineModel, "nominal", torch.full((1,), 0.4))
    agent = hierarchical(start_at_nominal=at_nominal)
    candidates = agent.cost_parameters(first_step(agent), explore=False)
    assert candidates["drawn"].flatten().tolist() == pytest.approx([mean] * 3)
    # The model maps them to a place on the line, twice as far.
    assert candidates["parameters"].flatten().tolist() == pytest.approx([2 * mean] * 3)


def test_virtual_window_forgets_old_rollouts():
    rows = {}
    for window in (1, 3):
        agent = hierarchical(virtual_window=window, virtual_ratio=0.5)
        rows[window] = [agent.learn(data)["virtual_rows"] for data in collect(agent, 5)]
    assert max(rows[1]) <= 64 * 6 * 5
    assert rows[3][2] > 2 * rows[3][0]
    assert rows[3][4] == pytest.approx(rows[3][2], rel=0.1)


def test_model_errors_on_executed_steps_are_zero_for_the_exact_model():
    agent = hierarchical()
    (data,) = collect(agent)
    metrics = agent.learn(data)
    assert metrics["model_error_max"] < 1e-6
    assert metrics["reward_error_max"] < 1e-6


def test_kl_weight_pulls_the_policy_to_the_better_candidates():
    """With lambda large the policy moves towards candidates of high model return: here, targets near the origin."""
    spread = {}
    for weight in (0.0, 3.0):
        torch.manual_seed(3)
        agent = hierarchical(kl_weight=weight, epochs=10, learning_rate=3e-3, virtual_ratio=0.0)
        for data in collect(agent, 6):
            agent.learn(data)
        spread[weight] = agent.actor.log_std.exp().item()
    assert spread[3.0] < spread[0.0] - 0.05


def test_training_state_restores_the_agent_to_the_last_bit(tmp_path):
    first, second = hierarchical(virtual_window=2), hierarchical(virtual_window=2)
    batches = collect(first, 2)
    first.learn(batches[0])
    torch.save({"module": first.state_dict(), "training": first.training_state()}, tmp_path / "agent.pt")
    state = torch.load(tmp_path / "agent.pt", weights_only=True)
    second.load_state_dict(state["module"])
    second.load_training_state(state["training"])
    results = []
    for agent in (first, second):
        torch.manual_seed(9)
        results.append(agent.learn(batches[1].clone()))
    assert results[0] == results[1]
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_non_finite_loss_stops_by_name():
    agent = hierarchical()
    (data,) = collect(agent)
    data["next", "reward"][0, 3] = torch.nan
    with pytest.raises(NonFiniteError, match=r"loss|uncertainty"):
        agent.learn(data)


def test_mppi_plans_with_the_nominal_cost_and_learns_nothing():
    agent = MPPIAgent(MPPIAgentConfig(planner=replace(PLANNER, num_samples=64), batch_size=64), problem())
    (data,) = collect(agent)
    assert data["next", "observation"][:, 10:].abs().mean() < 0.4
    assert not list(agent.parameters())
    assert agent.learn(data)["reward"] < 0
    with pytest.raises(UserError, match="batch_size must be positive, not 0"):
        MPPIAgentConfig(batch_size=0)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"selector": "best"}, "uniform, argmin_cost"),
        ({"virtual_source": "some"}, "weighted"),
        ({"mix": "half"}, "sampling, loss"),
        ({"candidates": 1}, "at least 2"),
        ({"virtual_ratio": 1.2}, "virtual_ratio"),
        ({"virtual_ratio": 1.0}, "algo.mix=loss"),
        ({"epochs": 0}, "algo.epochs"),
        ({"initial_std": 0.0}, "algo.initial_std"),
        ({"discount": 1.5}, "algo.discount"),
        ({"execute_steps": 2, "planner": MPPIConfig(stochastic=True)}, "algo.execute_steps=1"),
    ],
)
def test_bad_options_are_refused_by_name(options, word):
    with pytest.raises(UserError, match=word):
        hierarchical(**options)
