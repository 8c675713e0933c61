"""Agents whose planner keeps the constraints of an explicit model, and those that cannot."""

import csv
import dataclasses

import pytest
import tiny
import torch
from line import Line, LineConfig
from small import complete, config

from pompc.algorithms.adaptive_hrl import AdaptiveHRL
from pompc.algorithms.bmpc import BMPC
from pompc.algorithms.mppi import MPPIAgent
from pompc.algorithms.tdmpc2 import TDMPC2
from pompc.envs.linear import Linear, LinearConfig
from pompc.errors import UserError
from pompc.models import Constrained
from pompc.problem import Problem
from pompc.registry import ENVIRONMENTS
from pompc.training.evaluate import evaluate

# The regulator alone takes x1 below its bound of 0; there is no disturbance, and the model is exact.
BOUNDED = Linear(LinearConfig(disturbance=0.0, violation_weight=0.0, start=(0.5, 0.3), start_range=0.1, time_limit=25))
KNOWN = {"mlp_dim": 16, "ensemble_size": 2, "num_proposals": 4, "model": "known"}
AGENTS = {MPPIAgent: {}, AdaptiveHRL: {}, TDMPC2: KNOWN, BMPC: KNOWN}


def agent(cls, family, planner, **options):
    config = cls.Config()
    chosen = dataclasses.replace(config.planner, **{"num_samples": 64, **planner})
    problem = Problem(
        observation_dim=family.task_model().state_dim,
        action_dim=1,
        num_envs=8,
        task_model=family.task_model,
        device=torch.device("cpu"),
        episode_length=25,
    )
    torch.manual_seed(0)
    return cls(dataclasses.replace(config, planner=chosen, **options), problem)


def steps_outside(cls, planner):
    """Mean number of steps out of bounds in 4 episodes."""
    played = evaluate(agent(cls, BOUNDED, planner, **AGENTS[cls]), BOUNDED, episodes=4, seed=1, noise_seed=0)
    return played.mean()["cost"]


@pytest.mark.parametrize("cls", AGENTS)
def test_an_agent_with_hard_constraints_stays_within_bounds_that_it_left_without(cls):
    assert steps_outside(cls, {}) >= 1
    assert steps_outside(cls, {"hard": True, "tighten": 0.01}) == 0


@pytest.mark.parametrize("options", [{"hard": True}, {"violation_cost": 1.0}], ids=str)
@pytest.mark.parametrize("cls", AGENTS)
def test_an_explicit_model_without_margins_is_refused_in_one_line(cls, options):
    with pytest.raises(UserError, match=f"planner.{next(iter(options))} needs the margins of constraints") as error:
        agent(cls, Line(LineConfig()), options, **AGENTS[cls])
    assert "\n" not in str(error.value)


def test_a_learned_model_is_refused_in_one_line():
    with pytest.raises(
        UserError, match=r"planner.hard needs the margins .*, off policy with algo.model=known"
    ) as error:
        tiny.agent(planner={"hard": True})
    assert "\n" not in str(error.value)


def test_every_explicit_model_has_margins():
    """The error that names the environments relies on it."""
    for name, entry in ENVIRONMENTS.builtin.items():
        if entry.explicit_model:
            family = ENVIRONMENTS.resolve(name)
            assert isinstance(family(family.Config()).task_model(), Constrained), name


@pytest.mark.parametrize(
    ("algo", "env"), [("adaptive_hrl", "carla_racing"), ("mppi", "acrobot"), ("tdmpc2", "lunar_lander")]
)
def test_a_few_steps_with_constraints(algo, env, tmp_path):
    known = ("algo.model=known",) if algo == "tdmpc2" else ()
    options = ("planner.hard=true", "planner.tighten=0.05", "planner.violation_cost=10", *known)
    complete(config(tmp_path, algo, env, "steps=64", "eval.episodes=1", "eval.every=1000", *options))
    with open(tmp_path / "metrics.csv", newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)][-1] == 64
