"""CACTO, a setting of BMPC's state values on the explicit model: the actor's gradient, and how its plans start."""

import pointed
import pytest
import tiny
import torch
from line import LineModel
from tensordict import TensorDict
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.algorithms.bmpc import BMPC
from pompc.config.spec import configure
from pompc.envs.linear import Linear, LinearConfig
from pompc.envs.linear_closed_form import PLANT, LinearQuadratic
from pompc.networks.policies import PolicySample

GAMMA = 0.9
SETTING = {"kl_weight": 0.0, "virtual_ratio": 1.0, "model": "known", "num_proposals": 1, "proposal_noise": 0.0}


def test_the_name_stands_for_an_actor_on_the_explicit_model_that_starts_plans_by_its_mean():
    chosen = configure("cacto", "acrobot").algorithm_config
    assert (chosen.model, chosen.state_values, chosen.learn_policy) == ("known", True, True)
    assert (chosen.kl_weight, chosen.virtual_ratio) == (0.0, 1.0)
    assert (chosen.num_proposals, chosen.proposal_noise) == (1, 0.0)
    assert chosen.proposals_after > 0
    assert chosen.pretrain_updates == 0, "the policy does not learn in a burst"


def test_the_actor_climbs_reward_and_value_through_the_model_as_the_riccati_equation_says():
    """On the linear system the gradient with respect to the control is ``-2 (R u + gamma B' P (A x + B u))``."""
    family = Linear(LinearConfig(violation_weight=0.0, disturbance=0.0))
    agent = tiny.agent(
        BMPC, task_model=family.task_model, observation_dim=2, action_dim=1, discount=GAMMA, entropy_coef=0.0,
        temporal_decay=1.0, **SETTING,
    )  # fmt: skip
    p = torch.tensor(LinearQuadratic.solve(PLANT, GAMMA).p, dtype=torch.float32)
    a, b = agent.model.task.a, agent.model.task.b
    agent.critic.values = lambda inputs, chosen=None: -(inputs @ p * inputs).sum(-1).expand(2, *inputs.shape[:-1])
    data = tiny.batch(agent, 32)
    data["state"] = 0.3 * torch.randn(4, 32, 2)
    mean = agent.policy(data["state"])[0]
    agent.policy.sample = lambda state: PolicySample(mean, mean, torch.zeros_like(mean), torch.zeros_like(mean))
    loss, _ = agent.policy_loss(data)
    found = torch.autograd.grad(loss, list(agent.policy.parameters()), retain_graph=True)

    control, then = mean.detach(), data["state"] @ a.T + mean.detach() @ b.T
    assert control.abs().max() < 1, "within the bounds"
    slope = -2 * (0.25 * control + GAMMA * then @ p @ b) / agent.return_scale.value
    expected = torch.autograd.grad(-(slope * mean).mean(), list(agent.policy.parameters()))
    assert max(gradient.abs().max() for gradient in expected) > 1e-2
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


# -- how a plan starts ---------------------------------------------------------------------------------------------------


class TwoWells(LineModel):
    """A shallow well at the origin, a deep one at 3, and a barrier between them that only a steady push crosses."""

    def reward(self, state, action, next_state):
        x = next_state[..., 0]
        far, near = 4.0 - (x - 3.0).square(), -x.square()
        return torch.where(x > 2.5, far, torch.where((x > 0.8) & (x < 2.5), -3.0, near.clamp_min(-3.0)))

    def terminated(self, state, action, next_state):
        return torch.zeros_like(next_state[..., 0], dtype=torch.bool)


def planner_of_wells(**options):
    """An agent whose policy goes to the far well."""
    planner = {"horizon": 12, "num_samples": 64, "num_elites": 8, "num_iterations": 4, "temperature": 0.5}
    planner |= {"init_std": 0.3, "max_std": 0.3}
    agent = tiny.agent(
        BMPC, task_model=TwoWells, observation_dim=1, action_dim=1, planner=planner, **SETTING, **options
    )
    agent.policy.forward = lambda state: ((2 * (3.0 - state)).clamp(-1, 1), torch.zeros_like(state))
    agent.budget.burst = 0
    return agent


def starting(agent, envs=4):
    """The start of episodes at the origin."""
    td = TensorDict({name: spec.zero(torch.Size([envs])) for name, spec in agent.primers().items()}, batch_size=[envs])
    return td.update({"observation": torch.zeros(envs, 1), "is_init": torch.ones(envs, 1, dtype=torch.bool)})


def ends(agent, plan):
    """Where the mean of a plan from the origin ends ``[batch]``."""
    return agent.planner.rollout(torch.zeros(len(plan.mean), 1), plan.mean[:, :1, None])[:, 0, 0, -1, 0]


@torch.no_grad()
def test_from_zeros_a_plan_stays_in_the_near_well_and_from_the_policy_it_finds_the_far_one():
    agent, costs = planner_of_wells(), {}
    for name, proposals in (("zeros", None), ("policy", agent.proposals(torch.zeros(4, 1)))):
        torch.manual_seed(0)
        plan = agent.planner.plan(torch.zeros(4, 1), proposals=proposals, terminal_value=agent.terminal_value())
        costs[name] = plan.costs[:, 0].amin(-1)
        end = ends(agent, plan)
        assert (end.abs() < 0.8).all() if name == "zeros" else ((end - 3).abs() < 0.5).all()
    assert (costs["policy"] < costs["zeros"] - 2).all()


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
def test_the_best_sample_is_never_worse_than_the_proposal(seed):
    torch.manual_seed(seed)
    agent = planner_of_wells()
    del agent.policy.forward
    torch.nn.init.normal_(agent.policy.net[2].weight, std=2.0)  # any policy
    state = 4 * torch.rand(16, 1) - 1
    proposal = agent.proposals(state)
    scored = agent.planner.scorer.evaluate(
        agent.planner.rollout(state, proposal), proposal, terminal_value=agent.terminal_value()
    )
    plan = agent.planner.plan(state, proposals=proposal, terminal_value=agent.terminal_value())
    assert (plan.costs[:, 0].amin(-1) <= scored[:, 0, 0].sum(-1) + 1e-5).all()


def test_until_the_policy_has_learned_the_planner_acts_as_without_proposals():
    acted = {}
    for updates in (0, 9, 10):
        for name, options in (("with", {"proposals_after": 10}), ("without", {"proposals_after": 10**9})):
            agent = planner_of_wells(**options)
            agent.updates = updates
            torch.manual_seed(3)
            with set_exploration_type(ExplorationType.DETERMINISTIC):
                acted[updates, name] = agent(starting(agent))
    for updates in (0, 9):
        for key in ("action", ("next", "planner_mean")):
            assert torch.equal(acted[updates, "with"][key], acted[updates, "without"][key])
    assert not torch.equal(acted[10, "with"]["action"], acted[10, "without"]["action"])


@torch.no_grad()
def test_the_first_plan_of_an_episode_starts_from_zeros():
    agent = planner_of_wells(proposals_after=10)
    td = starting(agent)
    td["planner_mean"].fill_(0.9)  # of the episode before
    torch.manual_seed(3)
    with set_exploration_type(ExplorationType.DETERMINISTIC):
        agent(td)
    torch.manual_seed(3)
    plan = agent.planner.plan(torch.zeros(4, 1), terminal_value=agent.terminal_value())
    assert torch.equal(agent.planner.shift(plan.mean[:, 0]), td["next", "planner_mean"])


def test_the_actor_alone_brings_the_point_to_the_origin():
    """It has learned from reward and value through the model, and the values from the planner's sequences."""
    torch.manual_seed(0)
    planner = {"horizon": 4, "num_samples": 32, "num_elites": 8, "num_iterations": 2, "temperature": 0.05}
    networks = {"mlp_dim": 32, "batch_size": 32, "learning_rate": 3e-3, "target_rate": 0.1, "temporal_decay": 1.0}
    budget = {"seed_steps": 0, "pretrain_updates": 0, "sequence": 1, "update_to_data": 0.5, "proposals_after": 40}
    actor = pointed.agent(BMPC, planner=planner, reanalyze_interval=0, **SETTING, **networks, **budget)
    task, start = LineModel(), torch.linspace(-1.9, 1.9, 9).unsqueeze(-1)

    @torch.no_grad()
    def distance():
        x = start
        for _ in range(15):
            x = task.step(x, actor.policy.action(actor.policy(x)[0]))
        return x.abs().max().item()

    before = distance()
    pointed.collected(actor, 120)
    assert before > 1.0
    assert distance() < 0.3
