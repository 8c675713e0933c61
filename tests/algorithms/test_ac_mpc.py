"""ac_mpc: PPO's ratio, the gradient through the plan, and its limit cases."""

import dataclasses

import pytest
import torch
from hierarchy import PLANNER, SMALL, collect, first_step, hierarchical, problem
from line import LineModel

from pompc.algorithms.ac_mpc import ACMPC, ACMPCConfig
from pompc.dial import ScheduleConfig
from pompc.errors import UserError
from pompc.onpolicy.cost_maps import LEAST_WEIGHT, QuadraticCost, TaskWeights
from pompc.onpolicy.planning_actor import PlanningActor
from pompc.planner import MPPI, MPPIConfig
from pompc.planner.ilqr import ILQR
from pompc.planner.layer import SampledLayer


def agent(**options):
    return ACMPC(ACMPCConfig(**{"planner": PLANNER, **SMALL, **options}), problem())


class Ignorant(LineModel):
    """Its cost reads no parameters."""

    def running(self, state, action, next_state, parameters):
        return next_state[..., 0].square() + 0.0 * parameters[..., 0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cost": "quadratic"},
        {"planner": dataclasses.replace(PLANNER, change_cost=0.5)},
        {"solver": "ilqr", "cost": "quadratic", "batch_size": 32},
    ],
)
def test_ppos_ratio_is_one_on_the_first_minibatch(options):
    learner = agent(**options)
    (data,) = collect(learner)
    batch = learner.real_batch(data)[:24]
    assert batch["is_init"].any()
    assert batch["planner_mean"][~batch["is_init"][:, 0]].abs().max() > 0.01
    mean, std = learner.actor(*(batch[key] for key in learner.actor.in_keys))
    density = torch.distributions.Normal(mean, std).log_prob(batch["policy_action"]).sum(-1)
    torch.testing.assert_close((density - batch["log_prob"]).exp(), torch.ones(24), atol=1e-4, rtol=0)
    loss = learner.clipped_loss(batch)
    assert loss["clip_fraction"] == 0
    assert abs(loss["kl_approx"]) < 1e-5


def test_the_actors_gradient_is_the_closed_form_of_one_step():
    """One step of ``x' = x + u / 2``: the plan minimises a quadratic with a proximal term."""
    task, std, temperature = LineModel(), 0.4, 0.5
    costs = QuadraticCost(task, 1, 1, 10.0)
    config = MPPIConfig(horizon=1, num_samples=2**16, num_zero_mean=0, init_std=std, temperature=temperature)
    layer = SampledLayer(MPPI(config, costs.dynamics, costs.cost, 1, low=-9.0, high=9.0))
    actor = PlanningActor(layer, costs, 1, 1, (8,), initial_std=0.3)
    observation, is_init = torch.tensor([[0.3]]), torch.ones(1, 1, dtype=torch.bool)
    output = actor.net(observation).detach().requires_grad_()
    weight, slope = (x[0] for x in costs.parameters(output).chunk(2, -1))
    x = 0.3
    stiffness = weight[0] / 4 + weight[1] + temperature / std**2
    closed = -(weight[0] * x / 2 + slope[0] / 2 + slope[1]) / stiffness
    (expected,) = torch.autograd.grad(closed, output)
    mean, _ = actor(observation, observation, torch.zeros(1, 1, 1), is_init)
    (ours,) = torch.autograd.grad(mean.sum(), actor.net[-1].bias)
    torch.testing.assert_close(mean.squeeze(), closed, atol=0.01, rtol=0)
    torch.testing.assert_close(ours, expected[0], atol=0.01, rtol=0)
    assert expected.abs().max() > 0.1


def test_a_cost_that_ignores_its_parameters_gives_the_network_no_gradient():
    learner = agent()
    learner.planner.scorer.__init__(learner.planner.config, learner.task, Ignorant(), learner.planner.device)
    (data,) = collect(learner)
    learner.policy_loss(learner.real_batch(data))[0].backward()
    assert all(not parameter.grad.any() for parameter in learner.actor.net.parameters())
    assert learner.actor.log_std.grad.abs().max() > 1e-3


def test_the_network_gets_a_gradient_and_an_update_moves_it():
    learner = agent()
    before = [parameter.detach().clone() for parameter in learner.actor.net.parameters()]
    (data,) = collect(learner)
    acted = learner.model_steps
    metrics = learner.learn(data)
    assert all(not torch.equal(a, b) for a, b in zip(before, learner.actor.net.parameters(), strict=True))
    assert metrics["effective_samples"] > 1
    # Both epochs plan once per transition.
    assert metrics["model_steps"] - acted == 2 * 64 * 5 * 8


@pytest.mark.parametrize("solver", ["sampled", "ilqr"])
def test_the_random_numbers_of_plans_are_those_of_the_runs_seed(solver):
    config, plans = ACMPCConfig(planner=PLANNER, solver=solver, cost="quadratic", **SMALL), []
    for seed in (3, 3, 4):
        torch.manual_seed(0)
        learner = ACMPC(config, dataclasses.replace(problem(), seed=seed))
        start = {"mean": torch.zeros(2, 5, 1), "is_init": torch.ones(2, 1, dtype=torch.bool)}
        sampled = learner.planning.layer.planner.plan(torch.tensor([[0.5], [-1.0]]), parameters=_flat(learner), **start)
        plans.append(sampled.actions)
    assert torch.equal(plans[0], plans[1])
    assert not torch.allclose(plans[0], plans[2])


def _flat(learner):
    return learner.planning.costs.parameters(learner.planning.costs.start).expand(2, 1, -1)


def test_it_sets_the_same_cost_parameters_as_a_hierarchy_that_draws_them():
    learner, reiter = agent(), hierarchical(candidates=1, virtual_ratio=0.0)
    output = learner.actor.net(learner.normaliser(first_step(learner)["observation"]))
    with torch.no_grad():
        reiter.actor.net[-1].weight.zero_()
        reiter.actor.net[-1].bias.copy_(output[0].tanh())
        ours = learner.cost_parameters(first_step(learner), True)["parameters"]
        theirs = reiter.cost_parameters(first_step(reiter), False)["parameters"]
    torch.testing.assert_close(ours, theirs)


def test_the_task_cost_starts_at_its_nominal_parameters():
    task = LineModel()
    costs = TaskWeights(task)
    torch.testing.assert_close(costs.parameters(costs.start), task.parameters(task.nominal))


def test_the_quadratic_charges_every_stage_by_its_own_weights():
    costs = QuadraticCost(LineModel(), 4, 2, 10.0)
    output = torch.randn(3, 1, costs.dim)
    given = costs.parameters(output)
    assert given[..., : costs.dim // 2].min() >= LEAST_WEIGHT
    state, action = torch.randn(4, 3, 1, 5, 1), torch.randn(4, 3, 1, 5, 1)
    charged = costs.running(state, action, state + action, given.unsqueeze(2))
    weight, slope = given.view(3, 1, 2, 2, 2).unbind(2)
    for step, stage in enumerate((0, 0, 1, 1)):
        z = torch.cat([state[step] + action[step], action[step]], -1)
        q, p = (x[:, :, stage].unsqueeze(2) for x in (weight, slope))
        torch.testing.assert_close(charged[step], (q * z.square() / 2 + p * z).sum(-1))
    assert not costs.terminal(state, given).any()


def test_a_learned_quadratic_reproduces_a_given_linear_gain():
    costs = QuadraticCost(LineModel(), 2, 2, 10.0)
    planner = MPPI(MPPIConfig(horizon=2, num_samples=8), costs.dynamics, costs.cost, 1)
    torch.manual_seed(0)
    actor = PlanningActor(ILQR(planner), costs, 1, 1, (8,), initial_std=0.3)
    bias, x = actor.net[-1].bias, torch.linspace(-0.8, 0.8, 5).unsqueeze(-1)
    with torch.no_grad():
        actor.net[-1].weight.zero_()  # one cost for all states
    optimizer = torch.optim.Adam([bias], lr=0.1)
    begin = (x, x, torch.zeros(5, 2, 1), torch.ones(5, 1, dtype=torch.bool))
    start = (actor(*begin)[0] + 0.7 * x).square().mean().item()
    for _ in range(40):
        loss = (actor(*begin)[0] + 0.7 * x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.02 * start


def test_rho_above_zero_teaches_the_values_from_the_executed_plan():
    learner = agent(virtual_ratio=0.5, virtual_count=3)
    (data,) = collect(learner)
    assert data["virtual", "actions"].shape == (4, 16, 3, 5, 1)
    torch.testing.assert_close(
        data["virtual", "states"][:, :, :, 0], data["observation"].unsqueeze(2).expand(-1, -1, 3, -1)
    )
    assert learner.learn(data)["virtual_transitions"] > 64


def test_rho_may_follow_the_bias_of_the_expansion():
    """The agent measures the bias of its own rollouts, and the ratio moves with it."""
    learner = agent(virtual_ratio=ScheduleConfig(schedule="auto", initial=0.1), ensemble_size=3)
    (data,) = collect(learner)
    assert learner.learn(data)["virtual_ratio"] == 0.1
    assert learner.virtual_ratio.measured == 1
    assert learner.virtual_ratio.value != 0.1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"kl_weight": 1.0}, "kl_weight must be 0"),
        ({"cost_stages": 6}, "cost_stages=6 is above planner.horizon=5"),
        ({"planner": MPPIConfig(horizon=5, stochastic=True)}, "planner.stochastic"),
        ({"planner": MPPIConfig(horizon=5, hard=True)}, "planner.hard"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, named):
    with pytest.raises(UserError, match=named):
        agent(**options)
