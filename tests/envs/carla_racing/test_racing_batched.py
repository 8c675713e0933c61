"""The batched racing environment: TorchRL's checks, the same episode as gymnasium's, exact snapshots."""

import io
import shutil

import numpy as np
import pytest
import torch
from torchrl.envs.utils import check_env_specs

from pompc.envs.carla_racing import CarlaRacing, CarlaRacingConfig
from pompc.envs.carla_racing.physics.opponents import Opponents
from pompc.envs.carla_racing.physics.vehicle import Car
from pompc.envs.carla_racing.plant import Factors

OTHER = {"mass": 1.3, "friction": 0.7, "drive": 0.8}
DRAWN = {**OTHER, "mass_variation": 0.3, "friction_variation": 0.3, "drive_variation": 0.3}


def vectorise(num_envs, seed=0, **options):
    return CarlaRacing(CarlaRacingConfig(**options)).vectorise(num_envs, seed=seed)


def actions(steps, num_envs, seed=1):
    """Smooth, so that the cars stay on the track for a while."""
    time = torch.arange(steps).view(-1, 1, 1) * 0.05
    phase = torch.rand(1, num_envs, 2, generator=torch.Generator().manual_seed(seed)) * 6
    return torch.sin(2.0 * time + phase) * torch.tensor([0.1, 0.6])


def run(env, carrier, controls):
    """Step without resets; the observations, rewards and ends ``[time, num_envs, ...]``."""
    steps = []
    for action in controls:
        steps.append(env.step(carrier.set("action", action))["next"].clone())
        carrier = steps[-1].exclude("reward")
    return torch.stack(steps)


@pytest.mark.parametrize("num_opponents", [0, 2])
def test_torchrl_accepts_it(num_opponents):
    check_env_specs(vectorise(3, num_opponents=num_opponents))
    check_env_specs(vectorise(3, num_opponents=num_opponents, **DRAWN))


@pytest.mark.parametrize("options", [{}, OTHER, DRAWN], ids=["nominal", "other", "drawn"])
def test_it_has_the_same_episodes_as_the_single_environment(options):
    """Float32 against Python's float64: 2e-3 of the (scaled) observation after 3 s, away from table cells' steps."""
    count, steps = 4, 60
    config = CarlaRacingConfig(num_opponents=2, **options)
    env = CarlaRacing(config).make()
    batched = vectorise(count, **options)
    controls = actions(steps, count)
    ends = 0
    carrier = batched.reset()
    car, traffic, _ = batched.unpack()
    starts = [
        (Car(*(float(entry[index]) for entry in car)), Opponents(*(entry[:, index].tolist() for entry in traffic)))
        for index in range(count)
    ]
    cars = torch.stack([torch.as_tensor(factor).expand(count) for factor in batched.plants.factors], -1)
    result = run(batched, carrier, controls)
    for index, (one_car, one_traffic) in enumerate(starts):
        env.reset(seed=0)
        env.place(one_car, one_traffic, Factors(*cars[index].tolist()))
        for step in range(steps):
            seen, reward, terminated, truncated, info = env.step(controls[step, index].numpy())
            here = result[step, index]
            error = np.abs(seen - here["observation"].numpy())
            assert (error > 2e-3).sum() <= 4  # a preview may sit on the border of two cells
            assert error[:10].max() < 2e-3
            assert reward == pytest.approx(float(here["reward"]), abs=2e-3)
            assert (terminated, truncated) == (bool(here["terminated"]), bool(here["truncated"]))
            for key, value in info.items():
                assert value == pytest.approx(float(here[key]), abs=2e-3)
            if terminated:
                ends += 1
                break
    assert ends < count


@pytest.mark.parametrize("options", [{}, DRAWN], ids=["nominal", "drawn"])
def test_snapshot_continues_bit_for_bit(options):
    env = vectorise(5, **options)
    carrier = env.reset()
    controls = actions(40, 5)
    carrier = run(env, carrier, controls[:20])[-1].exclude("reward")
    kept = carrier.clone()
    buffer = io.BytesIO()
    torch.save(env.snapshot(), buffer)
    first, first_reset = run(env, carrier, controls[20:]), env.reset()
    buffer.seek(0)
    for other in (env, vectorise(5, seed=99, **options)):
        buffer.seek(0)
        other.restore(torch.load(buffer, weights_only=True))
        again, again_reset = run(other, kept.clone(), controls[20:]), other.reset()
        assert (first == again).all()
        assert (first_reset == again_reset).all()


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="needs a C++ compiler")
def test_a_compiled_step_is_the_same_step_and_new_cars_need_no_new_graph():
    """One substep and no traffic, because they compile in a few seconds."""
    options = {**DRAWN, "control_step": 0.02, "substep": 0.02, "num_opponents": 0}
    plain, compiled = (vectorise(3, **options, compile=switch) for switch in (False, True))
    controls = actions(10, 3)
    for _ in range(2):
        expected, found = run(plain, plain.reset(), controls), run(compiled, compiled.reset(), controls)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    entries = torch._dynamo.eval_frame._debug_get_cache_entry_list(type(compiled)._advanced.__code__)
    assert len(entries) == 1


def test_only_masked_environments_are_reset():
    env = vectorise(4)
    carrier = run(env, env.reset(), actions(10, 4))[-1].exclude("reward")
    before = env.snapshot()["state"]
    mask = torch.tensor([[True], [False], [False], [True]])
    fresh = env.reset(carrier.clone().set("_reset", mask))
    after = env.snapshot()["state"]
    chosen = mask.squeeze(-1)
    assert torch.equal(before[:, ~chosen], after[:, ~chosen])
    assert (before[0, chosen] != after[0, chosen]).all()
    assert torch.equal(fresh["observation"][~chosen], carrier["observation"][~chosen])
    _, _, episode = env.unpack()
    assert torch.equal(episode.steps, torch.tensor([0.0, 10.0, 10.0, 0.0]))


def test_seeds_decide_the_starts():
    one, same, other = (vectorise(3, seed=seed).reset()["observation"] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert (one != other).any()
    env = vectorise(3, seed=2)
    env.set_seed(1)
    assert torch.equal(env.reset()["observation"], one)


def test_the_time_limit_truncates_every_environment_after_its_own_steps():
    env = vectorise(2, time_limit=1.0)
    carrier = run(env, env.reset(), torch.zeros(5, 2, 2))[-1].exclude("reward")
    carrier = env.reset(carrier.set("_reset", torch.tensor([[True], [False]])))
    ends = run(env, carrier, torch.zeros(15, 2, 2))["truncated"][..., 0]
    assert ends[-1].tolist() == [False, True]
    assert not ends[:-1].any()


def test_a_fault_terminates_the_environment():
    env = vectorise(8, num_opponents=0)
    result = run(env, env.reset(), torch.tensor([1.0, 0.5]).expand(100, 8, 2))
    first = result["terminated"][..., 0].float().argmax(0)
    assert result["terminated"].any(0).all()
    envs = torch.arange(8)
    assert (result["cost"][first, envs] >= 1).all()
    assert (result["reward"][first, envs] < -15).all()
    assert torch.equal(result["done"], result["terminated"] | result["truncated"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("options", [{}, DRAWN], ids=["nominal", "drawn"])
def test_it_runs_on_a_gpu(options):
    family = CarlaRacing(CarlaRacingConfig(**options))
    env = family.vectorise(64, seed=0, device="cuda")
    result = run(env, env.reset(), actions(20, 64).cuda())
    assert torch.isfinite(result["observation"]).all()
