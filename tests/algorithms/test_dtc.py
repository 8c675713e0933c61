"""dtc: a policy that sees a plan and is rewarded for tracking it."""

from dataclasses import replace

import pytest
import torch
from hierarchy import FAMILY, PLANNER, SMALL, collect, problem
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.algorithms.dtc import DTC, DTCConfig
from pompc.algorithms.mppi import MPPIAgent, MPPIAgentConfig
from pompc.algorithms.ppo import PPO, PPOConfig
from pompc.data.collector import with_agent_state
from pompc.errors import UserError
from pompc.training.evaluate import evaluate

MASKED = {"reference_steps": (), "reference_control": False, "tracking_weight": 0.0}


def dtc(**options):
    return DTC(
        DTCConfig(**{"planner": PLANNER, "plan_every": 2, "reference_steps": (1, 3), **SMALL, **options}), problem()
    )


def silent(agent):
    """Give the planner its own generator, so that the policy's draws are those of an agent without a planner."""
    agent.planner.generator = torch.Generator().manual_seed(7)
    return agent


def test_with_the_reference_hidden_and_no_reward_for_tracking_it_is_ppo_to_the_last_bit():
    """Three updates: the same transitions, losses and weights."""
    runs = []
    agents = (silent(dtc(**MASKED)), PPO(PPOConfig(**SMALL), problem()))
    agents[0].load_state_dict(agents[1].state_dict())
    for agent in agents:
        torch.manual_seed(3)
        found = []
        for data in collect(agent, 3):
            metrics = agent.learn(data)
            found.append((data, metrics, [p.clone() for p in agent.parameters()]))
        runs.append(found)
    for (mine, metrics, weights), (other, other_metrics, other_weights) in zip(*runs, strict=True):
        for key in ("observation", "action", "policy_action", "log_prob", ("next", "observation"), ("next", "reward")):
            assert torch.equal(mine[key], other[key]), key
        shared = other_metrics.keys() - {"model_steps"}
        assert {key: metrics[key] for key in shared} == {key: other_metrics[key] for key in shared}
        assert all(torch.equal(a, b) for a, b in zip(weights, other_weights, strict=True))
    assert agents[0].model_steps > 0


def zeroed(agent):
    """Set the policy's mean to zero."""
    with torch.no_grad():
        for parameter in agent.actor.net[-1].parameters():
            parameter.zero_()
    return agent


def played(agent, steps=25):
    """Act without exploring, over the end of the first episodes, with equal draws."""
    torch.manual_seed(11)
    env = with_agent_state(FAMILY.vectorise(4, seed=0), agent)
    carried, found = env.reset(), []
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        for _ in range(steps):
            stepped, carried = env.step_and_maybe_reset(agent(carried))
            found.append(torch.cat([stepped["action"], stepped["next", "observation"]], -1))
    return torch.stack(found)


def test_a_residual_policy_that_adds_nothing_is_mppi_to_the_last_bit():
    mppi = MPPIAgent(MPPIAgentConfig(planner=PLANNER, batch_size=64), problem())
    agent = zeroed(dtc(residual=True, plan_every=1))
    assert torch.equal(played(agent), played(mppi))


def test_without_residual_the_policys_action_is_executed():
    assert (played(zeroed(dtc()))[..., 0] == 0).all()
    agent = dtc()
    (data,) = collect(agent)
    assert torch.equal(data["action"], data["policy_action"].clamp(-1, 1))


def test_a_residual_is_added_to_the_control_of_the_reference():
    agent = dtc(residual=True)
    (data,) = collect(agent)
    control = data["view"][..., -1:]
    torch.testing.assert_close(data["action"], (control + data["policy_action"]).clamp(-1, 1))


def test_the_policy_learns_from_what_it_saw_and_the_values_from_what_it_sees_next():
    agent = dtc()
    (data,) = collect(agent)
    seen = agent.tracked(data)
    assert torch.equal(seen["observation"], data["view"])
    done = data["next", "done"][..., 0]
    assert done.any()
    following = seen["next", "observation"]
    assert torch.equal(following[:, :-1][~done[:, :-1]], data["view"][:, 1:][~done[:, :-1]])
    # At an end there is no next plan: the old one goes on.
    last = torch.cat([data["next", "observation"], following[..., 1:]], -1)[done]
    ahead = data["next", "reference"][done][:, [1, 3], 0] - last[:, :1]
    torch.testing.assert_close(following[done][:, 1:3], ahead)
    assert torch.equal(data["next", "observation"], following[..., :1]), "the first entries are the observation"


def test_tracking_adds_its_reward_while_learning_and_nowhere_else():
    agent = dtc(tracking_weight=2.0, tracking_scale=0.7)
    agent.normaliser.update(torch.randn(100, agent.reference.dim) * 3)
    (data,) = collect(agent)
    std = agent.normaliser.var[:1].sqrt()
    missed = (data["next", "reference"][:, :, 0] - data["next", "observation"]) / std
    tracking = torch.exp(-missed.square() / 0.7**2)
    reward = data["next", "reward"].clone()
    torch.testing.assert_close(agent.tracked(data)["next", "reward"], reward + 2.0 * tracking)
    metrics = agent.learn(data)
    assert torch.equal(data["next", "reward"], reward)
    assert metrics["reward"] == pytest.approx(reward.mean().item()), "the row has the environment's reward"
    assert metrics["tracking"] == pytest.approx(tracking.mean().item())


def test_a_policy_that_follows_the_plan_of_an_exact_model_tracks_it_perfectly():
    agent = zeroed(dtc(residual=True))
    with torch.no_grad():
        agent.actor.log_std.fill_(-20.0)
    (data,) = collect(agent)
    assert agent.tracked(data)["next", "tracking"].min() > 1 - 1e-6


def test_another_planner_serves_the_same_policy():
    trained = dtc()
    for data in collect(trained, 2):
        trained.learn(data)
    results = []
    others = ({}, {"horizon": 8}, {"num_samples": 64, "noise": "coloured"}, {"num_iterations": 3, "init_std": 0.2})
    for changes in others:
        agent = dtc(planner=replace(PLANNER, **changes))
        agent.load_state_dict(trained.state_dict())
        agent.load_training_state(trained.training_state())
        result = evaluate(agent, FAMILY, episodes=4, seed=0, noise_seed=0)
        results.append(result.column("reward").mean())
    assert len(set(results)) == len(others)
    assert max(results) - min(results) < 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plan_every": 3}, "reaches 6 steps ahead .* planner.horizon=5: raise the horizon"),
        ({"reference_steps": (4,)}, "reaches 6 steps ahead"),
        ({"reference_steps": (), "plan_every": 5}, "reaches 6 steps ahead"),
        ({"reference_steps": (0,)}, "algo.reference_steps"),
        ({"planner": replace(PLANNER, stochastic=True)}, "planner.stochastic draws an action: dtc tracks the mean"),
        ({"kl_weight": 1.0}, "kl_weight must be 0: the policy of dtc"),
        ({"virtual_ratio": 0.1}, "virtual_ratio must be 0: the policy of dtc"),
        ({"tracking_scale": 0.0}, "algo.tracking_scale"),
    ],
)
def test_bad_options_are_refused_by_name(options, message):
    with pytest.raises(UserError, match=message) as error:
        dtc(**options)
    assert "\n" not in str(error.value)
