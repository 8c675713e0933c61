"""What the planner of an off-policy agent minimises: minus the reward, or the task's own cost."""

import dataclasses
from typing import get_args, get_type_hints

import pytest
import tiny
import torch
from pointed import agent, family, first_step, problem

from pompc.algorithms.imitate import Imitate
from pompc.algorithms.mppi import MPPIAgent, MPPIAgentConfig
from pompc.algorithms.tdmpc2 import TDMPC2
from pompc.errors import UserError
from pompc.models.imagination import PLANNER_COSTS
from pompc.offpolicy.config import OffPolicyConfig


def test_every_name_that_the_option_takes_has_its_cost():
    assert set(get_args(get_type_hints(OffPolicyConfig)["planner_cost"])) == PLANNER_COSTS.keys()


@pytest.mark.parametrize("name", ["acrobot", "lunar_lander", "carla_racing", "linear_system"])
def test_with_the_tasks_cost_the_plan_is_that_of_the_planner_alone_bit_for_bit(name):
    of = family(name)
    expert = agent(Imitate, of, num_envs=2)
    alone = MPPIAgent(MPPIAgentConfig(planner=dataclasses.replace(expert.planner.config)), problem(of, 2))
    observation = of.vectorise(2, seed=3, device="cpu").reset()["observation"]
    found = []
    for each in (expert, alone):
        torch.manual_seed(5)
        td = each(first_step(each, observation))
        found.append((td["action"], td["next", "planner_mean"]))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_no_learned_value_is_added_to_the_tasks_cost():
    values = {
        cost: agent(TDMPC2, planner={"num_elites": 0}, model="known", planner_cost=cost).terminal_value()
        for cost in PLANNER_COSTS
    }
    assert values["task"] is None
    assert values["reward"] is not None


def test_the_cost_of_a_learned_model_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"^algo\.planner_cost=task .* take algo\.model=known or ") as error:
        tiny.agent(planner_cost="task")
    assert "\n" not in str(error.value)
