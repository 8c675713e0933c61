"""The examples of docs/planner_robots.md run as printed and do what the page says."""

import math
import runpy

import pytest
import torch
from test_docs import ROOT, example

from pompc.planner.weights import effective_sample_size

PAGE = "docs/planner_robots.md"


def test_tanks_are_planned_for_in_float64_within_bounds_and_with_another_horizon():
    names = example(PAGE, "options")
    plan, longer = names["plan"], names["longer"]
    assert plan.mean.dtype == torch.float64
    assert ((plan.mean >= 2) & (plan.mean <= 5)).all()
    assert plan.effective_samples.item() == pytest.approx(20, rel=1e-3)
    assert longer.mean.shape == (1, 25, 2)
    assert len(names["seen"]) == 3


def test_a_boat_stays_in_its_place_in_a_tide():
    assert torch.stack(example(PAGE, "time")["places"])[50:].abs().max() < 0.1


def test_limits_of_change_hold_while_a_cart_is_driven():
    names = example(PAGE, "limits")
    changes = torch.stack(names["applied"]).diff(dim=0)
    assert changes.abs().max() <= 0.2 + 1e-6
    assert changes.diff(dim=0).abs().max() <= 0.05 + 1e-6
    assert changes.diff(dim=0).abs().max() > 0.049, "the limit is what holds it back"
    assert names["state"][:, 0].abs().max() < 0.15


def test_smppi_is_smoother_and_arrives():
    names = example(PAGE, "smooth")
    for state, _ in (names["plain"], names["smppi"]):
        assert (state - 1).abs().max() < 0.1
    assert names["smppi"][1] < 0.3 * names["plain"][1]


def test_cvar_stays_further_from_the_cliff():
    ends = example(PAGE, "risk")["ends"]
    assert ends["cvar"] < ends["mean"] - 0.05


def test_a_simulator_in_numpy_is_driven_to_its_goal():
    torch.testing.assert_close(example(PAGE, "numpy")["state"], torch.ones(1, 2), atol=0.1, rtol=0)


def test_a_mujoco_pendulum_is_lifted_and_held():
    heights = example(PAGE, "mujoco")["heights"]
    assert heights[0] == 0.5
    assert min(heights[-20:]) > 1.4


def test_a_robot_with_delay_and_without_speedometer_comes_to_its_goal():
    names = example(PAGE, "realtime")
    assert names["robot"].state.abs().max() < 0.3
    assert len(names["ticks"]) == 100
    assert names["planner"].model_steps >= 100 * 20 * 128, "at least one iteration per period"


def test_three_robots_pass_the_obstacles_and_the_picture_shows_them():
    names = example(PAGE, "obstacles")
    assert (names["state"][:, :2] - names["GOAL"]).norm(dim=-1).max() < 0.2
    assert names["least"] >= 0.1 - 1e-5, "the safety margin is kept"
    for plan in names["plans"]:
        torch.testing.assert_close(effective_sample_size(plan.weights), plan.effective_samples)
    script = runpy.run_path(str(ROOT / "docs/obstacles.py"))
    lines = script["draw"](names).axes[0].lines
    assert len(lines) == 3 * (2 + 40 * len(script["SHOWN"])) + 1
    assert all(math.isfinite(value) for value in lines[-1].get_xdata())
    assert (ROOT / "docs/obstacles.png").exists()
