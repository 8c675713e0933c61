"""Layers of the latent world model: normalised linear layers, simplicial latents, ensembles in one product."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from itertools import islice, pairwise, zip_longest

import torch
from torch import Tensor, nn
from torch.nn import functional

from pompc.system.precision import products_are_centred


class SimNorm(nn.Module):
    """Simplicial normalisation (Lavoie et al. 2022): a softmax in every group of ``group`` entries."""

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[..., n]``: every group becomes a point of the simplex."""
        groups = x.unflatten(-1, (-1, self.group))
        if x.is_cuda:
            return groups.softmax(-1).flatten(-2)
        # On a CPU torch's softmax is five times slower over so few entries. The shift cancels, so it needs no gradient.
        powers = (groups - groups.detach().amax(-1, keepdim=True)).exp()
        return (powers / powers.sum(-1, keepdim=True)).flatten(-2)


def simplices(group: int | None) -> nn.Module:
    """Make the last activation of a latent state: a :class:`SimNorm`, or nothing if ``group`` is ``None``."""
    return nn.Identity() if group is None else SimNorm(group)


def mish(x: Tensor) -> Tensor:
    """Compute ``x tanh(softplus(x))`` (Misra 2019), any shape.

    On a CPU one sigmoid s gives ``tanh(log(1 + e^x)) = u / (2 - u)`` with ``u = s (2 - s)``. Nothing overflows, a compiler
    fuses it, and it is five times faster than torch's function, which on CUDA is a single kernel.
    """
    if x.is_cuda:
        return functional.mish(x)
    s = torch.sigmoid(x)
    u = s * (2 - s)
    return x * (u / (2 - u))


class NormedLinear(nn.Module):
    """A linear layer, layer normalisation and an activation (TD-MPC2, section 3.1).

    Args:
        fan_in: size of the input.
        fan_out: size of the output.
        activation: applied after the normalisation: :func:`mish` or a :class:`SimNorm`.
    """

    def __init__(self, fan_in: int, fan_out: int, activation: Callable[[Tensor], Tensor] = mish) -> None:
        super().__init__()
        self.linear = nn.Linear(fan_in, fan_out)
        self.norm = nn.LayerNorm(fan_out)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., fan_in]`` to ``[..., fan_out]``."""
        return self.finish(self.linear(x))

    def finish(self, x: Tensor) -> Tensor:
        """Normalise and activate the product ``[..., fan_out]``."""
        return self.activation(self.norm(x))


Finish = Callable[[Tensor], Tensor]
"""The part of a layer after its product."""


def centred(x: Tensor, layers: Iterable[tuple[Tensor, Tensor, Finish]]) -> Tensor:
    """Evaluate a network on similar samples with bfloat16 products, and keep the differences between the samples.

    ``W x = W (x - r) + W r`` for any sample r. The last sample goes through the network in float32. The others go as their
    differences from it, and only products of these differences are rounded. Rounding then leaves the common part of the
    samples exact. Plain bfloat16 products round the common part too, an error larger than the differences between a
    planner's samples.

    Args:
        x: ``[..., sample, in]``, or ``[member, ..., sample, in]`` for an ensemble.
        layers: of every layer the weight ``[out, in]`` or ``[member, out, in]``, the bias ``[out]`` or
            ``[member, 1, 1, out]``, and the part after the product.

    Returns:
        ``[..., sample, out]``, float32.
    """
    shared = x[..., -1:, :]
    for weight, bias, finish in layers:
        difference = _product((x - shared).bfloat16(), weight.bfloat16())
        shared = _product(shared, weight) + bias
        x, shared = finish(difference.float() + shared), finish(shared)
    return x


def product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute ``W x + b`` for ``x [..., sample, in]``, as :func:`centred` does if the context asks for it.

    Args:
        x: samples.
        weight: ``[out, in]``.
        bias: ``[out]``.
    """
    return centred(x, [(weight, bias, nn.Identity())]) if products_are_centred() else functional.linear(x, weight, bias)


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """Compute ``x W'``; for an ensemble ``[member, group, sample, in]`` by ``[member, out, in]``."""
    if weight.ndim == 2:
        return functional.linear(x, weight)
    return torch.bmm(x.flatten(1, 2), weight.transpose(1, 2)).unflatten(1, x.shape[1:3])


class MLP(nn.Sequential):
    """Normalised layers, of which the last may be plain linear. Products are :func:`centred` if the context asks for it."""

    def forward(self, input: Tensor) -> Tensor:
        """Map ``[..., in]`` to ``[..., out]``."""
        return centred(input, self._layers()) if products_are_centred() else super().forward(input)

    @property
    def first(self) -> nn.Linear:
        """The first linear layer."""
        return self._linear(self[0])

    def after_first(self, first: Tensor) -> Tensor:
        """Evaluate what follows the product of the first layer: ``[..., hidden]`` to ``[..., out]``."""
        part = self[0]
        x = part.finish(first) if isinstance(part, NormedLinear) else first
        rest = islice(self._layers(), 1, None)
        if products_are_centred():
            return centred(x, rest)
        for weight, bias, finish in rest:
            x = finish(functional.linear(x, weight, bias))
        return x

    def _layers(self) -> Iterator[tuple[Tensor, Tensor, Finish]]:
        for part in self:
            linear = self._linear(part)
            yield linear.weight, linear.bias, part.finish if isinstance(part, NormedLinear) else nn.Identity()

    @staticmethod
    def _linear(part: nn.Module) -> nn.Linear:
        linear = part.linear if isinstance(part, NormedLinear) else part
        assert isinstance(linear, nn.Linear)
        return linear


def mlp(sizes: list[int], last: Finish | None = None) -> MLP:
    """Make normalised layers of these sizes; the last is plain linear, or normalised with the activation ``last``."""
    layers: list[nn.Module] = [NormedLinear(*pair) for pair in pairwise(sizes[:-1])]
    layers.append(nn.Linear(sizes[-2], sizes[-1]) if last is None else NormedLinear(sizes[-2], sizes[-1], last))
    return MLP(*layers)


class Members(nn.Module):
    """The weight and the bias of every member of an ensemble ``[member, ...]``."""

    weight: nn.Parameter
    bias: nn.Parameter

    def of(self, chosen: Tensor | None) -> tuple[Tensor, Tensor]:
        """Select weight and bias of the members ``chosen`` (indices); ``None`` selects all."""
        return (self.weight, self.bias) if chosen is None else (self.weight[chosen], self.bias[chosen])


class EnsembleLinear(Members):
    """``members`` linear layers in one batched product: weight ``[member, out, in]``, bias ``[member, out]``."""

    def __init__(self, members: int, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, fan_out, fan_in))
        self.bias = nn.Parameter(torch.zeros(members, fan_out))

    def forward(self, x: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Map ``[member, sample, in]`` to ``[member, sample, out]`` by the members ``chosen`` (indices) or all of them."""
        weight, bias = self.of(chosen)
        return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))


class EnsembleNorm(Members):
    """Layer normalisation in which every member has another scale and shift: ``[member, size]``."""

    def __init__(self, members: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, size))
        self.bias = nn.Parameter(torch.zeros(members, size))

    def forward(self, x: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Normalise ``[member, sample, size]`` by the members ``chosen`` (indices) or all of them."""
        weight, bias = self.of(chosen)
        return torch.addcmul(bias.unsqueeze(1), functional.layer_norm(x, x.shape[-1:]), weight.unsqueeze(1))


class EnsembleMLP(nn.Module):
    """An ensemble of normalised networks of one shape, with dropout on the first hidden layer.

    Args:
        members: number of networks.
        sizes: of the input, the hidden layers and the output.
        dropout: probability of dropping a unit before the first normalisation, in training mode.
    """

    def __init__(self, members: int, sizes: list[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.linears = nn.ModuleList(EnsembleLinear(members, *pair) for pair in pairwise(sizes))
        self.norms = nn.ModuleList(EnsembleNorm(members, size) for size in sizes[1:-1])
        self.dropout = dropout
        self.members = members
        self.activation: Callable[[Tensor], Tensor] = mish

    def forward(self, x: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Map ``[..., in]`` to ``[member, ..., out]`` by the members ``chosen [n]``; ``None`` takes all."""
        members = self.members if chosen is None else len(chosen)
        if products_are_centred():
            return self._centred(x, members, chosen)
        y = x.reshape(1, -1, x.shape[-1]).expand(members, -1, -1)
        for index, norm in enumerate(self.norms):
            y = self.linears[index](y, chosen)
            if index == 0 and self.dropout and self.training:
                y = functional.dropout(y, self.dropout)
            y = self.activation(norm(y, chosen))
        return self.linears[-1](y, chosen).view(members, *x.shape[:-1], -1)

    def _centred(self, x: Tensor, members: int, chosen: Tensor | None) -> Tensor:
        layers = []
        for linear, norm in zip_longest(self.linears, self.norms):
            assert isinstance(linear, EnsembleLinear)
            weight, bias = linear.of(chosen)
            layers.append((weight, bias.view(members, 1, 1, -1), partial(self._finish, norm, chosen)))
        groups = x.reshape(1, -1, *x.shape[-2:]).expand(members, -1, -1, -1)
        return centred(groups, layers).view(members, *x.shape[:-1], -1)

    def _finish(self, norm: EnsembleNorm | None, chosen: Tensor | None, y: Tensor) -> Tensor:
        return y if norm is None else self.activation(norm(y.flatten(1, 2), chosen)).view_as(y)


@cache
def _fused_mish() -> Callable[[Tensor], Tensor]:
    """Compile :func:`mish` once per process."""
    # One kernel per number of dimensions, precision and gradient mode: more than the compiler's default limit.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 32)
    return torch.compile(mish, dynamic=True)


def fuse_activations(module: nn.Module) -> None:
    """Compile the activation of all normalised layers of ``module`` into one kernel for any shape.

    It needs a C++ compiler. On a CPU it is faster than compiling whole networks, because the library's products and
    normalisations and their gradients stay.
    """
    for part in module.modules():
        if isinstance(part, NormedLinear | EnsembleMLP) and part.activation is mish:
            part.activation = _fused_mish()


def truncated_normal(weight: Tensor, bias: Tensor) -> None:
    """Draw weights from a normal with std 0.02, cut at +-2, and set biases to zero (TD-MPC2's initialisation)."""
    nn.init.trunc_normal_(weight, std=0.02)
    nn.init.zeros_(bias)


def uniform_fan_in(weight: Tensor, bias: Tensor) -> None:
    """Draw weight ``[..., out, in]`` and bias uniformly within ``1 / sqrt(fan_in)``, torch's default for linear layers."""
    bound = 1 / math.sqrt(weight.shape[-1])
    nn.init.uniform_(weight, -bound, bound)
    nn.init.uniform_(bias, -bound, bound)


INITIALISERS: dict[str, Callable[[Tensor, Tensor], None]] = {
    "trunc_normal": truncated_normal,
    "uniform": uniform_fan_in,
}
"""Initialisations of the critics' hidden layers by the name that ``algo.critic_init`` takes."""

LAST_WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {"zeros": nn.init.zeros_, "orthogonal": nn.init.orthogonal_}
"""Initialisations of the reward head's last weights by the name that ``algo.reward_init`` takes."""


def initialise(module: nn.Module, initialiser: Callable[[Tensor, Tensor], None] = truncated_normal) -> None:
    """Initialise all linear layers of ``module`` with ``initialiser(weight, bias)``, embeddings uniformly in +-0.02."""
    for part in module.modules():
        if isinstance(part, nn.Linear | EnsembleLinear):
            initialiser(part.weight, part.bias)
        elif isinstance(part, nn.Embedding):
            nn.init.uniform_(part.weight, -0.02, 0.02)
