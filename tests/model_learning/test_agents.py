"""Agents with learned parts: what learns them, what they plan with, what is saved."""

import pytest
import torch

from pompc.config.spec import configure
from pompc.data.collector import make_collector
from pompc.errors import UserError
from pompc.models.imagination import Imagination
from pompc.training.assemble import assemble

PLANNER = ("planner.horizon=6", "planner.num_samples=16", "num_envs=16")


def learned(algo, *overrides, batches):
    """Learn from some batches on the linear system with a wrong model; return the agent and all metrics."""
    torch.manual_seed(0)
    made = assemble(configure(algo, "linear_system", [*PLANNER, "env.mismatch=1", *overrides]))
    collector = make_collector(made.env, made.agent, made.agent.frames_per_batch)
    metrics = [made.agent.learn(collector.rollout()) for _ in range(batches)]
    collector.shutdown()
    return made.agent, metrics


def test_the_dynamics_error_of_the_hierarchy_falls():
    """alpha_P: the error of the next observation on transitions that the model has not seen."""
    small = ("algo.batch_size=400", "algo.candidates=2", "algo.epochs=1", "env.time_limit=20", "env.disturbance=0")
    fast = ("algo.model=residual", "algo.model_learning.rollout_steps=1", "algo.model_learning.update_to_data=0.2")
    _, metrics = learned("adaptive_hrl", *small, *fast, batches=3)
    errors = [row["model_error"] for row in metrics]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.5 * errors[0]


def test_off_policy_the_residual_has_its_own_optimizer_and_everything_imagines_with_it():
    small = (
        "algo.model=residual",
        "algo.mlp_dim=16",
        "algo.ensemble_size=2",
        "algo.num_proposals=2",
        "algo.seed_steps=64",
        "env.time_limit=12",
    )
    few = ("planner.num_elites=4", "planner.num_iterations=2", "algo.batch_size=8", "algo.pretrain_updates=1")
    agent, _ = learned("bmpc", *small, *few, "algo.update_to_data=0.001", batches=60)
    [part] = agent.learned_parts.parts
    assert part.updates == int(0.1 * 60 * 16)
    [group] = agent.optimizers["model"].param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in agent.critic.heads.parameters()}
    state, action = torch.rand(5, 2), torch.rand(5, 1) * 2 - 1
    assert isinstance(agent.planner.dynamics, Imagination)
    assert torch.equal(agent.planner.dynamics.step(state, action), part.step(state, action))
    assert not torch.equal(part.step(state, action), part.task.step(state, action))
    saved = agent.training_state(replay=False)["learned_parts"]["residual"]
    assert saved["updates"] == part.updates
    assert "replay" not in saved


def test_an_evaluation_may_leave_the_learned_parts_out(tmp_path, capsys):
    from small import LEARNED_PARTS, complete, config

    from pompc.training.play import evaluate_checkpoint

    complete(config(tmp_path, "mppi", "linear_system", *LEARNED_PARTS, "steps=32", "env.mismatch=1"))
    assert evaluate_checkpoint(tmp_path, episodes=1, overrides=["algo.model=known", "algo.margins=task"]) == 0
    assert "mean of 1" in capsys.readouterr().out


def test_sequences_longer_than_an_episode_are_refused():
    with pytest.raises(UserError, match=r"rollout_steps=60 is more than an episode of 50 steps: lower it"):
        assemble(configure("mppi", "linear_system", ["algo.model=residual", "algo.model_learning.rollout_steps=60"]))
