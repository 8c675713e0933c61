"""The planner as actor and critic: it refuses, it carries phi, and its closed-loop cost falls from a wrong model."""

import pytest
import torch

from pompc.algorithms.mpc_critic import MPCCritic, MPCCriticConfig
from pompc.data.collector import make_collector
from pompc.envs.linear import Linear, LinearConfig
from pompc.errors import UserError
from pompc.planner import MPPIConfig
from pompc.problem import Problem

PLANNER = {
    "horizon": 8,
    "num_samples": 64,
    "num_iterations": 3,
    "temperature": 0.1,
    "discount": 0.9,
    "num_zero_mean": 0,
}


def made(num_envs=8, mismatch=1.0, planner=None, seed=0, **options):
    """An agent and a collector of whole episodes on the linear system with the wrong model."""
    torch.manual_seed(0)
    family = Linear(LinearConfig(mismatch=mismatch, time_limit=40))
    problem = Problem(
        observation_dim=2,
        action_dim=1,
        num_envs=num_envs,
        task_model=family.task_model,
        device=torch.device("cpu"),
        episode_length=40,
        terminates=False,
        seed=seed,
    )
    config = MPCCriticConfig(planner=MPPIConfig(**{**PLANNER, **(planner or {})}), batch_size=40 * num_envs, **options)
    agent = MPCCritic(config, problem)
    return agent, make_collector(family.vectorise(num_envs, seed=0), agent, agent.frames_per_batch)


@pytest.mark.filterwarnings("ignore:.* effective samples are few")
@pytest.mark.parametrize(("step", "rate"), [("newton", 0.5), ("natural_dpg", 0.5)])
def test_the_closed_loop_cost_falls_from_the_wrong_model(step, rate):
    """With bounds and disturbance; the model stays wrong, its cost makes up for it."""
    planner = {"num_samples": 64, "num_iterations": 2}
    agent, collector = made(step=step, learning_rate=rate, max_change=0.2, planner=planner)
    costs = [-agent.learn(collector.rollout())["reward"] for _ in range(7)]
    collector.shutdown()
    assert agent.updates == 7
    assert costs[-1] < 0.4 * costs[0]
    assert 0 < agent.phi.distance < 2


@pytest.mark.filterwarnings("ignore:.* effective samples are few")
@pytest.mark.parametrize("phi", [("convex",), ("model",), ("model", "weights", "convex")])
def test_every_kind_of_phi_learns_and_acts(phi):
    agent, collector = made(num_envs=4, phi=phi, step="q_learning", planner={"num_samples": 16})
    data = collector.rollout()
    before = agent.planner.plan(agent.encode(data["observation"][:, 0]), parameters=parameters(agent, 4)).mean
    metrics = agent.learn(data)
    assert 0 < metrics["phi_change"] <= agent.config.max_change + 1e-6
    after = agent.planner.plan(agent.encode(data["observation"][:, 0]), parameters=parameters(agent, 4)).mean
    assert not torch.equal(before, after)
    copy, other = made(num_envs=4, phi=phi, step="q_learning", planner={"num_samples": 16})
    copy.load_state_dict(agent.state_dict())
    assert torch.equal(
        copy.planner.plan(copy.encode(data["observation"][:, 0]), parameters=parameters(copy, 4)).mean, after
    )
    for of in (collector, other):
        of.shutdown()


def parameters(agent, count):
    found = agent.cost_parameters(torch.zeros(count), explore=False)
    return None if found is None else found["parameters"]


def test_the_action_while_learning_is_the_plans_with_noise_and_the_plan_is_found_again():
    """Common random numbers: the policy of the update is the one that acted."""
    agent, collector = made(num_envs=4, exploration_std=0.2, step="dpg")
    data = collector.rollout().flatten(0, 1)
    collector.shutdown()
    state = agent.task.task.state(data["observation"])
    found = agent.values.policy(state, data["planner_mean"])
    torch.testing.assert_close(
        found.action, data["next", "planner_mean"].new_tensor(acted(agent, data)), atol=1e-5, rtol=0
    )
    noise = data["action"] - found.action
    assert 0.1 < noise.std() < 0.3


def acted(agent, data):
    """The first planned actions, planned by hand."""
    plan = agent.planner.plan(
        agent.encode(data["observation"]), parameters=parameters(agent, len(data)), mean=data["planner_mean"]
    )
    return plan.mean[:, 0, 0].tolist()


def test_a_value_is_of_the_task_whatever_else_the_planner_charges():
    """Costs of changes and of violations steer the action alone; the model steps of both planners are counted."""
    charged = {"change_cost": 2.0, "violation_cost": 3.0}
    plain, other = (made(num_envs=4, step="dpg", planner={"num_samples": 16, **more})[0] for more in ({}, charged))
    state, first = torch.tensor([[0.1, 0.2], [1.2, -0.3], [0.5, 0.5]]), torch.tensor([[0.9], [-0.9], [0.3]])
    mean = torch.zeros(3, 8, 1)
    for given in (None, first):
        values = [agent.values.value(state, mean, first=given) for agent in (plain, other)]
        assert torch.equal(values[0].cost, values[1].cost)
        assert torch.equal(values[0].slope, values[1].slope)
    assert other.model_steps == plain.model_steps > 0
    previous = torch.full((3, 2, 1), 0.9)
    policies = [plain.values.policy(state, mean).action, other.values.policy(state, mean, previous).action]
    assert not torch.allclose(*policies, atol=0.01)


def test_plans_of_a_smooth_planner_are_found_again_in_learning():
    agent, collector = made(num_envs=4, exploration_std=0.0, planner={"change_cost": 2.0})
    data = collector.rollout().flatten(0, 1)
    collector.shutdown()
    start = agent.task.task.state(data["observation"]), data["planner_mean"]
    found, at_rest = (
        agent.values.policy(*start, applied).action for applied in (data["applied"], torch.zeros_like(data["applied"]))
    )
    torch.testing.assert_close(found.clamp(-1, 1), data["action"], atol=1e-5, rtol=0)
    assert (at_rest - found).abs().max() > 0.05


def test_the_random_numbers_of_plans_are_those_of_the_runs_seed():
    def plan(seed):
        agent, collector = made(num_envs=4, seed=seed)
        collector.shutdown()
        state = torch.tensor([[0.1, 0.2]])
        return agent.planner.plan(agent.values.augmented(state), parameters=parameters(agent, 1)).actions

    assert torch.equal(plan(3), plan(3))
    assert not torch.allclose(plan(3), plan(4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phi": ()}, "name every block once"),
        ({"phi": ("weights", "weights")}, "name every block once"),
        ({"hidden_sizes": ()}, "needs a hidden layer"),
        ({"kl_weight": 1.0}, "kl_weight must be 0"),
        ({"planner": MPPIConfig(discount=1.0, num_zero_mean=0)}, "planner.discount=1 leaves the offset"),
        ({"planner": MPPIConfig(discount=0.9, stochastic=True)}, "planner.stochastic"),
        ({"planner": MPPIConfig(discount=0.9, hard=True)}, "planner.hard=true has no gradient"),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_line(options, message):
    with pytest.raises(UserError, match=message) as error:
        MPCCriticConfig(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": "dpg", "exploration_std": 0.0}, "exploration_std above 0"),
        ({"planner": {"adapt_std": True}}, "leave out planner.adapt_std=true"),
    ],
)
def test_what_a_step_cannot_learn_from_is_refused_in_one_line(options, message):
    with pytest.raises(UserError, match=message) as error:
        made(**options)
    assert "\n" not in str(error.value)
