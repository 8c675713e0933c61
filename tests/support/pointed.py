"""Small off-policy agents on the explicit model of an environment, by default of the point on a line."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from line import Line, LineConfig
from tensordict import TensorDict

from pompc.data.collector import make_collector
from pompc.environment import EnvironmentFamily
from pompc.offpolicy.agent import OffPolicyAgent
from pompc.problem import Problem
from pompc.registry import ENVIRONMENTS


def family(name: str, **options: Any) -> EnvironmentFamily:
    """Make an environment family by its name."""
    made = ENVIRONMENTS.resolve(name)
    return made(made.Config(**options))


def problem(of: EnvironmentFamily | None = None, num_envs: int = 4) -> Problem:
    """Describe an environment."""
    of = of or Line(LineConfig())
    env = of.vectorise(1, seed=0, device="cpu")
    return Problem(
        observation_dim=env.observation_spec["observation"].shape[-1],
        action_dim=env.action_spec.shape[-1],
        num_envs=num_envs,
        task_model=of.task_model,
        device=torch.device("cpu"),
        episode_length=20,
    )


def agent(cls: Any, of: EnvironmentFamily | None = None, planner: dict[str, Any] | None = None, **options: Any) -> Any:
    """Make an agent with short plans; ``planner`` changes their options."""
    small = {"num_samples": 32, "horizon": 5, **(planner or {})}
    chosen = dataclasses.replace(cls.Config().planner, **small)
    num_envs = options.pop("num_envs", 4)
    learning = {"batch_size": 32, "buffer_size": 2000, **options}
    return cls(cls.Config(planner=chosen, **learning), problem(of, num_envs))


def first_step(learner: Any, observation: torch.Tensor) -> TensorDict:
    """Make the first step of episodes that begin at ``observation [batch, observation]``."""
    batch = [len(observation)]
    first = {"observation": observation, "is_init": torch.ones(*batch, 1, dtype=torch.bool)}
    zeros = {name: spec.zero(torch.Size(batch)) for name, spec in learner.primers().items()}
    return TensorDict({**zeros, **first}, batch_size=batch)


def collected(learner: OffPolicyAgent, steps: int, of: EnvironmentFamily | None = None) -> list[Any]:
    """Collect and learn; return the transitions ``[num_envs, 1]`` of every step."""
    env = (of or Line(LineConfig())).vectorise(learner.problem.num_envs, seed=0)
    collector = make_collector(env, learner, learner.frames_per_batch)
    found = []
    for _ in range(steps):
        found.append(collector.rollout().clone())
        learner.learn(found[-1])
        while learner.pending_updates:
            learner.catch_up()
    collector.shutdown()
    return found
