"""Layers equal torch's, ensembles equal their members one by one, initialisations have their moments."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from pompc.networks import layers
from pompc.networks.layers import (
    INITIALISERS,
    EnsembleLinear,
    EnsembleMLP,
    NormedLinear,
    SimNorm,
    initialise,
    mish,
    mlp,
)


def gradient(function, x):
    x = x.clone().requires_grad_()
    function(x).sum().backward()
    return x.grad


def test_mish_is_torchs_mish_at_every_magnitude():
    sizes = torch.logspace(-6, 6, 400)
    x = torch.cat([sizes, -sizes, torch.zeros(1), torch.linspace(-120, 30, 1000)])
    torch.testing.assert_close(mish(x), functional.mish(x), rtol=3e-6, atol=1e-36)
    torch.testing.assert_close(gradient(mish, x), gradient(functional.mish, x), rtol=1e-5, atol=1e-6)
    assert torch.autograd.gradcheck(mish, torch.linspace(-30, 30, 41, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e4])
def test_simnorm_is_a_softmax_in_every_group(scale):
    norm, x = SimNorm(8), torch.randn(5, 3, 32) * scale
    own = norm(x)
    expected = torch.softmax(x.unflatten(-1, (4, 8)), -1).flatten(-2)
    torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(own.unflatten(-1, (4, 8)).sum(-1), torch.ones(5, 3, 4))
    shifted = norm(x + 1000.0)  # the same simplex, to the rounding of the sum
    torch.testing.assert_close(shifted, own, rtol=0, atol=1e-3)


def test_simnorm_has_the_gradient_of_a_softmax():
    norm, x, weight = SimNorm(4), torch.randn(6, 12, dtype=torch.float64), torch.randn(6, 12, dtype=torch.float64)
    own = gradient(lambda v: norm(v) * weight, x)
    expected = gradient(lambda v: torch.softmax(v.unflatten(-1, (3, 4)), -1).flatten(-2) * weight, x)
    torch.testing.assert_close(own, expected, rtol=1e-10, atol=1e-12)
    assert torch.autograd.gradcheck(norm, x.requires_grad_())


def test_a_normed_layer_is_linear_then_normalised_then_activated():
    layer, x = NormedLinear(5, 8), torch.randn(7, 5)
    nn.init.normal_(layer.norm.weight)
    nn.init.normal_(layer.norm.bias)
    norm = functional.layer_norm(layer.linear(x), (8,), layer.norm.weight, layer.norm.bias)
    torch.testing.assert_close(layer(x), functional.mish(norm))


def test_the_last_layer_of_a_network_is_plain_or_normalised_as_asked():
    plain, normed = mlp([3, 8, 8, 4]), mlp([3, 8, 4], last=SimNorm(4))
    assert [type(layer) for layer in plain] == [NormedLinear, NormedLinear, nn.Linear]
    assert [type(layer) for layer in normed] == [NormedLinear, NormedLinear]
    torch.testing.assert_close(normed(torch.randn(6, 3)).sum(-1), torch.ones(6))
    assert plain(torch.randn(6, 3)).min() < 0


def ensemble(dropout=0.0, members=4):
    torch.manual_seed(1)
    result = EnsembleMLP(members, [6, 16, 12, 5], dropout)
    for parameter in result.parameters():
        nn.init.normal_(parameter)
    return result


def member(stacked, index):
    """Return one member as separate layers of torch."""
    parts = []
    for position, linear in enumerate(stacked.linears):
        _, fan_out, fan_in = linear.weight.shape
        parts.append(nn.Linear(fan_in, fan_out))
        parts[-1].load_state_dict({"weight": linear.weight[index], "bias": linear.bias[index]})
        if position < len(stacked.norms):
            norm = stacked.norms[position]
            parts.append(nn.LayerNorm(fan_out))
            parts[-1].load_state_dict({"weight": norm.weight[index], "bias": norm.bias[index]})
            parts.append(nn.Mish())
    return nn.Sequential(*parts)


@pytest.mark.parametrize("lead", [(), (7,), (2, 3)])
def test_an_ensemble_is_its_members_one_by_one(lead):
    stacked, x = ensemble(), torch.randn(*lead, 6)
    together = stacked(x)
    assert together.shape == (4, *lead, 5)
    for index in range(4):
        torch.testing.assert_close(together[index], member(stacked, index)(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("chosen", [[2], [3, 0], [1, 1]])
def test_chosen_members_are_those_outputs_and_only_they_learn(chosen):
    stacked, x = ensemble(), torch.randn(3, 2, 6)
    some = stacked(x, torch.tensor(chosen))
    torch.testing.assert_close(some, stacked(x)[chosen], rtol=1e-4, atol=1e-5)
    some.sum().backward()
    learned = {i for i in range(4) if any(p.grad[i].abs().sum() > 0 for p in stacked.parameters())}
    assert learned == set(chosen)


def test_units_drop_in_the_first_hidden_layer_in_training_only():
    stacked, x = ensemble(dropout=0.5), torch.randn(6)
    assert torch.equal(stacked.eval()(x), ensemble()(x))
    stacked.train()
    assert not torch.equal(stacked(x), stacked(x))
    stacked(x).sum().backward()
    dropped = [(linear.bias.grad == 0).float().mean().item() for linear in stacked.linears]
    assert 0.3 < dropped[0] < 0.7
    assert dropped[1:] == [0.0, 0.0]
    assert torch.equal(ensemble().train()(x), ensemble().eval()(x))  # without dropout the modes agree


def test_dropout_keeps_the_scale_of_what_is_left():
    """Ones through an identity become 0 or 1 / (1 - p) before the normalisation."""
    stacked = EnsembleMLP(1, [8, 8, 1], 0.25).train()
    initialise(stacked)
    with torch.no_grad():
        stacked.linears[0].weight.copy_(torch.eye(8)[None])
    seen = []
    stacked.norms[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    stacked(torch.ones(2000, 8))
    assert seen[0].unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert seen[0].mean().item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("layer", [nn.Linear(200, 400), EnsembleLinear(3, 200, 400)], ids=["linear", "ensemble"])
def test_truncated_normal_weights_have_std_002_and_no_bias(layer):
    nn.init.ones_(layer.bias)
    initialise(layer)
    assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert layer.weight.mean().item() == pytest.approx(0, abs=4e-4)
    assert layer.weight.abs().max() > 3 * 0.02  # a normal, cut far outside
    assert layer.bias.abs().max() == 0


@pytest.mark.parametrize("fan_in", [16, 300])
def test_uniform_weights_have_the_std_of_torchs_default(fan_in):
    layer, reference = EnsembleLinear(3, fan_in, 400), nn.Linear(fan_in, 4000)
    initialise(layer, INITIALISERS["uniform"])
    for tensor, other in ((layer.weight, reference.weight), (layer.bias, reference.bias)):
        assert tensor.std().item() == pytest.approx(1 / math.sqrt(3 * fan_in), rel=0.05)
        assert tensor.std().item() == pytest.approx(other.std().item(), rel=0.05)
        assert tensor.abs().max() <= 1 / math.sqrt(fan_in)


def test_initialise_reaches_every_linear_layer_and_embedding_and_nothing_else():
    module = nn.ModuleDict(
        {"net": mlp([4, 8, 2]), "table": nn.Embedding(50, 40), "ensemble": EnsembleMLP(2, [4, 8, 1])}
    )
    for parameter in module.parameters():
        nn.init.constant_(parameter, 7.0)
    initialise(module)
    untouched = {name for name, parameter in module.named_parameters() if (parameter == 7).all()}
    assert untouched == {f"{n}.{w}" for n in ("net.0.norm", "ensemble.norms.0") for w in ("weight", "bias")}
    assert 0.019 < module["table"].weight.abs().max() <= 0.02
    assert module["table"].weight.std().item() == pytest.approx(0.02 / math.sqrt(3), rel=0.05)


def test_fusing_replaces_mish_everywhere_and_leaves_simplices_alone(monkeypatch):
    calls = []
    monkeypatch.setattr(layers, "_fused_mish", lambda: lambda x: (calls.append(x.shape), mish(x))[1])
    simplex = SimNorm(4)
    module = nn.ModuleList([mlp([3, 8, 8], last=simplex), EnsembleMLP(2, [8, 8, 8, 1])])
    initialise(module)
    before = module[1](module[0](torch.ones(2, 3)))
    layers.fuse_activations(module)
    assert torch.equal(module[1](module[0](torch.ones(2, 3))), before)
    assert len(calls) == 1 + 2
    assert module[0][1].activation is simplex
