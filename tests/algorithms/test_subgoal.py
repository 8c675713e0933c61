"""subgoal: imitation of the plan's end, then hrl_mpc."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from hierarchy import PLANNER, SMALL, collect, hierarchical, problem
from line import LineModel

from pompc.algorithms.subgoal import Subgoal, SubgoalConfig, warm_start
from pompc.envs.lunar_lander import LunarLander, LunarLanderConfig
from pompc.errors import UserError
from pompc.problem import Problem

MANY = replace(PLANNER, num_samples=256)  # so that the plan's end is nearly a function of the state


class AimingLine(LineModel):
    """The line, which can aim; ``speed`` 0 makes every plan stand still."""

    def __init__(self, speed=0.5, nominal=0.3):
        self.speed, self.nominal = speed, torch.tensor([nominal])

    def step(self, state, action):
        return state + self.speed * action

    def aim(self, state):
        return (state / 2).clamp(-1.0, 1.0)


def subgoal(model=None, **options):
    config = SubgoalConfig(**{"planner": PLANNER, "decision_steps": 4, **SMALL, **options})
    return Subgoal(config, Problem(**{**vars(problem()), "task_model": lambda: model or AimingLine()}))


def test_while_lambda_is_infinite_the_nominal_parameters_act():
    agent = subgoal()
    (data,) = collect(agent)
    assert agent.kl_weight.value == math.inf
    assert (data["policy_action"] == 0.3).all()
    assert data["next", "observation"][:, 12:].mean().item() == pytest.approx(0.6, abs=0.15)  # the nominal target
    assert (data["decided"] == 1).all(), "every step has a label"


def test_the_label_aims_at_the_last_state_of_the_nominal_plan():
    agent = subgoal()
    (data,) = collect(agent)
    plan = torch.cat([data["action"].unsqueeze(2), data["next", "planner_mean"][:, :, :-1]], 2)  # as it was executed
    end = data["observation"] + 0.5 * plan.sum(2)
    torch.testing.assert_close(data["aimed"], (end / 2).clamp(-1, 1))


def test_the_label_of_a_plan_that_stands_still_is_the_present_position():
    agent = subgoal(AimingLine(speed=0.0))
    (data,) = collect(agent)
    torch.testing.assert_close(data["aimed"], (data["observation"] / 2).clamp(-1, 1))


def test_the_warm_start_learns_the_distance_to_the_label():
    options = {"epochs": 20, "learning_rate": 1e-2, "normalise_observation": False, "start_at_nominal": False}
    agent = subgoal(AimingLine(speed=0.1), planner=MANY, **options)
    distances = []
    for data in collect(agent, 4):
        batch = agent.real_batch(data)
        mean = agent.actor(batch["observation"])[0]
        expected = (mean - data["aimed"].flatten(0, 1)).square().sum(-1).sqrt().mean()
        loss, metrics = agent.policy_loss(batch)
        torch.testing.assert_close(loss, expected)
        assert metrics["kl_term"] == pytest.approx(expected.item())
        distances.append(expected.item())
        agent.learn(data)
    assert distances[-1] < 0.5 * distances[0]


def test_lambda_switches_after_the_steps_of_the_warm_start():
    agent = subgoal(kl_weight=warm_start(100))
    values = []
    for _ in range(3):
        values.append(agent.kl_weight.value)
        (data,) = collect(agent)  # 64 steps
        assert ("aimed" in data.keys()) == (values[-1] > 0)  # noqa: SIM118 - a TensorDict
        agent.learn(data)
    assert values == [math.inf, math.inf, 0.0]


def test_the_second_phase_is_hrl_mpc_to_the_last_bit():
    """From the weights that the warm start left: the same transitions, losses and weights in every update."""
    first = subgoal(kl_weight=warm_start(64))
    for data in collect(first, 1):
        first.learn(data)
    assert first.kl_weight.value == 0
    second = hierarchical(candidates=1, virtual_ratio=0.0, ensemble_size=1, bootstrap=1.0, decision_steps=4)
    second.task = second.planner.scorer.cost = first.task
    second.load_state_dict(first.state_dict())
    second.load_training_state(copy.deepcopy(first.training_state()))
    results = []
    for agent in (first, second):
        torch.manual_seed(5)
        batches = collect(agent, 2)
        metrics = [agent.learn(data) for data in batches]
        results.append((batches, metrics, [p.clone() for p in agent.parameters()]))
    (batches, metrics, weights), (other_batches, other_metrics, other_weights) = results
    for mine, other in zip(batches, other_batches, strict=True):
        assert (mine == other).all()
    assert [m["policy_loss"] for m in metrics] == [m["policy_loss"] for m in other_metrics]
    assert all(torch.equal(a, b) for a, b in zip(weights, other_weights, strict=True))


def test_at_a_finite_lambda_the_policy_acts_and_is_pulled_to_the_nominal_plans_end():
    agent = subgoal(kl_weight=0.5, decision_steps=1)
    (data,) = collect(agent)
    assert data["policy_action"].unique().numel() == 64
    assert agent._last[2].mean.shape[1] == 2
    metrics = agent.learn(data)
    assert metrics["kl_term"] > 0
    assert "return_term" in metrics


def test_a_landers_label_is_where_its_plan_ends():
    family = LunarLander(LunarLanderConfig())
    model = family.task_model()
    sizes = {"observation_dim": 14, "action_dim": 2, "num_envs": 2, "device": torch.device("cpu")}
    agent = Subgoal(SubgoalConfig(planner=PLANNER, **SMALL), Problem(**sizes, task_model=lambda: model))
    td = family.vectorise(2, seed=0).reset()
    td["is_init"] = torch.ones(2, 1, dtype=torch.bool)
    td.update({name: spec.zero(torch.Size([2])) for name, spec in agent.primers().items()})
    with torch.no_grad():
        agent.act(td, explore=True)
    state, mean, *_ = agent._last
    end = agent.planner.rollout(state, mean[:, None, None])[:, 0, 0, -1]
    torch.testing.assert_close(model.parameters(td["aimed"])[:, :2], end[:, :2].clamp(max=torch.tensor([0.8, 1.2])))


def test_wrong_settings_are_one_clear_line():
    with pytest.raises(UserError, match=r"algo\.candidates=2: a subgoal is one high-level action, give 1"):
        subgoal(candidates=2)
    with pytest.raises(UserError, match=r"LineModel cannot aim .* give it the method aim\(state\)") as error:
        subgoal(LineModel())
    assert "\n" not in str(error.value)
