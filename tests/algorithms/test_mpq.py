"""MPQ: the blend as a dial, targets from plans, and what it learns."""

import math

import pytest
import tiny
import torch
from line import Line, LineConfig
from tensordict import TensorDict
from torchrl.envs.utils import ExplorationType, set_exploration_type

from pompc.algorithms.mpq import MPQ, MPQConfig
from pompc.algorithms.tdmpc2 import TDMPC2
from pompc.data.collector import make_collector
from pompc.dial import ScheduleConfig
from pompc.errors import UserError

TASK = Line(LineConfig())


def agent_of(cls=MPQ, planner=None, **options):
    """An agent on a line, whose plans have 16 samples."""
    given = {"task_model": TASK.task_model, "observation_dim": 1, "action_dim": 1, "model": "known", "num_proposals": 0}
    torch.manual_seed(0)
    return tiny.agent(cls, planner=planner or {}, **{**given, **options})


def decided(agent, explore=False):
    """Decide in four states after the seed phase; return the TensorDict."""
    agent.budget.burst = 0
    carried = {name: spec.zero(torch.Size([4])) for name, spec in agent.primers().items()}
    first = {"observation": torch.linspace(-2, 2, 4).unsqueeze(-1), "is_init": torch.ones(4, 1, dtype=torch.bool)}
    torch.manual_seed(1)
    mode = ExplorationType.RANDOM if explore else ExplorationType.DETERMINISTIC
    with set_exploration_type(mode):
        return agent(TensorDict({**carried, **first}, batch_size=[4]))


def test_at_blend_one_it_decides_as_the_agent_without_a_blend_bit_for_bit():
    plain, blended = decided(agent_of(TDMPC2, sequence=1)), decided(agent_of(blend=1.0))
    for name in ("action", "plan_mean", "plan_std", ("next", "planner_mean")):
        assert torch.equal(plain[name], blended[name]), name


def test_at_blend_zero_the_action_is_the_best_of_the_value_among_the_samples():
    agent = agent_of(
        blend=0.0,
        target_samples=20,
        planner={"num_samples": 400, "temperature": 1e-3, "num_iterations": 4, "num_elites": 20},
    )
    agent.critic.values = lambda inputs, chosen=None: -(inputs[..., 1] - 0.1 * inputs[..., 0]).square().unsqueeze(0)
    td = decided(agent)
    torch.testing.assert_close(td["action"], 0.1 * td["observation"], atol=0.05, rtol=0)


@pytest.mark.parametrize("beside", [{}, {"change_cost": 5.0}, {"control_cost": 0.5}], ids=str)
def test_the_target_is_the_reward_and_the_free_energy_of_a_plan_at_the_next_state(beside):
    """With one iteration and no noise all samples are the warm start, whose value is known.

    What the planner charges beside the task is no part of it.
    """
    planner = {"init_std": 0.0, "num_iterations": 1, "horizon": 3, "num_elites": 0, "adapt_std": False, **beside}
    agent = agent_of(blend=0.25, planner=planner, target_samples=8)
    agent.critic.target_values = lambda inputs, chosen=None: (2 * inputs[..., 0] + inputs[..., 1]).unsqueeze(0)
    agent.policy.sample = lambda state: type("Sample", (), {"action": torch.zeros_like(state)})
    data = tiny.batch(agent)
    data["observation"] = data["observation"].clamp(-1, 1)
    data["next_plan"] = torch.rand(2, 8, 3, 1) - 0.5
    data["encoded"] = data["observation"]
    steps = agent.planner.model_steps
    target = agent.value_target(data)
    state, total, b, discount = data["observation"][1, :, 0], 0.0, 0.25, agent.discount
    for h, action in enumerate(data["next_plan"][0, :, :, 0].unbind(-1)):
        after = state + 0.5 * action
        total = total + (b * discount) ** h * ((1 - b) * (2 * state + action) - b * after.abs())
        state = after
    total = total + (b * discount) ** 3 * 2 * state
    torch.testing.assert_close(target[0], data["reward"][0, :, 0] + discount * total, rtol=1e-5, atol=1e-5)
    assert agent.planner.model_steps - steps == 8 * 8 * 3, "the plans of targets are counted"


def test_a_target_starts_from_the_plan_that_was_made_then():
    agent = agent_of()
    world = tiny.World(agent)
    world.run(40)
    batch, _ = agent.replay.sample(8)
    assert batch["next_plan"].shape == (2, 8, 3, 1)
    td = decided(agent, explore=True)
    assert torch.equal(td["next_plan"], td["next", "planner_mean"])


def test_the_blend_falls_as_a_dial_and_is_logged():
    agent = agent_of(blend=ScheduleConfig(schedule="exp", initial=0.8, decay=0.9, minimum=0.3), value_target="policy")
    metrics = tiny.World(agent).run(40)
    falls = [found["blend"] for found in metrics if found["updates"]]
    assert falls[0] < 0.8
    assert falls[-1] == pytest.approx(max(0.3, 0.8 * 0.9**agent.updates))
    assert falls == sorted(falls, reverse=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blend": 1.5}, "blend"),
        ({"blend": {"schedule": "linear", "initial": 1.0, "to": 2.0}}, r"blend\.to must lie in \[0, 1\]"),
        ({"blend": {"schedule": "auto"}}, "blend"),
        ({"ensemble_size": 1}, "ensemble_size=1"),
        ({"target_samples": 2}, "target_samples=2 is fewer"),
        ({"target_steps": 1}, "target_steps has no effect"),
        ({"planner_cost": "task"}, "planner_cost"),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_line(options, message):
    if isinstance(options.get("blend"), dict):
        options = {"blend": ScheduleConfig(**options["blend"])}
    with pytest.raises(UserError, match=message) as error:
        MPQConfig(**options)
    assert "\n" not in str(error.value)


def test_values_learned_from_plans_lead_plans_of_one_step_home():
    """The blend falls from the model to the values; the policy is asked for the value at the end of a plan only."""
    planner = {"horizon": 2, "num_samples": 32, "num_elites": 0, "num_iterations": 2, "temperature": 0.05}
    options = {"mlp_dim": 32, "batch_size": 32, "learning_rate": 3e-3, "target_rate": 0.1, "target_samples": 8}
    options |= {"seed_steps": 120, "pretrain_updates": 60, "num_envs": 4, "update_to_data": 0.5}
    agent = agent_of(blend=ScheduleConfig(schedule="linear", initial=1.0, to=0.0, over=120), planner=planner, **options)
    collector = make_collector(TASK.vectorise(4, seed=0), agent, agent.frames_per_batch)
    while agent.budget.transitions < 360:
        agent.learn(collector.rollout())
        while agent.pending_updates:
            agent.catch_up()
    collector.shutdown()
    assert agent.dials.find("blend").value == 0.0
    state = torch.tensor([[-1.9], [1.2], [1.9]])
    for _ in range(8):
        state = TASK.task_model().step(state, agent.planner.plan(state).mean[:, 0, 0])
    assert state.abs().max() < 0.5
    assert math.isfinite(agent.planner.model_steps)
