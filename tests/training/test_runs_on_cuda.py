"""Runs on CUDA: stopped and resumed, taken to a CPU, filmed; and what differs there by design gives the same numbers."""

import pytest
import torch
from small import assert_same, complete, config, final_state, start_and_stop

from pompc.networks.layers import SimNorm, mish
from pompc.system.process import prepare
from pompc.training.assemble import assemble
from pompc.training.play import evaluate_checkpoint
from pompc.training.video import record_episode

DEVICE = "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
RUNS = [
    pytest.param("ppo", "acrobot", (), id="ppo-acrobot"),
    pytest.param("adaptive_hrl", "carla_racing", (), id="adaptive_hrl-carla_racing"),
    pytest.param("tdmpc2", "dmc/cartpole-swingup", ("steps=256",), id="tdmpc2-dmc"),
    pytest.param("pompc", "acrobot", ("algo.episodic=true",), id="pompc-episodic"),
    pytest.param("adaptive_pompc", "gym/Pendulum-v1", (), id="adaptive_pompc-gym"),
]


@pytest.mark.parametrize(("algo", "env", "overrides"), RUNS)
def test_a_run_that_was_stopped_equals_one_that_never_was(algo, env, overrides, tmp_path):
    whole, stopped = (
        config(tmp_path / name, algo, env, *overrides, f"device={DEVICE}") for name in ("whole", "stopped")
    )
    start_and_stop(stopped, 1)
    start_and_stop(stopped, 3)
    assert_same(complete(whole), complete(stopped))


@pytest.mark.parametrize("algo", ["tdmpc2", "adaptive_hrl"])
def test_a_run_is_played_and_goes_on_on_another_kind_of_device(algo, tmp_path):
    run = complete(config(tmp_path, algo, "acrobot", f"device={DEVICE}"))
    assert evaluate_checkpoint(run, overrides=("device=cpu",)) == 0
    for steps, device in ((160, "cpu"), (192, DEVICE)):
        complete(config(tmp_path, algo, "acrobot", f"steps={steps}", f"device={device}"))
        assert final_state(run)["manifest"]["step"] == steps


def test_an_episode_is_filmed(tmp_path):
    parts = assemble(config(tmp_path, "adaptive_hrl", "carla_racing", f"device={DEVICE}"))
    record_episode(parts.agent, parts.family, tmp_path / "video.mp4", seed=0, device=parts.device)
    assert (tmp_path / "video.mp4").stat().st_size > 0


@pytest.mark.parametrize("layer", [mish, SimNorm(8)], ids=["mish", "simnorm"])
def test_activations_and_their_gradients_are_those_of_the_cpu(layer):
    x = torch.linspace(-30, 30, 512).view(4, 128).requires_grad_()
    y = x.detach().to(DEVICE).requires_grad_()
    weight = torch.randn(4, 128)
    torch.testing.assert_close(layer(y).cpu(), layer(x), rtol=1e-5, atol=1e-6)
    (layer(x) * weight).sum().backward()
    (layer(y) * weight.to(DEVICE)).sum().backward()
    assert y.grad is not None
    torch.testing.assert_close(y.grad.cpu(), x.grad, rtol=1e-4, atol=1e-5)


def test_advantages_are_those_of_the_cpu():
    """TorchRL computes them by a convolution, which cuDNN rounds unless it is told not to."""
    from torchrl.objectives.value.functional import vec_generalized_advantage_estimate

    prepare(1)
    value, after, reward = torch.randn(3, 8, 64, 1).unbind()
    done = torch.zeros(8, 64, 1, dtype=torch.bool)
    words = (value, after, reward, done, done)
    advantage, _ = vec_generalized_advantage_estimate(0.99, 0.95, *words)
    other, _ = vec_generalized_advantage_estimate(0.99, 0.95, *(word.to(DEVICE) for word in words))
    torch.testing.assert_close(other.cpu(), advantage, rtol=1e-5, atol=1e-5)
