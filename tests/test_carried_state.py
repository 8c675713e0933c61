"""Every decision must write the entries that the agent's primers carry from step to step."""

import pytest
import torch
from hierarchy import PLANNER, SMALL, collect, first_step, hierarchical, problem
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.algorithms.adaptive_hrl import AdaptiveHRL, AdaptiveHRLConfig
from pompc.algorithms.mppi import MPPIAgent, MPPIAgentConfig
from pompc.errors import UserError


class NoWarmStart(MPPIAgent):
    """Forgets the warm start."""

    def act(self, tensordict, explore):
        return super().act(tensordict, explore).exclude(("next", "planner_mean"))


class NoDecision(AdaptiveHRL):
    """Forgets the held decision when it does not explore."""

    def act(self, tensordict, explore):
        tensordict = super().act(tensordict, explore)
        return tensordict if explore else tensordict.exclude(("next", "decision"))


def planning(cls):
    return cls(MPPIAgentConfig(planner=PLANNER, batch_size=64), problem())


def test_a_forgotten_warm_start_is_an_error_that_names_the_key():
    said = r"NoWarmStart.act must write \('next', 'planner_mean'\), which primers\(\) carries"
    agent = planning(NoWarmStart)
    for _ in range(2):  # not only once
        with pytest.raises(UserError, match=said) as error:
            agent(first_step(agent))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=said):
        collect(planning(NoWarmStart))


def test_every_key_is_checked_in_both_kinds_of_decision():
    agent = NoDecision(AdaptiveHRLConfig(planner=PLANNER, **SMALL), problem())
    with set_exploration_type(ExplorationType.RANDOM):
        agent(first_step(agent))
    with (
        set_exploration_type(ExplorationType.DETERMINISTIC),
        pytest.raises(UserError, match=r"NoDecision.act must write \('next', 'decision'\)"),
    ):
        agent(first_step(agent))


@pytest.mark.parametrize("make", [hierarchical, lambda: planning(MPPIAgent)])
def test_the_algorithms_write_all_their_primers(make):
    agent = make()
    for kind in (ExplorationType.RANDOM, ExplorationType.DETERMINISTIC):
        with set_exploration_type(kind):
            td = agent(first_step(agent))
        assert {key for key in td["next"].keys()} == agent.primers().keys()  # noqa: C416, SIM118 - a TensorDict
        assert torch.isfinite(td["action"]).all()
