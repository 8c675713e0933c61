"""Small off-policy agents with the same weights and batches every time, and their updates."""

import dataclasses

import pytest
import torch
from tensordict import TensorDict

from pompc.offpolicy.config import tdmpc2_planner
from pompc.problem import Problem

HORIZON, BATCH, ACTIONS, OBSERVATION = 3, 16, 2, 5
SIZES = {"encoder_dim": 16, "mlp_dim": 24, "latent_dim": 16, "ensemble_size": 5, "num_proposals": 4}
SQUASHED = {"policy": "squashed", "log_std_min": -10.0, "log_std_max": 2.0}


def make(cls, config_cls, actions=ACTIONS, terminates=False, **options):
    """Make a small agent, always with the same weights, for episodes that end by their time limit."""
    planner = dataclasses.replace(tdmpc2_planner(), num_samples=32, num_elites=8, num_iterations=2)
    config = config_cls(**{**SIZES, "planner": planner, "discount": 0.9, "batch_size": BATCH, **options})
    problem = Problem(
        observation_dim=OBSERVATION,
        action_dim=actions,
        num_envs=1,
        task_model=lambda: None,
        device=torch.device("cpu"),
        terminates=terminates,
    )
    torch.manual_seed(0)
    agent = cls(config, problem)
    torch.manual_seed(1)  # a learned prior drew numbers too
    with torch.no_grad():  # heads at zero would hide all effects of values and rewards
        for part in (agent.critic.heads.linears[-1], agent.model.reward_head[-1]):
            part.weight.normal_(0, 0.3)
        agent.critic.soft_update(1.0)
    return agent


def batch(seed=1, actions=ACTIONS):
    """Make a batch of sequences with a plan for every step."""
    generator = torch.Generator().manual_seed(seed)
    shape = (HORIZON + 1, BATCH)
    draw = lambda *size: torch.randn(*shape, *size, generator=generator)  # noqa: E731
    entries = {
        "observation": draw(OBSERVATION),
        "action": draw(actions).tanh(),
        "reward": draw(1),
        "terminated": torch.zeros(*shape, 1),
        "plan_mean": draw(actions).tanh(),
        "plan_std": 0.05 + draw(actions).abs(),
    }
    return TensorDict(entries, batch_size=shape)


def updated(agent, updates=3):
    """Make updates, each from another seed; return weights and metrics."""
    metrics = []
    for index in range(updates):
        torch.manual_seed(100 + index)
        metrics.append(agent.update(batch(index)))
    return {name: value.clone() for name, value in agent.state_dict().items()}, metrics


def deterministic(policy):
    """Make a ``sample`` of the policy without noise."""
    sample = policy.sample

    def without_noise(state, *rest):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "randn_like", torch.zeros_like)
            return sample(state, *rest)

    return without_noise


def stilled(cls, config_cls, scale, **options):
    """Make an agent whose running scale stays at ``scale``, with fixed heads, and a batch after the loss of the model."""
    agent, data = make(cls, config_cls, scale_rate=0.0, **options), batch()
    agent.return_scale.value.fill_(scale)
    agent.critic.draw = lambda: torch.tensor([1, 3])
    torch.manual_seed(3)
    agent.model_loss(data)
    return agent, data


def policy_loss(agent, data):
    """Return the policy's loss, its metrics and its draw."""
    torch.manual_seed(4)
    sample = agent.policy.sample(data["state"][:-1])
    torch.manual_seed(4)
    return *agent.policy_loss(data), sample
