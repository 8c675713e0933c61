"""Small on-policy agents on a line, and transitions that they collect."""

import torch
from line import Line, LineConfig
from tensordict import TensorDict

from pompc.algorithms.adaptive_hrl import AdaptiveHRL, AdaptiveHRLConfig
from pompc.data.collector import make_collector
from pompc.planner import MPPIConfig
from pompc.problem import Problem

FAMILY = Line(LineConfig())
SMALL = {"batch_size": 64, "minibatch_size": 16, "epochs": 2, "learning_rate_decay": 1.0}
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
    """Make the first step of three episodes that begin at the origin."""
    td = TensorDict({"observation": torch.zeros(3, 1), "is_init": torch.ones(3, 1, dtype=torch.bool)}, batch_size=[3])
    return td.update({name: spec.zero(torch.Size([3])) for name, spec in agent.primers().items()})
