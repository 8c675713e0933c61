"""The convex network on a house that pays money: the economic planner at the start, convex and cheaper after learning."""

import pytest
import torch

from pompc.algorithms.mpc_critic import MPCCritic, MPCCriticConfig
from pompc.algorithms.mppi import MPPIAgent, MPPIAgentConfig
from pompc.data.collector import make_collector
from pompc.envs.heating import Heating, HeatingConfig
from pompc.planner import MPPIConfig
from pompc.problem import Problem
from pompc.training.evaluate import evaluate

PLANNER = {"num_samples": 64, "num_iterations": 2, "temperature": 0.1, "noise": "spline", "horizon": 12}
CENTRED = MPPIConfig(**PLANNER, discount=0.95, num_zero_mean=0, include_mean=False)
WRONG = Heating(HeatingConfig(planner_resistance=2.0, planner_capacity=2.0))


def problem(num_envs=8):
    sizes = {"observation_dim": 7, "action_dim": 2, "num_envs": num_envs, "episode_length": 48, "terminates": False}
    return Problem(**sizes, task_model=WRONG.task_model, device=torch.device("cpu"))


def learner(**options):
    torch.manual_seed(0)
    config = MPCCriticConfig(**{"planner": CENTRED, "phi": ("convex",), "batch_size": 384, **options})
    return MPCCritic(config, problem())


def learned(agent, updates):
    collector = make_collector(WRONG.vectorise(8, seed=0), agent, agent.frames_per_batch)
    for _ in range(updates):
        agent.learn(collector.rollout())
    collector.shutdown()
    return agent


def closed_loop(agent, episodes=8):
    return -evaluate(agent, WRONG, episodes=episodes, seed=100, noise_seed=0).mean()["reward"]


def test_the_stage_cost_of_the_planner_is_what_the_environment_charges():
    model = Heating(HeatingConfig(outdoor=(0.0, 0.0), disturbance=0.0)).task_model()
    env = Heating(HeatingConfig(outdoor=(0.0, 0.0), disturbance=0.0)).make()
    rng, (observation, _) = torch.Generator().manual_seed(0), env.reset(seed=0)
    for _ in range(48):
        action = torch.rand(2, generator=rng) * 2 - 1
        before = model.state(torch.as_tensor(observation))
        observation, reward, *_ = env.step(action.numpy())
        cost = model.running(before, action, model.step(before, action), None)
        assert cost.item() == pytest.approx(-reward, abs=2e-4)


def test_without_a_network_the_house_is_run_by_the_economic_planner_bit_for_bit():
    agent = learner()
    plain = MPPIAgent(MPPIAgentConfig(planner=CENTRED, batch_size=384), problem())
    plain.planner.noise = agent.planner.noise
    days = [evaluate(of, WRONG, episodes=4, seed=1, noise_seed=0).column("reward") for of in (agent, plain)]
    assert (days[0] == days[1]).all()


@pytest.fixture(scope="module")
def agent():
    """Two Newton steps on the convex networks, from a model with twice the resistance and heat capacity."""
    made = learner(step="newton", ridge=1e-4)
    made.before = closed_loop(made)
    return learned(made, updates=2)


@pytest.mark.filterwarnings("ignore:.* effective samples are few")
def test_the_convex_network_lowers_the_bill_from_the_wrong_model(agent):
    assert closed_loop(agent) < 0.92 * agent.before


def test_the_cost_of_the_house_is_still_convex_in_what_is_seen_and_done(agent):
    block, values = agent.phi.blocks[0], agent.phi.values.double().unsqueeze(0)
    x, y = 3 * torch.randn(2, 10_000, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    charges = {
        9: lambda z: block.running_network(z, block._split(values)[0]),
        7: lambda z: block.terminal_network(z, block._split(values)[1]),
    }
    for size, charge in charges.items():
        one, other = x[:, :size], y[:, :size]
        gap = (charge(one) + charge(other)) / 2 - charge((one + other) / 2)
        assert gap.min() > -1e-9
    assert agent.phi.distance > 0.1
