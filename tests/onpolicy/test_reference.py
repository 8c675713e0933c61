"""A plan as a reference: made when it is due, followed in between, seen relative to the present."""

import pytest
import torch
from line import LineModel
from tensordict import TensorDict

from pompc.models import KnownModel
from pompc.onpolicy.reference import Reference
from pompc.planner import MPPI, MPPIConfig

HORIZON = 6


class Turning:
    """An angle that the action turns; the networks see its cosine and sine."""

    state_dim, action_dim, parameter_dim = 1, 1, 1
    nominal = torch.zeros(1)

    def state(self, observation):
        return torch.atan2(observation[..., 1], observation[..., 0]).unsqueeze(-1)

    def observe(self, state):
        return torch.cat([state.cos(), state.sin()], -1)

    def step(self, state, action):
        return state + action


def reference(task=None, every=3, steps=(1, 2), controls=True):
    task = task or LineModel()
    planner = MPPI(MPPIConfig(horizon=HORIZON, num_samples=16), task, task, 1)
    return Reference(planner, KnownModel(task), every=every, steps=steps, controls=controls)


def step(reference, observation, carried=None, is_init=False):
    """Take one step of the reference; returns it and what is carried on."""
    batch = [len(observation)]
    carried = {name: spec.zero(torch.Size(batch)) for name, spec in reference.primers().items()} | (carried or {})
    first = torch.as_tensor(is_init).expand(batch).unsqueeze(-1)
    td = TensorDict({"observation": observation, "is_init": first, **carried}, batch_size=batch)
    states, controls = reference.follow(td)
    return states, controls, {name: td["next", name] for name in reference.primers()}


def test_a_plan_is_made_every_few_steps_and_followed_in_between():
    ref, planned = reference(every=3), []
    carried, previous = None, None
    for time in range(7):
        before = ref.planner.model_steps
        states, controls, carried = step(ref, torch.randn(4, 1), carried, is_init=time == 0)
        planned.append(ref.planner.model_steps > before)
        if not planned[-1]:
            assert torch.equal(states[:, :-1], previous[0][:, 1:])
            assert torch.equal(controls[:, :-1], previous[1][:, 1:])
        previous = (states, controls)
    assert planned == [True, False, False] * 2 + [True]


def test_the_states_are_the_models_rollout_of_the_controls_from_the_present():
    observation = torch.randn(4, 1)
    states, controls, _ = step(reference(), observation, is_init=True)
    assert states.shape == (4, HORIZON + 1, 1)
    torch.testing.assert_close(states[:, 0], observation)
    torch.testing.assert_close(states[:, 1:], states[:, :-1] + 0.5 * controls)


def test_only_the_environments_that_are_due_plan_again():
    ref = reference(every=5)
    states, _, carried = step(ref, torch.randn(4, 1), is_init=True)
    before = ref.planner.model_steps
    new = torch.tensor([False, True, False, False])
    again, _, carried = step(ref, torch.full((4, 1), 2.0), carried, is_init=new)
    assert ref.planner.model_steps - before == (16 + 1) * HORIZON
    assert torch.equal(again[~new, :-1], states[~new, 1:])
    assert again[new, 0].item() == 2.0
    assert carried["reference_left"].flatten().tolist() == [3, 4, 3, 3]


def test_every_step_planned_is_the_planner_with_its_warm_start():
    ref, observation, carried = reference(every=1), torch.randn(4, 1), None
    parameters, mean = torch.zeros(4, 1, 1), None
    for time in range(3):
        torch.manual_seed(time)
        _, controls, carried = step(ref, observation, carried, is_init=time == 0)
        torch.manual_seed(time)
        plan = ref.planner.plan(observation, parameters=parameters, mean=mean)
        assert torch.equal(controls, plan.mean[:, 0])
        mean, observation = ref.planner.shift(controls), observation + 0.1


def test_the_view_has_the_observation_the_way_ahead_and_the_present_control():
    ref = reference(steps=(1, 4))
    states, controls = torch.arange(7.0).view(1, 7, 1), torch.arange(6.0).view(1, 6, 1) / 10 + 0.5
    assert ref.view(torch.tensor([[2.0]]), states, controls).tolist() == [[2.0, -1.0, 2.0, 0.5]]
    assert ref.dim == 4
    assert ref.deviation(torch.tensor([[2.0]]), states).tolist() == [[-2.0]]


@pytest.mark.parametrize(("steps", "controls", "dim"), [((), False, 1), ((), True, 2), ((3,), False, 2)])
def test_parts_of_the_view_can_be_hidden(steps, controls, dim):
    ref = reference(steps=steps, controls=controls)
    observation = torch.randn(5, 3, 1)
    view = ref.view(observation, torch.randn(5, 3, 7, 1), torch.randn(5, 3, 6, 1))
    assert view.shape == (5, 3, dim) == (5, 3, ref.dim)
    assert torch.equal(view[..., :1], observation)


def test_full_turns_of_an_angle_are_no_deviation():
    ref = reference(Turning())
    states = torch.zeros(1, 7, 1) + 2 * torch.pi * torch.arange(7).view(1, 7, 1)
    observation = Turning().observe(torch.zeros(1, 1))
    view = ref.view(observation, states, torch.zeros(1, 6, 1))
    torch.testing.assert_close(view[:, 2:], torch.zeros(1, 5), atol=1e-5, rtol=0)
