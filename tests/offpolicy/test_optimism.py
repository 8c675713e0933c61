"""Optimism and caution: which value of the heads the planner sees, in which unit, and that nothing else sees it."""

import dataclasses
import math
import re

import pytest
import tiny
import torch
from line import Line, LineConfig

from pompc.algorithms.bmpc import BMPC
from pompc.algorithms.tdmpc2 import TDMPC2, TDMPC2Config
from pompc.errors import UserError
from pompc.networks.ensembles import log_mean_exp
from pompc.networks.scale import RunningScale
from pompc.planner import MPPIConfig
from pompc.registry import ALGORITHMS

HEADS = torch.tensor([[3.0, -1.0], [1.0, 5.0], [8.0, 5.0]])


def agent_of(cls, scale=1.0, **options):
    """An agent with three heads whose values are those above, and a return of that scale."""
    agent = tiny.agent(cls, ensemble_size=3, **options)
    agent.critic.values = lambda inputs, chosen=None: HEADS if chosen is None else HEADS[chosen]
    if options.get("optimism"):
        agent.optimism.scale.value.fill_(scale)
    return agent


@pytest.mark.parametrize("cls", [TDMPC2, BMPC])
@pytest.mark.parametrize("optimism", [-2.0, 0.3, math.inf])
def test_the_planner_sees_the_log_mean_exp_over_all_heads_in_units_of_the_return(cls, optimism):
    agent = agent_of(cls, scale=4.0, optimism=optimism)
    state = agent.encode(torch.randn(2, 3))
    torch.testing.assert_close(agent.terminal_value()(state), 4 * log_mean_exp(HEADS / 4, optimism))


@pytest.mark.parametrize("cls", [TDMPC2, BMPC])
def test_without_optimism_the_planner_sees_the_mean_of_two_drawn_heads(cls):
    agent = agent_of(cls)
    agent.critic.draw = lambda: torch.tensor([2, 0])
    assert torch.equal(agent.terminal_value()(agent.encode(torch.randn(2, 3))), HEADS[[2, 0]].mean(0))
    assert not [name for name in agent.state_dict() if name.startswith("optimism")]


@pytest.mark.parametrize("cls", [TDMPC2, BMPC])
def test_one_number_goes_from_caution_through_the_mean_to_optimism(cls):
    state, scale = torch.randn(2, 3), [-math.inf, -2.0, 2.0, math.inf]
    agents = [agent_of(cls, optimism=kappa) for kappa in scale]
    least, cautious, bold, most = (agent.terminal_value()(agent.encode(state)) for agent in agents)
    assert torch.equal(least, HEADS.amin(0))
    assert torch.equal(most, HEADS.amax(0))
    assert ((least < cautious) & (cautious < HEADS.mean(0)) & (HEADS.mean(0) < bold) & (bold < most)).all()
    for agent, sign in zip(agents, (-1, -1, 1, 1), strict=True):  # returns through heads of the dynamics, too
        assert ((agent.optimism.join(HEADS) - HEADS.mean(0)).sign() == sign).all()
    assert torch.equal(agent_of(cls).optimism.join(HEADS), HEADS.mean(0))


def test_no_algorithm_has_another_key_for_disagreement_in_a_plan():
    words = re.compile("optimis|pessimis|cauti|penalt|bonus|disagree|uncertain")
    keys = set()
    for name in ALGORITHMS.builtin:
        config = ALGORITHMS.resolve(name).Config
        keys |= {field.name for field in dataclasses.fields(config)}
    assert {key for key in keys | {field.name for field in dataclasses.fields(MPPIConfig)} if words.search(key)} == {
        "optimism"
    }


@pytest.mark.parametrize("cls", [TDMPC2, BMPC])
def test_targets_and_the_policys_return_do_not_depend_on_it(cls):
    found = []
    for optimism in (0.0, 5.0):
        torch.manual_seed(0)
        agent = tiny.agent(cls, ensemble_size=3, optimism=optimism, random_value_scale=1.0)
        data = tiny.batch(agent)
        data["encoded"] = agent.model.encode(data["observation"]).detach()
        torch.manual_seed(1)
        state, action = data["encoded"][0], data["action"][0]
        found.append((agent.value_target(data), agent.values.of_action(state, action), agent.values.of_state(state)))
    for index, same in enumerate((True, True, False)):
        assert torch.equal(found[0][index], found[1][index]) is same


@pytest.mark.parametrize("in_burst", [True, False])
def test_the_scale_follows_the_value_targets_of_an_agent_that_only_imitates(in_burst):
    agent = tiny.agent(BMPC, optimism=1.0, reanalyze_interval=0)
    assert math.isinf(agent.kl_weight.value)
    target, expected = 50 * torch.randn(3, 8), RunningScale(agent.config.scale_rate)
    agent.value_target = lambda batch: target
    metrics = agent.update(tiny.batch(agent), in_burst=in_burst)
    expected.update(target[0])
    assert expected.value > 1
    assert torch.equal(agent.optimism.scale.value, expected.value)
    assert torch.equal(metrics["value_scale"], expected.value)
    assert agent.return_scale.value == 1, "the policy's scale stands still"


def test_the_scale_is_saved_with_the_weights():
    one, other = (tiny.agent(optimism=1.0) for _ in range(2))
    one.optimism.scale.value.fill_(7.0)
    other.load_state_dict(one.state_dict())
    assert other.optimism.scale.value == 7


@pytest.mark.parametrize("optimism", [-10.0, 10.0])
def test_a_plan_seeks_disputed_states_and_a_cautious_one_avoids_them(optimism):
    """On the line the heads agree on the left of the origin; on the right they differ, around the same mean."""
    task = Line(LineConfig()).task_model
    planner = {"num_samples": 64, "num_elites": 8, "num_iterations": 3, "temperature": 0.1}
    agent = tiny.agent(
        BMPC, model="known", optimism=optimism, planner=planner, task_model=task, observation_dim=1, action_dim=1
    )
    agent.model.task.reward = lambda state, action, next_state: torch.zeros_like(state[..., 0])
    right = lambda inputs: inputs[..., 0].clamp_min(0)  # noqa: E731
    agent.critic.values = lambda inputs, chosen=None: torch.stack([right(inputs), -right(inputs)])
    torch.manual_seed(0)
    start = torch.full((4, 1), 0.5)
    plan = agent.planner.plan(start, terminal_value=agent.terminal_value())
    last = agent.planner.rollout(start, plan.mean[:, :, None])[:, 0, 0, -1, 0]
    assert (last > 1.7).all() if optimism > 0 else (last < 0.1).all()  # three actions go 1.5 to either side


@pytest.mark.parametrize("optimism", [1.0, -1.0, math.inf])
def test_one_head_leaves_nothing_to_be_optimistic_about(optimism):
    with pytest.raises(UserError, match=r"^algo\.ensemble_size=1: algo\.optimism, .*, needs at least 2 of them$"):
        TDMPC2Config(ensemble_size=1, optimism=optimism)
    TDMPC2Config(ensemble_size=1)


# -- on policy -------------------------------------------------------------------------------------------------------


def hierarchy(**options):
    from hierarchy import hierarchical

    planner = dataclasses.replace(MPPIConfig(horizon=5, num_samples=8, num_zero_mean=2))
    return hierarchical(planner=planner, ensemble_size=3, **options)


def test_the_hierarchys_planner_sees_the_log_mean_exp_of_its_ensemble():
    agent, state = hierarchy(terminal_value_weight=2.0, optimism=1.5), torch.randn(6, 1)
    agent.return_scale.moments.var.fill_(4.0)  # values are in units of half a reward
    values = agent.values(agent.normaliser(state))
    expected = 2.0 * 2.0 * log_mean_exp(values, 1.5)
    torch.testing.assert_close(agent.terminal_value()(state), expected, rtol=1e-4, atol=1e-5)
    plain = hierarchy(terminal_value_weight=2.0)
    plain.load_state_dict(agent.state_dict())
    assert torch.equal(plain.terminal_value()(state), 2.0 / plain.return_scale.factor * plain.mean_value(state))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optimism": 1.0}, r"^algo\.optimism has no effect .*: set algo\.terminal_value_weight$"),
        (
            {"optimism": 1.0, "terminal_value_weight": 1.0, "ensemble_size": 1},
            r"^algo\.ensemble_size=1: algo\.optimism, .*, needs at least 2 of them$",
        ),
    ],
)
def test_a_hierarchy_without_values_or_with_one_refuses_it(options, words):
    from pompc.algorithms.adaptive_hrl import AdaptiveHRLConfig

    with pytest.raises(UserError, match=words):
        AdaptiveHRLConfig(virtual_ratio=0.0, **options)
