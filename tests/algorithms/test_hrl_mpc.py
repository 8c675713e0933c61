"""hrl_mpc, adaptive_hrl with one candidate and rho = 0, is PPO over the planner's cost parameters."""

import pytest
import torch
from hierarchy import SMALL, collect, hierarchical, problem
from line import LineModel
from tensordict import TensorDict
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.algorithms.ppo import PPO, PPOConfig
from pompc.config.spec import configure
from pompc.planner import MPPIConfig

ONE = {"candidates": 1, "virtual_ratio": 0.0, "ensemble_size": 1, "bootstrap": 1.0}
STEP = 1 / 16


class Passing(LineModel):
    """The line whose cost is the distance of the first action from phi, which is the high-level action."""

    def parameters(self, high_action):
        return high_action.clamp(-1.0, 1.0)

    def running(self, state, action, next_state, parameters):
        return (action - parameters)[..., 0].square()


def rounded(agent):
    """Round the action of an agent, so that a planner whose samples are multiples of ``STEP`` can reach it."""

    def act(tensordict, explore):
        tensordict = type(agent).act(agent, tensordict, explore)
        return tensordict.set("action", torch.round(tensordict["action"] / STEP) * STEP)

    agent.act = act
    return agent


def passing(**options):
    """Make hrl_mpc with that cost, a horizon of 1, a temperature near 0 and samples that are all multiples of ``STEP``."""
    agent = hierarchical(**ONE, planner=MPPIConfig(horizon=1, num_samples=33, temperature=1e-12), **options)
    model = Passing()
    agent.task = agent.planner.scorer.cost = model
    grid = torch.arange(-16, 17).mul(STEP).view(-1, 1, 1)
    agent.planner.sample = lambda mean, *_: grid.expand(*mean.shape[:2], -1, -1, -1)
    return agent


def test_a_planner_that_passes_phi_through_makes_the_trajectories_and_the_losses_of_ppo():
    """To the last bit: three batches, and the weights after every update."""
    runs = []
    agents = (passing(), rounded(PPO(PPOConfig(**SMALL), problem())))
    agents[1].load_state_dict(agents[0].state_dict())
    for agent in agents:
        torch.manual_seed(1)
        found = []
        for data in collect(agent, 3):
            metrics = agent.learn(data)
            found.append((data, metrics["policy_loss"], metrics["value_loss"], [p.clone() for p in agent.parameters()]))
        runs.append(found)
    for (mine, *losses, weights), (other, *other_losses, other_weights) in zip(*runs, strict=True):
        for key in ("observation", "action", "policy_action", "log_prob", ("next", "observation"), ("next", "reward")):
            assert torch.equal(mine[key], other[key]), key
        assert losses == other_losses
        assert all(torch.equal(a, b) for a, b in zip(weights, other_weights, strict=True))
    actions = torch.cat([data["action"] for data, *_ in runs[0]])
    assert len(actions.unique()) > 20, "the policy moves over the grid"


def test_with_the_planners_own_samples_the_action_tends_to_phi_as_the_temperature_falls():
    gaps = []
    for temperature in (1.0, 1e-2, 1e-6):
        torch.manual_seed(0)
        agent = hierarchical(**ONE, planner=MPPIConfig(horizon=1, num_samples=4096, temperature=temperature))
        agent.task = agent.planner.scorer.cost = Passing()
        td = agent.act(start(agent), explore=True)
        gaps.append((td["action"] - td["policy_action"].clamp(-1, 1)).abs().max().item())
    assert gaps[0] > 0.1 > gaps[1] > 2e-3 > gaps[2]


def start(agent):
    td = TensorDict({"observation": torch.randn(8, 1), "is_init": torch.ones(8, 1, dtype=torch.bool)}, batch_size=[8])
    return td.update({name: spec.zero(torch.Size([8])) for name, spec in agent.primers().items()})


def test_the_named_setting_is_one_candidate_without_virtual_data_and_holds_its_decisions():
    config = configure("hrl_mpc", "acrobot").algorithm_config
    assert (config.candidates, config.virtual_ratio, config.kl_weight) == (1, 0.0, 0.0)
    assert config.decision_steps > 1
    assert config.ensemble_size == 1
    assert config.planner.num_samples == configure("mppi", "acrobot").algorithm_config.planner.num_samples


@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_one_candidate_is_drawn_planned_for_and_executed(ratio):
    agent = hierarchical(**{**ONE, "virtual_ratio": ratio}, virtual_source="executed", virtual_count=3)
    with set_exploration_type(ExplorationType.RANDOM):
        td = agent(start(agent))
    assert agent.model_steps == 8 * 8 * 5
    assert torch.equal(agent._last[2].mean[:, 0, 0].clamp(-1, 1), td["action"])
    assert ("virtual" in td.keys()) == (ratio > 0)  # noqa: SIM118 - a TensorDict
    if ratio:
        assert td["virtual", "states"].shape == (8, 3, 6, 1)
