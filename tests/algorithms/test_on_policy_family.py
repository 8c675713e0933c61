"""ppo and adaptive_hrl share one base class: special cases, on-policy correctness, every option."""

from dataclasses import replace

import pytest
import torch
from hierarchy import FAMILY, PLANNER, SMALL, collect, hierarchical, problem
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.algorithms.mppi import MPPIAgent, MPPIAgentConfig
from pompc.algorithms.ppo import PPO, PPOConfig
from pompc.errors import NonFiniteError, UserError
from pompc.onpolicy.candidates import SELECTORS
from pompc.planner import MPPIConfig


def test_rho_zero_with_one_value_is_ppo_on_high_level_actions():
    """Without virtual data the hierarchical agent makes PPO's update on the same transitions, to the last bit."""
    hrl = hierarchical(virtual_ratio=0.0, ensemble_size=1, bootstrap=1.0)
    ppo = PPO(PPOConfig(**SMALL), problem())
    ppo.actor.load_state_dict(hrl.actor.state_dict())
    ppo.values.load_state_dict(hrl.values.state_dict())
    (data,) = collect(hrl)
    torch.manual_seed(1)
    first = hrl.learn(data.clone())
    torch.manual_seed(1)
    second = ppo.learn(data.clone())
    assert first["policy_loss"] == second["policy_loss"]
    for a, b in zip(hrl.parameters(), ppo.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("make", [hierarchical, lambda: PPO(PPOConfig(**SMALL), problem())])
def test_recorded_log_probabilities_are_those_of_the_policy_that_learns(make):
    agent = make()
    for data in collect(agent, 1):
        agent.learn(data)
    (data,) = collect(agent)
    batch = agent.real_batch(data)
    losses = agent.clipped_loss(batch)
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
    agent = hierarchical(execute_steps=3, decision_steps=6)
    (data,) = collect(agent)
    shifted = data["next", "planner_mean"][:, :-1, 0]  # the held plan's action of the next step
    followed = (data["action"][:, 1:] == shifted.clamp(-1, 1)).squeeze(-1)
    assert followed[:, :8].tolist() == [[True, True, False] * 2 + [True, True]] * 4


@pytest.mark.parametrize(
    ("decision_steps", "execute_steps"),
    [(1, 1), (1, 3), (2, 1), (2, 3), (3, 3), (4, 2), (5, 2), (5, 3), (6, 4), (4, 6)],
)
def test_a_decision_ends_after_decision_steps_and_ends_the_held_plan(decision_steps, execute_steps):
    """Every relation of the two numbers: one of them or both 1, equal, one a multiple of the other, none, either larger."""
    agent = hierarchical(decision_steps=decision_steps, execute_steps=execute_steps, candidates=2)
    data = collect(agent)[0][:, :14]
    decided = data["decided"][..., 0]
    assert decided.tolist() == [[float(step % decision_steps == 0) for step in range(14)]] * 4
    # The counter runs from execute_steps - 1 to 0 and starts again with every decision.
    left = data["next", "plan_left"][..., 0]
    expected = [execute_steps - 1 - step % decision_steps % execute_steps for step in range(14)]
    assert left.tolist() == [[float(count) for count in expected]] * 4
    kept = [step for step in range(1, 14) if step % decision_steps % execute_steps]
    planned = data["next", "planner_mean"][:, :, 0].clamp(-1, 1)
    assert all(torch.equal(data["action"][:, step], planned[:, step - 1]) for step in kept)
    fresh = [step for step in range(1, 14) if step not in kept]
    assert all((data["action"][:, step] != planned[:, step - 1]).any() for step in fresh)


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
    losses = agent.clipped_loss(agent.real_batch(data)[decided.flatten() > 0])
    assert losses["clip_fraction"] == 0


@pytest.mark.parametrize(
    "options",
    [
        {"virtual_source": "all"},
        {"virtual_source": "others_plus_rest", "mix": "loss"},
        {"virtual_source": "nominal", "kl_weight": 0.1},
        {"virtual_source": "executed", "candidates": 1, "decision_steps": 4},
        {"virtual_policy": True, "execute_steps": 2, "decision_steps": 4},
        {"virtual_policy": True, "decision_steps": 16, "minibatch_size": 4},  # leaves minibatches without a decision
        {"selector": "softmax_value", "terminal_value_weight": 1.0, "virtual_window": 3},
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
    assert metrics[0]["virtual_transitions"] > 0


def test_virtual_window_forgets_old_rollouts():
    counts = {}
    for window in (1, 3):
        agent = hierarchical(virtual_window=window, virtual_ratio=0.5)
        counts[window] = [agent.learn(data)["virtual_transitions"] for data in collect(agent, 5)]
    assert max(counts[1]) <= 64 * 6 * 5
    assert counts[3][2] > 2 * counts[3][0]
    assert counts[3][4] == pytest.approx(counts[3][2], rel=0.1)


def test_model_errors_on_executed_steps_are_zero_for_the_exact_model():
    agent = hierarchical()
    (data,) = collect(agent)
    metrics = agent.learn(data)
    assert metrics["model_error_max"] < 1e-6
    assert metrics["reward_error_max"] < 1e-6


def test_kl_weight_pulls_the_policy_to_the_better_candidates():
    """With a large lambda the policy moves to candidates of high model return: here, targets near the origin."""
    std = {}
    for weight in (0.0, 3.0):
        torch.manual_seed(3)
        agent = hierarchical(kl_weight=weight, epochs=10, learning_rate=3e-3, virtual_ratio=0.0)
        for data in collect(agent, 6):
            agent.learn(data)
        std[weight] = agent.actor.log_std.exp().item()
    assert std[3.0] < std[0.0] - 0.05


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


ONE = {"candidates": 1, "virtual_ratio": 0.0}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"selector": "best"}, "uniform, argmin_cost"),
        ({"virtual_source": "some"}, "weighted"),
        ({"mix": "half"}, "one of loss, sampling"),
        ({"candidates": 0}, "algo.candidates must be positive"),
        ({"candidates": 1}, "algo.candidates=1 leaves algo.virtual_source=weighted no.*algo.virtual_source=executed"),
        ({"candidates": 1, "virtual_source": "all"}, "algo.virtual_source=executed"),
        ({"candidates": 1, "virtual_source": "nominal"}, "algo.virtual_source=executed"),
        ({"candidates": 1, "virtual_source": "others_plus_rest"}, "algo.virtual_source=executed"),
        ({**ONE, "virtual_policy": True}, "algo.candidates=1: algo.virtual_policy compares candidates"),
        ({**ONE, "kl_weight": 0.1}, "algo.candidates=1: kl_weight compares candidates"),
        ({**ONE, "selector": "argmin_cost"}, "algo.candidates=1: algo.selector compares candidates"),
        ({**ONE, "selector": "softmax_value"}, "algo.candidates=1: algo.selector compares candidates"),
        ({"virtual_ratio": 1.2}, "virtual_ratio"),
        ({"virtual_weight": "some"}, "one of news, equal"),
        ({"virtual_gae_lambda": 1.1}, "algo.virtual_gae_lambda"),
        ({"learning_rate_floor": 0.0}, "algo.learning_rate_floor"),
        ({"epochs": 0}, "algo.epochs"),
        ({"initial_std": 0.0}, "algo.initial_std"),
        ({"discount": 1.5}, "algo.discount"),
        ({"execute_steps": 2, "planner": MPPIConfig(stochastic=True)}, "algo.execute_steps=1"),
    ],
)
def test_bad_options_are_refused_by_name(options, word):
    with pytest.raises(UserError, match=word):
        hierarchical(**options)
