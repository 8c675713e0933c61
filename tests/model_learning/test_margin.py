"""The learned margin: nothing is forbidden before it learns, what was violated afterwards."""

import copy

import pytest
import torch
from line import LineModel
from tensordict import TensorDict
from test_wrapper import observations, task_of

from pompc.errors import UserError
from pompc.model_learning.config import LearnedPartsConfig, ModelLearningConfig
from pompc.model_learning.make import explicit_model
from pompc.model_learning.margin import LearnedMargin
from pompc.model_learning.parts import LearnedParts
from pompc.model_learning.residual import ResidualModel
from pompc.models.known import KnownModel
from pompc.models.protocols import Constrained
from pompc.offpolicy.config import OffPolicyConfig
from pompc.planner import MPPI, MPPIConfig
from pompc.problem import Problem

WALL = 1.0  # the point on the line must not go beyond


class Walled(LineModel):
    """The point on the line, drawn to 2, with a wall before it."""

    def margins(self, state, action, next_state):
        return WALL - next_state

    def terminated(self, state, action, next_state):
        return torch.zeros_like(next_state[..., 0], dtype=torch.bool)

    def running(self, state, action, next_state, parameters):
        return (next_state - 2.0)[..., 0].square()


def data_of(x, cost):
    """Transitions ``[1, time]`` of one episode that visits ``x [time + 1]`` and pays ``cost [time]``."""
    x, cost = x[:, None], cost[:, None]
    done = torch.zeros(len(cost), 1, dtype=torch.bool)
    done[-1] = True
    after = {"observation": x[1:], "reward": -cost, "cost": cost, "done": done, "terminated": torch.zeros_like(done)}
    data = TensorDict({"observation": x[:-1], "action": torch.zeros_like(cost)}, batch_size=[len(cost)])
    return data.set("next", TensorDict(after, batch_size=[len(cost)])).unsqueeze(0)


def trained(shuffle=False, task=None, **options):
    """A margin that has seen 2,000 places on the line, and what each costs."""
    torch.manual_seed(0)
    x = torch.rand(2001) * 6 - 3
    cost = (x[1:] > WALL).float()
    cost = cost[torch.randperm(len(cost))] if shuffle else cost
    small = {"hidden_sizes": (32,), "batch_size": 128, "update_to_data": 0.1, "learning_rate": 1e-2}
    margin = LearnedMargin(task or Walled(), ModelLearningConfig(**{**small, **options}), num_envs=1)
    margin.learn(data_of(x, cost))
    return margin


def plan(model, **options):
    """Plan from the line's places -1 to 1 with common noise, attracted to 2."""
    config = MPPIConfig(horizon=6, num_samples=64, temperature=0.1, **options)
    state = torch.linspace(-1, 1, 5)[:, None]
    noise = torch.randn(1, 5, 1, 64, 6, 1, generator=torch.Generator().manual_seed(1))
    return MPPI(config, model, model, 1).plan(state, noise=noise, margins=True)


def farthest(found):
    """The farthest place that the plans of a planner reach."""
    return (found.states[:, 0, 0, 0] + 0.5 * found.mean[:, 0].cumsum(1).amax(1)).max()


# -- what it forbids ---------------------------------------------------------------------------------------------------


def test_a_new_margin_forbids_nothing_and_wants_no_margin_of_the_task():
    margin = LearnedMargin(LineModel(), ModelLearningConfig(), num_envs=1)
    assert isinstance(margin, Constrained)
    x = torch.linspace(-3, 3, 7)[:, None]
    torch.testing.assert_close(margin.margins(x, x, x), torch.full_like(x, 0.5 - torch.tensor(-2.0).sigmoid().item()))


@pytest.fixture(scope="module")
def fitted():
    return trained(update_to_data=0.3)


def test_on_separable_data_it_accepts_the_set_of_the_analytic_margin(fitted):
    task, x = Walled(), torch.linspace(-3, 3, 601)[:, None]
    decided = (x - WALL).abs() > 0.06
    assert ((fitted.margins(x, x, x) >= 0) == (task.margins(x, x, x) >= 0))[decided].all()


def test_a_planner_drops_the_samples_that_the_analytic_margin_drops(fitted):
    learned, analytic = plan(fitted, hard=True), plan(Walled(), hard=True)
    decided = analytic.margin.abs() > 0.06
    assert torch.equal((learned.margin >= 0)[decided], (analytic.margin >= 0)[decided])
    assert farthest(learned) < WALL + 0.06
    assert farthest(plan(Walled())) > WALL + 0.3, "without the constraint it goes through the wall"


def test_with_shuffled_labels_nothing_is_avoided(fitted):
    shuffled = plan(trained(shuffle=True, violation_weight=1.0), hard=True)
    assert torch.equal(shuffled.mean, plan(Walled()).mean)
    assert not torch.equal(shuffled.mean, plan(fitted, hard=True).mean)


# -- learning ----------------------------------------------------------------------------------------------------------


def test_it_says_which_violations_it_missed_and_which_steps_it_refused():
    margin = trained()
    x, cost = torch.tensor([0.0, 2.0, 2.0, -2.0, -2.0]), torch.tensor([1.0, 0.0, 1.0, 0.0])
    metrics = margin.learn(data_of(x, cost))
    assert metrics["margin_missed"] == 0.5
    assert metrics["margin_refused"] == 0.5
    unknown = margin.learn(data_of(x, torch.full_like(cost, torch.nan)))
    assert "margin_missed" not in unknown


def test_steps_without_a_cost_teach_nothing():
    x = torch.rand(201) * 6 - 3
    cost = (x[1:] > WALL).float()
    known = torch.rand(200) < 0.5
    found = []
    for other in (0.0, 1.0):  # what the unknown ones would have been
        margin = LearnedMargin(Walled(), ModelLearningConfig(update_to_data=0.0), num_envs=1)
        labels = torch.where(known, cost, torch.nan)
        margin.learn(data_of(x, labels))
        batch = margin.labelled(data_of(x, torch.where(known, cost, other)))[0]
        batch["violated"][~known] = torch.nan
        pairs = TensorDict(
            {"observation": torch.stack([x[:-1], x[1:]])[..., None], "violated": batch["violated"].expand(2, -1, 1)},
            batch_size=[2, 200],
        )
        found.append(margin.loss(pairs))
        torch.testing.assert_close(margin.network.violations.mean[0], cost[known].mean())
    assert torch.equal(*found)


@pytest.mark.parametrize(("share", "weight"), [(0.25, 3.0), (0.8, 1.0), (0.001, 100.0), (0.0, 100.0)])
def test_a_violation_weighs_as_much_as_the_steps_without(share, weight):
    margin = LearnedMargin(Walled(), ModelLearningConfig(), num_envs=1)
    margin.network.violations.update((torch.arange(1000)[:, None] < share * 1000).float())
    torch.testing.assert_close(margin.violation_weight, torch.tensor([weight]), rtol=1e-3, atol=0.0)


def test_the_gradient_reaches_its_network_alone_not_the_residual_below():
    residual = ResidualModel(LineModel(), ModelLearningConfig(), num_envs=1)
    margin = trained(task=residual)
    margin.loss(margin.replay.sample(8)[0]).backward()
    assert all(p.grad is not None for p in margin.network.parameters())
    assert all(p.grad is None for p in residual.network.parameters())


# -- both parts --------------------------------------------------------------------------------------------------------


def problem(task, info_keys=("cost",)):
    return Problem(
        observation_dim=1, action_dim=1, num_envs=1, task_model=lambda: task, device=torch.device("cpu"),
        info_keys=info_keys,
    )  # fmt: skip


def test_both_parts_learn_from_the_same_transitions_and_are_saved():
    config = LearnedPartsConfig(margins="learned", model_learning=ModelLearningConfig(update_to_data=0.1))
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        parts = LearnedParts()
        model = parts.adopt(KnownModel(explicit_model(config, "residual", problem(Walled()))))
        states.append((parts, model))
    (parts, model), (others, other) = states
    assert [part.name for part in parts.parts] == ["margin", "residual"]
    assert {name.split(".")[1] for name in parts.state_dict()} == {"margin", "residual"}
    x = torch.rand(101) * 6 - 3
    metrics = parts.learn(data_of(x, (x[1:] > WALL).float()))
    assert {"margin_loss", "residual_loss", "residual_error"} <= metrics.keys()
    place, action = torch.tensor([[0.5]]), torch.tensor([[1.0]])
    assert not torch.equal(model.next(place, action), other.next(place, action))
    others.load_state_dict(parts.state_dict())
    others.load_training_state(copy.deepcopy(parts.training_state()))  # the two would share the moments of Adam
    assert torch.equal(model.next(place, action), other.next(place, action))
    assert torch.equal(model.task.margins(place, action, place), other.task.margins(place, action, place))
    for each in (parts, others):
        torch.manual_seed(2)
        each.learn(data_of(x, (x[1:] > WALL).float()))
    for left, right in zip(parts.state_dict().values(), others.state_dict().values(), strict=True):
        assert torch.equal(left, right)


def test_a_state_without_learned_parts_is_enough_to_act():
    parts = LearnedParts()
    parts.adopt(ResidualModel(LineModel(), ModelLearningConfig(), num_envs=1))
    parts.load_training_state({})
    assert parts.parts[0].updates == 0


def test_a_model_without_learned_parts_leaves_no_trace():
    parts, task = LearnedParts(), LineModel()
    assert parts.adopt(task) is task
    assert parts.state_dict() == {}
    assert parts.training_state() == {}


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_an_environment_that_reports_no_cost_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"^algo\.margins=learned learns from info\['cost'\].*take algo\.margins=task$"):
        explicit_model(LearnedPartsConfig(margins="learned"), "known", problem(LineModel(), ()))


def test_a_learned_world_model_has_no_learned_margin():
    with pytest.raises(UserError, match=r"^algo\.margins=learned needs an explicit model: take algo\.model=known"):
        OffPolicyConfig(margins="learned", planner={})


# -- the lander whose model does not know the zones --------------------------------------------------------------------


@torch.no_grad()
def test_a_lander_may_plan_without_knowing_the_zones_that_it_observes():
    blind, sighted = task_of("lunar_lander", planner_sees_zones=False), task_of("lunar_lander")
    without = task_of("lunar_lander", zones=())
    observation = observations("lunar_lander")
    state, action = sighted.state(observation), torch.rand(len(observation), 2) * 2 - 1
    state[:, :2] = torch.tensor([0.35, 0.6])  # in a zone
    then = blind.step(state, action)
    assert torch.equal(blind.observe(state), sighted.observe(state))
    assert torch.equal(blind.terminated(state, action, then), without.terminated(state, action, then))
    assert torch.equal(blind.reward(state, action, then), without.reward(state, action, then))
    assert torch.equal(blind.running(state, action, then, None), without.running(state, action, then, None))
    assert torch.equal(blind.margins(state, action, then), without.margins(state, action, then))
    assert sighted.terminated(state, action, then).all()
    assert not blind.terminated(state, action, then).any()
