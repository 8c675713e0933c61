"""Who acts: the planner, the policy, or a mixture of both."""

from copy import deepcopy

import pytest
import tiny
import torch
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.algorithms.bmpc import BMPC
from pompc.errors import UserError
from pompc.offpolicy.acting import policy_action
from pompc.schedules import ScheduleConfig


def acted(agent, steps=14):
    """Step after the seed phase without updates; return the actions and who took them."""
    world = tiny.World(agent)
    while not agent.budget.begun:
        agent.budget.burst = 0
    seen = []
    for _ in range(steps):
        td = world.step()
        seen.append((td["action"][:, 0], td.get(("next", "policy_acts"), torch.zeros(2, 1, 1))[:, 0, 0] > 0))
    actions, policy = zip(*seen, strict=True)
    return torch.stack(actions), torch.stack(policy)


def test_by_default_the_planner_acts_and_nothing_is_added():
    agent = tiny.agent()
    assert list(agent.primers()) == ["planner_mean"]
    assert "policy_share" not in agent.learn(tiny.World(agent).step())


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_zero_or_one_draws_nothing(share):
    schedule = ScheduleConfig(schedule="switch", initial=share, to=0.5, over=10**9)
    agent = tiny.agent(policy_share=schedule)
    before = agent.who_acts.generator.get_state()
    _, policy = acted(agent)
    assert policy.all() == policy.any() == bool(share)
    assert torch.equal(agent.who_acts.generator.get_state(), before)


def test_at_a_share_of_zero_the_numbers_are_those_of_the_planner_bit_for_bit():
    schedule = ScheduleConfig(schedule="switch", initial=0.0, to=0.5, over=10**9)
    found = []
    for share in (0.0, schedule):
        torch.manual_seed(0)
        agent = tiny.agent(policy_share=share)
        torch.manual_seed(1)
        metrics = tiny.World(agent).run(16)
        found.append((metrics[-1]["model_loss"], torch.cat([p.flatten() for p in agent.parameters()])))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_policys_actions_are_executed_and_the_plan_is_still_stored():
    agent = tiny.agent(policy_share=1.0, log_std_min=-10.0, log_std_max=-9.0)
    world = tiny.World(agent)
    agent.budget.burst = 0
    observation = world.carried["observation"].clone()
    td = world.step()
    with torch.no_grad():
        own = agent.policy.action(agent.policy.sample(agent.encode(observation)).mean)
    torch.testing.assert_close(td["action"][:, 0], own, rtol=0, atol=1e-3)
    assert (td["plan_std"] > 0.01).all()
    assert (td["plan_mean"][:, 0] - own).abs().max() > 0.01


@pytest.mark.parametrize("hold", [1, 5])
def test_a_mixture_acts_in_its_share_and_holds_its_choice(hold):
    agent = tiny.agent(policy_share=0.3, policy_hold=hold)
    _, policy = acted(agent, steps=400)
    assert policy.float().mean().item() == pytest.approx(0.3, abs=0.1)
    changes = (policy[1:] != policy[:-1]).float().mean().item()
    assert changes < (0.5 if hold == 1 else 0.15)  # a new episode every ten steps starts with a new choice
    if hold == 5:
        blocks = policy.view(-1, 5, 2)  # two environments, episodes of ten steps
        assert (blocks.all(1) | ~blocks.any(1)).all()


def test_an_evaluation_neither_draws_nor_lets_the_policy_act_unless_it_always_does():
    for share, own in ((0.5, False), (1.0, True)):
        agent = tiny.agent(policy_share=share, log_std_min=-10.0, log_std_max=-9.0)
        before = agent.who_acts.generator.get_state()
        td = tiny.World(agent).carried
        with set_exploration_type(ExplorationType.DETERMINISTIC):
            td = agent(td)
        assert torch.equal(agent.who_acts.generator.get_state(), before)
        mean = policy_action(agent, td["observation"], explore=False)
        assert torch.equal(td["action"], mean) is own
        assert {"policy_acts", "choice_left", "planner_mean"} <= set(td["next"].keys())


def test_the_share_moves_by_its_schedule_and_is_a_metric():
    schedule = ScheduleConfig(schedule="linear", initial=0.0, to=1.0, over=40, clock="steps")
    metrics = tiny.World(tiny.agent(policy_share=schedule)).run(22)
    assert metrics[0]["policy_share"] == 0
    assert metrics[14]["policy_share"] == pytest.approx(30 / 40)
    assert metrics[-1]["policy_share"] == 1


def test_choices_continue_from_a_checkpoint():
    agent, other = (tiny.agent(BMPC, policy_share=0.5) for _ in range(2))
    acted(agent)
    other.load_state_dict(agent.state_dict())
    other.load_training_state(deepcopy(agent.training_state()))
    found = []
    for each in (agent, other):
        torch.manual_seed(3)
        found.append(acted(each))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(("trained", "played"), [(0.0, 1.0), (0.5, 1.0), (0.5, 0.0)])
def test_an_evaluation_may_choose_who_acts(trained, played):
    agent, other = tiny.agent(BMPC, policy_share=trained), tiny.agent(BMPC, policy_share=played)
    other.load_training_state(deepcopy(agent.training_state(replay=False)))
    share = other.dials.find("policy_share")
    assert (0.0 if share is None else share.value) == played


def test_a_share_beyond_one_and_a_hold_of_zero_are_refused():
    with pytest.raises(UserError, match=r"policy_share must lie in \[0, 1\], not 1.5"):
        tiny.config(policy_share=1.5)
    with pytest.raises(UserError, match=r"policy_share\.to must lie in \[0, 1\]"):
        tiny.config(policy_share=ScheduleConfig(schedule="linear", to=2.0))
    with pytest.raises(UserError, match=r"algo\.policy_hold must be positive, not 0"):
        tiny.config(policy_hold=0)
