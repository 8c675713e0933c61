"""A short training run on the acrobot must raise the success rate."""

import pytest
import torch
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.algorithms.adaptive_hrl import AdaptiveHRL, AdaptiveHRLConfig
from pompc.data.collector import make_collector, with_agent_state
from pompc.envs.acrobot import Acrobot, AcrobotConfig
from pompc.planner import MPPIConfig
from pompc.problem import Problem


def success(agent, family, episodes=8):
    """Compute the share of episodes that reach the goal within 150 steps."""
    env = with_agent_state(family.vectorise(episodes, seed=77), agent)
    with set_exploration_type(ExplorationType.DETERMINISTIC), torch.no_grad():
        data = env.rollout(150, agent, break_when_any_done=False)
    return (data["next", "success"].amax(1) > 0).float().mean().item()


@pytest.mark.learning
def test_acrobot_reaches_its_goal():
    """The first policy asks for the wrong pose with little energy, so the planner never reaches the goal.

    After training, seven seeds reached the goal in 0.75 to 1 of the episodes.
    """
    family = Acrobot(AcrobotConfig())
    config = AdaptiveHRLConfig(planner=MPPIConfig(horizon=8, num_samples=32), batch_size=1024, learning_rate=2e-3)
    problem = Problem(
        observation_dim=7, action_dim=1, num_envs=16, task_model=family.task_model, device=torch.device("cpu")
    )
    agent = AdaptiveHRL(config, problem)
    with torch.no_grad():
        agent.actor.net[-1].bias.copy_(torch.tensor([-1.0, 0.0, -1.0]))
    assert success(agent, family) <= 0.25
    collector = make_collector(family.vectorise(16, seed=0), agent, agent.frames_per_batch)
    for _, data in zip(range(16), collector, strict=False):
        agent.learn(data)
    assert success(agent, family) >= 0.75
