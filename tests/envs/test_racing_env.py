"""The racing gymnasium environment and its family."""

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from pompc.environment import EnvironmentFamily
from pompc.envs.carla_racing import CarlaRacing, CarlaRacingConfig
from pompc.envs.carla_racing.bench import measure
from pompc.errors import UserError


def make(render_mode=None, **options):
    return CarlaRacing(CarlaRacingConfig(**options)).make(render_mode=render_mode)


@pytest.mark.filterwarnings("ignore:.*A Box observation space.*infinity")
@pytest.mark.parametrize("num_opponents", [0, 2])
def test_gymnasium_accepts_it(num_opponents):
    check_env(make("rgb_array", num_opponents=num_opponents))


def test_the_seed_decides_the_episode():
    runs = []
    for seed in (3, 3, 4):
        env = make()
        seen = [env.reset(seed=seed)[0]]
        seen += [env.step(np.array([0.1, 0.4], np.float32))[0] for _ in range(20)]
        runs.append(np.stack(seen))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 0.01


def test_actions_beyond_the_box_are_clipped():
    seen = []
    for action in ([1.0, -1.0], [9.0, -9.0]):
        env = make()
        env.reset(seed=0)
        seen.append(env.step(np.array(action, np.float32))[0])
    np.testing.assert_array_equal(*seen)


def test_the_time_limit_truncates():
    env = make(time_limit=0.5, num_opponents=0)
    env.reset(seed=0)
    ends = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(10)]
    assert ends == [(False, False)] * 9 + [(False, True)]


def test_info_has_the_familys_keys():
    env = make()
    env.reset(seed=0)
    info = env.step(np.zeros(2, np.float32))[4]
    assert tuple(info) == CarlaRacing.info_keys
    assert all(isinstance(value, float) for value in info.values())


def test_planned_trajectories_show_in_one_frame():
    family = CarlaRacing(CarlaRacingConfig())
    env = family.make(render_mode="rgb_array")
    seen, _ = env.reset(seed=0)
    plain = env.render()
    assert plain.dtype == np.uint8
    assert plain.ndim == 3
    model = family.task_model()
    states = [model.state(torch.as_tensor(seen)).expand(8, -1)]
    for _ in range(20):
        states.append(model.step(states[-1], torch.linspace(-1, 1, 8).unsqueeze(-1).expand(8, 2)))
    fan = torch.stack(states, 1)
    env.overlay(fan, fan[0])
    assert (env.render() != plain).any()
    env.step(np.zeros(2, np.float32))
    with_nothing = env.render()
    env.overlay(fan, fan[0])
    assert (env.render() != with_nothing).any()


def test_unavailable_choices_are_refused_in_one_line():
    with pytest.raises(UserError, match=r"env\.backend must be one of embedded, carla, not 'flying'"):
        CarlaRacing(CarlaRacingConfig(backend="flying"))
    with pytest.raises(UserError, match=r"env.observe_camera=true needs env.backend=carla"):
        CarlaRacing(CarlaRacingConfig(observe_camera=True))
    with pytest.raises(UserError, match="num_opponents"):
        CarlaRacingConfig(num_opponents=4)
    with pytest.raises(UserError, match="substep"):
        CarlaRacingConfig(substep=0.03)
    with pytest.raises(UserError, match="planner_model"):
        CarlaRacing(CarlaRacingConfig(planner_model="flying")).task_model()


def test_the_family_keeps_the_contract():
    assert issubclass(CarlaRacing, EnvironmentFamily)
    assert {"success", "cost"} <= set(CarlaRacing.info_keys)


def test_the_benchmark_measures_rates():
    """How high they are is for ``pompc bench`` to say, on a machine that does nothing else."""
    rates = measure(seconds=0.02)
    batched = ("batched_16_steps_per_s", "batched_4096_steps_per_s")
    assert tuple(rates) == ("single_steps_per_s", *batched, "rollout_4096x20_ms")
    assert all(np.isfinite(rate) and rate > 0 for rate in rates.values())
