"""The smallest off-policy agents, and a world that feeds them."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from tensordict import TensorDict
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.algorithms.tdmpc2 import TDMPC2, TDMPC2Config
from pompc.environment import Tasks
from pompc.offpolicy.agent import OffPolicyAgent
from pompc.offpolicy.config import OffPolicyConfig, tdmpc2_planner
from pompc.problem import Problem

_PLANNER = {"num_samples": 16, "num_elites": 4, "num_iterations": 2}
_WIDTHS = {"encoder_dim": 16, "mlp_dim": 16, "latent_dim": 16, "ensemble_size": 2, "task_dim": 4}
_LEARNING = {"num_proposals": 2, "batch_size": 8, "discount": 0.9, "buffer_size": 1000, "seed_steps": 20}
_PROBLEM = {field.name for field in dataclasses.fields(Problem)}


def config(planner: dict[str, Any] | None = None, of: type[OffPolicyConfig] = TDMPC2Config, **options: Any) -> Any:
    """Make a config with networks of 16 units, two heads, plans of 2 x 16 samples."""
    chosen = dataclasses.replace(tdmpc2_planner(), **{**_PLANNER, **(planner or {})})
    return of(**{**_WIDTHS, **_LEARNING, "planner": chosen, **options})


def agent(cls: type[OffPolicyAgent] = TDMPC2, **options: Any) -> Any:
    """Make an agent for two environments with 3 observations and 2 actions; ``options`` of config or problem."""
    problem = {"observation_dim": 3, "action_dim": 2, "num_envs": 2, "episode_length": 10}
    problem |= {"task_model": lambda: None, "device": torch.device("cpu"), "terminates": False}
    problem |= {name: value for name, value in options.items() if name in _PROBLEM}
    given = {name: value for name, value in options.items() if name not in _PROBLEM}
    return cls(config(of=cls.Config, **given), Problem(**problem))


def tasks() -> Tasks:
    """Make two tasks that differ in everything."""
    return Tasks(names=("short", "long"), action_dims=(1, 2), episode_lengths=(10, 1000))


class World:
    """A collector of random observations in episodes of a fixed length, one step at a time.

    Args:
        agent: the agent that acts, exploring.
        length: steps until an episode is truncated.
    """

    def __init__(self, agent: TDMPC2, length: int = 10) -> None:
        self.agent, self.length, self.time = agent, length, 0
        self.envs = agent.problem.num_envs
        self.carried = self._reset()

    def _observe(self) -> torch.Tensor:
        observation = torch.randn(self.envs, self.agent.problem.observation_dim)
        if (tasks := self.agent.problem.tasks) is not None:
            observation[:, -1] = torch.arange(self.envs) % len(tasks.names)
        return observation

    def _reset(self) -> TensorDict:
        zeros = {name: spec.zero(torch.Size([self.envs])) for name, spec in self.agent.primers().items()}
        first = {"observation": self._observe(), "is_init": torch.ones(self.envs, 1, dtype=torch.bool)}
        return TensorDict({**zeros, **first}, batch_size=[self.envs])

    def step(self) -> TensorDict:
        """Make one transition of every environment ``[num_envs, 1]``."""
        with set_exploration_type(ExplorationType.RANDOM):
            td = self.agent(self.carried.clone())
        self.time += 1
        done = torch.full((self.envs, 1), self.time % self.length == 0)
        result = {"observation": self._observe(), "done": done, "terminated": torch.zeros_like(done)}
        td["next"] = td["next"].update({**result, "reward": td["observation"][:, :1] + td["action"][:, :1]})
        names = [*self.agent.primers(), "observation"]
        going_on = {name: td["next", name] for name in names} | {"is_init": torch.zeros_like(done)}
        self.carried = self._reset() if bool(done.any()) else TensorDict(going_on, batch_size=[self.envs])
        return td.unsqueeze(1)

    def run(self, steps: int) -> list[dict[str, Any]]:
        """Step and learn; return the metrics of every call of ``learn``."""
        return [self.agent.learn(self.step()) for _ in range(steps)]


def batch(agent: TDMPC2, size: int = 8) -> TensorDict:
    """Make a random batch in the form of the replay's ``[sequence + 1, size]``."""
    problem, shape = agent.problem, (agent.config.sequence_steps + 1, size)
    action = torch.rand(*shape, problem.action_dim) * 2 - 1
    entries = {
        "observation": torch.randn(*shape, problem.observation_dim),
        "action": action,
        "reward": torch.randn(*shape, 1),
        "terminated": torch.zeros(*shape, 1),
        "plan_mean": action.clone(),
        "plan_std": torch.rand(*shape, problem.action_dim) + 0.1,
    }
    if problem.tasks is not None:
        entries["observation"][..., -1] = torch.arange(size) % len(problem.tasks.names)
    return TensorDict(entries, batch_size=shape)
