"""Weights of one agent in another that sees or does something else: what is kept computes the same."""

import pytest
import tiny
import torch
from tensordict import TensorDict

from pompc.algorithms.pompc import POMPC
from pompc.algorithms.ppo import PPO, PPOConfig
from pompc.environment import Tasks
from pompc.problem import Problem
from pompc.training.transfer import TABLE, Task, transfer

LATENT = 16


def stirred(agent):
    """Give every weight another value, those that start at zero too."""
    with torch.no_grad():
        for value in agent.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.randn_like(value) * 0.1)
    return agent


def weights(agent):
    return {name: value.clone() for name, value in agent.state_dict().items()}


def test_between_equal_sizes_every_weight_is_kept():
    source, agent = stirred(tiny.agent(POMPC)), tiny.agent(POMPC)
    report = transfer(weights(source), agent)
    assert report.complete
    assert report.left == []
    assert all(torch.equal(value, weights(source)[name]) for name, value in weights(agent).items())


def test_other_observations_and_actions_leave_what_depends_on_them_new():
    source, agent = stirred(tiny.agent()), tiny.agent(observation_dim=7, action_dim=5)
    before, theirs = weights(agent), weights(source)
    report = transfer(theirs, agent)
    after = weights(agent)
    first = "model.encoder.net.0.linear.weight"
    assert {*report.new} == {first, "policy.net.2.weight", "policy.net.2.bias"}
    assert torch.equal(after[first], before[first])
    assert torch.equal(after["model.encoder.net.1.linear.weight"], theirs["model.encoder.net.1.linear.weight"])
    assert {*report.partly.values()} == {"latent of latent and action"}
    name = "model.dynamics.0.linear.weight"
    assert torch.equal(after[name][:, :LATENT], theirs[name][:, :LATENT])
    assert torch.equal(after[name][:, LATENT:], before[name][:, LATENT:])
    assert list(report.lines())[1].startswith("new: model.encoder (1), policy.net (2)")


def test_an_agent_of_several_tasks_becomes_one_of_a_single_task_that_computes_the_same():
    many = stirred(tiny.agent(tasks=tiny.tasks(), observation_dim=6, action_dim=2, terminates=True))
    own = tiny.agent(observation_dim=3, action_dim=1, terminates=True)
    vector = many.model.tasks.table.weight[0].detach()
    report = transfer(weights(many), own, Task("short", vector, same=True))
    assert [name for name in report.new if "scale" not in name] == []
    seen, action = torch.randn(4, 3), torch.rand(4, 1) * 2 - 1
    padded = torch.cat([seen, torch.zeros(4, 3)], -1)  # two entries that the task does not have, and its index
    wide = torch.cat([action, torch.zeros(4, 1)], -1)
    with torch.no_grad():
        state, known = own.encode(seen), many.encode(padded)
        torch.testing.assert_close(state, known[:, :-1])
        torch.testing.assert_close(own.model.next(state, action), many.model.next(known, wide)[:, :-1])
        torch.testing.assert_close(own.model.reward(state, action), many.model.reward(known, wide))
        torch.testing.assert_close(own.model.termination_logits(state), many.model.termination_logits(known))
        torch.testing.assert_close(own.policy(state)[0], many.policy(known)[0][:, :1])
        torch.testing.assert_close(own.policy(state)[1], many.policy(known)[1][:, :1])
        for values in ("values", "target_values"):
            mine, theirs = (getattr(agent.critic, values) for agent in (own, many))
            torch.testing.assert_close(
                mine(own.values.inputs(state, action)), theirs(many.values.inputs(known, wide)), rtol=1e-4, atol=1e-5
            )


def test_tasks_keep_their_vectors_by_name():
    other = Tasks(names=("long", "new"), action_dims=(2, 1), episode_lengths=(1000, 10))
    source, agent = (stirred(tiny.agent(tasks=tasks, observation_dim=4)) for tasks in (tiny.tasks(), other))
    before, theirs = weights(agent)[TABLE], weights(source)
    report = transfer(theirs, agent, rows={0: 1})
    after = weights(agent)[TABLE]
    assert torch.equal(after[0], theirs[TABLE][1])
    assert torch.equal(after[1], before[1])
    assert report.partly == {TABLE: "1 tasks of 2 tasks"}


@pytest.mark.parametrize("observations", [3, 5])
def test_on_policy_weights_are_kept_where_they_fit(observations):
    def made(size, num_envs):
        problem = {"action_dim": 2, "num_envs": num_envs, "task_model": lambda: None, "device": torch.device("cpu")}
        return PPO(PPOConfig(hidden_sizes=(8,)), Problem(observation_dim=size, **problem))

    source, agent = stirred(made(3, 2)), made(observations, 2)
    report = transfer(weights(source), agent)
    assert "return_scale.running" in report.new, "the returns of running episodes belong to the other run"
    assert "actor.net.2.weight" in report.kept
    seeing = {"actor.net.0.weight", "values.weights.0", *(f"normaliser.{name}" for name in ("mean", "var", "count"))}
    assert {*report.new} - {"return_scale.running"} == (set() if observations == 3 else seeing)
    agent.act(TensorDict({"observation": torch.ones(2, observations)}, [2]), explore=False)
