"""The residual: nothing before it learns, the model's error afterwards."""

import pytest
import torch
from line import Line, LineConfig, LineModel
from tensordict import TensorDict
from test_wrapper import NAMES, observations, task_of

from pompc.config.spec import configure
from pompc.data.collector import make_collector
from pompc.model_learning.config import ModelLearningConfig
from pompc.model_learning.residual import ResidualModel
from pompc.model_learning.wrapper import TaskWrapper
from pompc.registry import ENVIRONMENTS
from pompc.training.assemble import assemble
from pompc.training.evaluate import evaluate


def transitions(family, num_envs, steps, seed=1):
    """Transitions of random play ``[num_envs, step]``."""
    torch.manual_seed(seed)
    return family.vectorise(num_envs, seed=seed, device="cpu").rollout(steps, break_when_any_done=False)


def one_step_error(model, data):
    """Mean absolute one-step error of a model on transitions ``[...]``, of every state entry ``[state]``."""
    with torch.no_grad():
        predicted = model.step(model.state(data["observation"]), data["action"])
        error = TaskWrapper(model).difference(model.state(data["next", "observation"]), predicted)
        return error.abs().flatten(0, -2).mean(0)


@pytest.mark.parametrize("name", NAMES)
def test_a_new_residual_is_the_task_even_with_statistics(name):
    task = task_of(name)
    model = ResidualModel(task, ModelLearningConfig(), num_envs=1)
    observation = observations(name)
    state, action = task.state(observation), torch.rand(len(observation), task.action_dim) * 2 - 1
    assert torch.equal(model.step(state, action), task.step(state, action))
    model.network.take_in(observation, state, torch.ones_like(state))
    assert (model.network.scale == 1).all()
    assert torch.equal(model.step(state, action), task.step(state, action))


def test_entries_that_the_task_predicts_exactly_stay_untouched():
    task = task_of("acrobot")
    model = ResidualModel(task, ModelLearningConfig(), num_envs=3)
    torch.nn.init.normal_(model.network.net[-1].weight)  # a network that would disturb everything
    observation = observations("acrobot")
    state, action = task.state(observation), torch.rand(len(observation), 1) * 2 - 1
    error = torch.zeros_like(state)
    error[:, 2] = 0.1 * torch.randn(len(state))
    error[:, 3] = 1e-8  # rounding
    model.network.take_in(observation, state, error)
    changed = (model.step(state, action) != task.step(state, action)).any(0)
    assert changed.tolist() == [False, False, True, False, False]


def test_the_scale_is_the_running_mean_of_the_errors():
    model = ResidualModel(LineModel(), ModelLearningConfig(), num_envs=1)
    for error in (torch.full((3, 1), -0.2), torch.full((1, 1), 0.6)):
        model.network.take_in(torch.rand(len(error), 1), torch.rand(len(error), 1), error)
    torch.testing.assert_close(model.network.scale, torch.tensor([0.3]))


def test_the_gradient_of_the_loss_reaches_the_network_alone():
    made = ENVIRONMENTS.resolve("lunar_lander")
    family = made(made.Config(mismatch=0.3))
    model = ResidualModel(family.task_model("cpu"), ModelLearningConfig(batch_size=16), num_envs=2)
    model.learn(transitions(family, 2, 100))
    with torch.no_grad():
        model.network.net[-1].weight.normal_(std=0.1)  # a zero last layer hides the others
    batch, _ = model.replay.sample(16)
    for value in batch.values():
        assert not value.requires_grad
    nominal = model.task.nominal.requires_grad_()
    model.loss(batch).backward()
    assert nominal.grad is None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.network.parameters())


def test_a_loss_over_several_steps_is_that_of_the_rollout():
    """On the line, with a constant correction c and a true shift s per step, the error after k steps is k (s - c)."""
    model = ResidualModel(LineModel(), ModelLearningConfig(rollout_steps=3), num_envs=1)
    model.network.scale.fill_(1.0)
    torch.nn.init.constant_(model.network.net[-1].bias, 0.1)
    x, shift, action = [torch.tensor([[0.5], [-1.0]])], 0.3, torch.tensor([[0.2], [0.4]])
    for _ in range(3):
        x.append(x[-1] + 0.5 * action + shift)
    batch = {"observation": torch.stack(x), "action": action.expand(4, -1, -1), "terminated": torch.zeros(4, 2, 1)}
    expected = sum(0.5 * (k * (shift - 0.1)) ** 2 for k in (1, 2, 3)) / 3
    assert model.loss(TensorDict(batch, batch_size=[4, 2])).item() == pytest.approx(expected, rel=1e-4)
    batch["terminated"][2, 0] = 1.0  # one of six steps counts no more, a third one of a sequence
    errors = [0.5 * (k * 0.2) ** 2 for k in (1, 2, 1, 2, 3)]
    assert model.loss(TensorDict(batch, batch_size=[4, 2])).item() == pytest.approx(sum(errors) / 5, rel=1e-4)


def test_broken_and_terminating_transitions_teach_nothing():
    model = ResidualModel(LineModel(), ModelLearningConfig(update_to_data=0.0), num_envs=1)
    data = transitions(Line(LineConfig()), 1, 10)
    clean = ResidualModel(LineModel(), ModelLearningConfig(update_to_data=0.0), num_envs=1)
    clean.learn(data)
    spoiled = data.clone()
    spoiled["next", "broken"] = torch.zeros(1, 10, 1)
    spoiled["next", "broken"][0, 4] = 1.0
    spoiled["next", "observation"][0, 4] += 7.0
    spoiled["next", "terminated"][0, 9] = True
    spoiled["next", "observation"][0, 9] += 7.0
    model.learn(spoiled)
    assert clean.network.errors.count == 10
    assert model.network.errors.count == 8
    assert model.network.errors.mean.item() < 1e-6
    assert clean.replay.num_starts == 0, "no episode has ended"
    assert model.replay.num_starts == 3, "of the four steps before the broken one, sequences of two"


def test_it_recovers_a_known_mismatch():
    """Of 5,000 transitions of random play, on fresh ones: the one-step error falls below 5 %."""
    made = ENVIRONMENTS.resolve("linear_system")
    family = made(made.Config(mismatch=1.0, disturbance=0.0, time_limit=25))
    torch.manual_seed(0)
    options = ModelLearningConfig(update_to_data=0.12, rollout_steps=1)
    model = ResidualModel(family.task_model("cpu"), options, num_envs=16)
    first = model.learn(transitions(family, 16, 157))
    later = model.learn(transitions(family, 16, 156, seed=3))
    fresh = transitions(family, 16, 50, seed=2)
    ratio = one_step_error(model, fresh) / one_step_error(model.task, fresh)
    assert (ratio < 0.05).all(), ratio
    assert first["residual_error"] == 1.0
    assert later["residual_error"] < 0.2
    assert later["residual_loss"] < 0.5 * first["residual_loss"]


def test_the_car_learns_its_mass():
    made = ENVIRONMENTS.resolve("carla_racing")
    family = made(made.Config(planner_model="single_track", planner_mass=1.2, num_opponents=0))
    torch.manual_seed(0)
    options = ModelLearningConfig(update_to_data=0.04, rollout_steps=1)
    model = ResidualModel(family.task_model("cpu"), options, num_envs=32)
    model.learn(transitions(family, 32, 100))
    fresh = transitions(family, 16, 60, seed=2)
    before, after = (one_step_error(m, fresh)[3] for m in (model.task, model))  # the speed ahead
    assert after < 0.3 * before


def cost_of(batches=0, **options):
    """Closed-loop cost of the planner on the linear system, after some batches of 800 transitions."""
    chosen = [f"{name.replace('__', '.')}={value}" for name, value in options.items()]
    small = ("planner.horizon=8", "planner.temperature=0.05", "planner.num_samples=32", "num_envs=16")
    made = assemble(configure("mppi", "linear_system", [*small, "algo.batch_size=800", *chosen]))
    collector = make_collector(made.env, made.agent, made.agent.frames_per_batch)
    for _ in range(batches):
        made.agent.learn(collector.rollout())
    collector.shutdown()
    return -evaluate(made.agent, made.family, episodes=4, seed=5, noise_seed=6).mean()["reward"]


def test_the_planner_gains_what_its_model_learns():
    """Closed-loop cost on a wrong model and without its disturbance, with the residual of that, and on the exact model."""
    torch.manual_seed(0)
    wrong = cost_of(env__mismatch=1.0)
    learned = cost_of(2, env__mismatch=1.0, algo__model="residual", algo__model_learning__rollout_steps=1)
    exact = cost_of(env__planner_offset="[-0.05,0]")
    assert wrong > 5 * exact
    assert learned < exact + 0.1 * (wrong - exact)
